import dataclasses
import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from facever.config.training import AugmentationConfig
from facever.errors import ParameterError
from facever.heads import HEADS, JointHead, Softmax
from facever.inference.preprocessing import Preprocessing
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.mixing import Mixing, Mixture
from facever.training.schedule import Schedule

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (112, 96)
ALLOWED = {
    "anchor_ncm",
    "angular",
    "arcface",
    "cosface",
    "euclidean_margin",
    "hinge",
    "softmax",
}
WEIGHTS = {"arcface": 1.0, "hinge": 2.0}
DRAWS = 4000


def draws(mixup: float = 0.0, cutmix: float = 0.0) -> list[Mixture | None]:
    mixing = Mixing(mixup, cutmix, seed=3)
    return [mixing.draw(step, SIZE) for step in range(DRAWS)]


def numbered(batch: int = 4) -> Tensor:
    """Images whose every value is the number of the image."""
    return torch.arange(batch).float()[:, None, None, None].expand(batch, 3, *SIZE)


class TestDraw:
    def test_mixup_adds_up_a_share_from_beta(self) -> None:
        found = draws(mixup=1.0)
        shares = np.array([each.share for each in found if each is not None])
        assert len(shares) == DRAWS
        assert all(each is not None and each.window is None for each in found)
        # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(1 / (4 * 1.4), abs=0.01)

    def test_cutmix_shares_are_those_of_the_pixels(self) -> None:
        for mixture in draws(cutmix=1.0)[:300]:
            assert mixture is not None
            pixels = torch.zeros(2, 1, *SIZE)
            pixels[1] = 1
            mixed = mixture.images(pixels)
            assert mixed[0].mean().item() == pytest.approx(1 - mixture.share, abs=1e-6)
            assert mixed[1].mean().item() == pytest.approx(mixture.share, abs=1e-6)

    def test_cutmix_windows_have_the_published_distribution(self) -> None:
        """Against Algorithm 1 of the paper's supplement, written down again."""
        found = [each for each in draws(cutmix=1.0) if each is not None]
        generator = np.random.default_rng(11)
        expected = []
        for _ in range(DRAWS):
            combination = generator.uniform()
            middle = generator.uniform(0, SIZE)
            sides = np.array(SIZE) * np.sqrt(1 - combination)
            first = np.clip(middle - sides / 2, 0, SIZE)
            last = np.clip(middle + sides / 2, 0, SIZE)
            expected.append(1 - np.prod(last - first) / math.prod(SIZE))
        shares = [each.share for each in found]
        quantiles = np.linspace(0.05, 0.95, 19)
        np.testing.assert_allclose(
            np.quantile(shares, quantiles), np.quantile(expected, quantiles), atol=0.03
        )
        for axis in (0, 1):
            windows = [each.window[axis] for each in found if each.window is not None]
            middles = [(each.start + each.stop) / 2 / SIZE[axis] for each in windows]
            assert np.mean(middles) == pytest.approx(0.5, abs=0.02)

    def test_chances_are_those_that_were_asked_for(self) -> None:
        found = draws(mixup=0.2, cutmix=0.3)
        kinds = [
            "plain" if each is None else "mixup" if each.window is None else "cutmix"
            for each in found
        ]
        for kind, chance in (("plain", 0.5), ("mixup", 0.2), ("cutmix", 0.3)):
            assert kinds.count(kind) / DRAWS == pytest.approx(chance, abs=0.03)

    def test_seed_and_step_decide_alone(self) -> None:
        mixing = Mixing(mixup=0.3, cutmix=0.6, seed=1)
        forwards = [mixing.draw(step, SIZE) for step in range(20)]
        backwards = [mixing.draw(step, SIZE) for step in reversed(range(20))]
        assert forwards == backwards[::-1]
        other = dataclasses.replace(mixing, seed=2)
        assert forwards != [other.draw(step, SIZE) for step in range(20)]

    @pytest.mark.parametrize(
        ("mixup", "cutmix", "said"),
        [
            (-0.1, 0.0, "mixup must be"),
            (0.0, 1.5, "cutmix must be"),
            (float("nan"), 0.0, "mixup must be"),
            (0.6, 0.6, "at most 1, got 0.6 and 0.6"),
        ],
    )
    def test_chances_out_of_range(self, mixup: float, cutmix: float, said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            Mixing(mixup, cutmix, seed=0)


class TestMixture:
    def test_mixup_of_numbered_images(self) -> None:
        mixed = Mixture(0.75).images(numbered())
        expected = [0.25, 0.75, 2.25, 2.75]
        assert mixed[:, 2, 7, 9].tolist() == pytest.approx(expected)

    def test_cutmix_of_numbered_images(self) -> None:
        images = numbered().clone()
        mixed = Mixture(0.5, (slice(10, 20), slice(0, 96))).images(images)
        assert mixed[:, 0, 15, 50].tolist() == [1, 0, 3, 2]
        assert mixed[:, 0, 20, 50].tolist() == [0, 1, 2, 3]
        assert torch.equal(images, numbered())

    def test_the_loss_is_that_of_soft_labels(self) -> None:
        """Cross-entropy is linear in the label, so both ways must agree."""
        torch.manual_seed(0)
        head = Softmax(6, 4)
        assert head.bias is not None
        embeddings = torch.randn(6, 6, requires_grad=True)
        labels = torch.tensor([0, 3, 1, 2, 2, 0])
        others = torch.tensor([3, 0, 2, 1, 0, 2])
        output = Mixture(0.7).head(head)(embeddings, labels)
        soft = 0.7 * one_hot(labels, 4) + 0.3 * one_hot(others, 4)
        expected = cross_entropy(embeddings @ head.weight.T + head.bias, soft)
        assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)
        (gradient,) = torch.autograd.grad(output.loss, embeddings, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, embeddings)
        torch.testing.assert_close(gradient, wanted)

    def test_parts_of_the_loss_are_mixed_too(self) -> None:
        head = JointHead(
            [(name, HEADS[name](6, 4), weight) for name, weight in WEIGHTS.items()]
        )
        embeddings, labels = torch.randn(4, 6), torch.tensor([0, 3, 1, 2])
        mixed = Mixture(0.4).head(head)(embeddings, labels)
        own = head(embeddings, labels)
        partner = head(embeddings, torch.tensor([3, 0, 2, 1]))
        for name in WEIGHTS:
            expected = 0.4 * own.parts[name] + 0.6 * partner.parts[name]
            torch.testing.assert_close(mixed.parts[name], expected)
        total = mixed.parts["arcface"] + 2 * mixed.parts["hinge"]
        torch.testing.assert_close(mixed.loss, total)

    @pytest.mark.parametrize(
        ("share", "hits"), [(0.7, [1, 1, 0, 0]), (0.3, [0, 0, 1, 1])]
    )
    def test_a_hit_is_the_label_with_the_larger_share(
        self, share: float, hits: list[int]
    ) -> None:
        head = HEADS["anchor_ncm"](4, 4, anchors="basis")
        # Crops 0 and 1 look like their own labels, 2 and 3 like their partners'.
        embeddings = torch.eye(4)[[0, 1, 3, 2]]
        output = Mixture(share).head(head)(embeddings, torch.arange(4))
        assert output.logits is None
        assert output.hits is not None
        assert output.hits.int().tolist() == hits


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_head_that_allows_mixtures_keeps_no_state(name: str) -> None:
    """Called twice a step, it neither moves a buffer nor looks at other rows."""
    head = HEADS[name](8, 4)
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8), torch.arange(6) % 4
    before = {key: value.clone() for key, value in head.state_dict().items()}
    head.train()
    whole = head(embeddings, labels).loss
    rows = [head(embeddings[i : i + 1], labels[i : i + 1]).loss for i in range(6)]
    torch.testing.assert_close(whole, torch.stack(rows).mean())
    assert all(
        torch.equal(value, before[key]) for key, value in head.state_dict().items()
    )


def test_heads_that_allow_mixtures_are_known() -> None:
    assert {name for name, head in HEADS.items() if head.allows_mixtures} == ALLOWED
    said = AugmentationConfig.model_fields["mixup"].description
    assert said is not None
    assert {name for name in HEADS if re.search(rf"\b{name}\b", said)} == ALLOWED


class Recorder(nn.Module):
    """Stands for a network; remembers the images that it saw."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Any:
        self.seen.append(images.detach().clone())
        return self.inner(images)


def train_steps(
    tiny: SimpleNamespace, mixing: Mixing | None
) -> tuple[list[Tensor], list[float]]:
    """The images and the loss of each of three steps in which nothing is learned."""
    state = tiny.make_state()
    recorder = Recorder(state.network)
    torch.manual_seed(0)
    head = JointHead([("softmax", Softmax(8, 4), 1.0)])
    state = dataclasses.replace(
        state,
        network=recorder,
        head=head,
        optimiser=torch.optim.SGD([*recorder.parameters(), *head.parameters()], lr=1),
        average=None,
    )
    lines: list[dict[str, float]] = []
    fit(
        state,
        tiny.make_loader(),
        Preprocessing(),
        Schedule(3, 0.0),
        Computation(torch.device("cpu"), mixing=mixing),
        Intervals(log=1, checkpoint=100),
        Callbacks(save=lambda: None, log=lines.append),
    )
    return recorder.seen, [line["loss"] for line in lines]


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.4, 0.4)])
def test_the_loop_trains_on_mixtures(
    tiny: SimpleNamespace, mixup: float, cutmix: float
) -> None:
    plain, plain_losses = train_steps(tiny, None)
    mixing = Mixing(mixup, cutmix, seed=1)
    mixed, losses = train_steps(tiny, mixing)
    for step in range(3):
        mixture = mixing.draw(step, SIZE)
        if mixture is None:
            assert torch.equal(mixed[step], plain[step])
            continue
        assert not torch.equal(mixed[step], plain[step])
        torch.testing.assert_close(mixed[step], mixture.images(plain[step]))
        network = tiny.make_state().network.train()
        torch.manual_seed(0)
        head = Softmax(8, 4)
        assert head.bias is not None
        logits = network(mixed[step]) @ head.weight.T + head.bias
        labels = tiny.make_loader().batch(step).labels
        own = cross_entropy(logits, labels)
        other = cross_entropy(logits, labels[[1, 0, 3, 2]])
        soft = mixture.share * own + (1 - mixture.share) * other
        assert losses[step] == pytest.approx(soft.item(), abs=1e-4)
    assert losses != plain_losses


def test_no_chance_is_no_change(tiny: SimpleNamespace) -> None:
    plain, losses = train_steps(tiny, None)
    images, same_losses = train_steps(tiny, Mixing(mixup=0.0, cutmix=0.0, seed=5))
    assert all(map(torch.equal, images, plain))
    assert losses == same_losses
