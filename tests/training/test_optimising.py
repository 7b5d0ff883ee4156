"""Parts of a batch, clipped gradients and AdamW, beside their definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facever.heads import HEADS, JointHead
from facever.training.clipping import clip_gradients
from facever.training.distributed import ALONE
from facever.training.gradient_accumulation import add_gradients
from facever.training.optimiser import PLAIN, AdamW, parameter_groups

DIM, CLASSES, BATCH = 5, 4, 12


class Flat(nn.Module):
    """A network whose result for a photo does not hang on the others."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.last = nn.Linear(3 * 4 * 4, DIM)

    def forward(self, images: Tensor) -> Tensor:
        """From the pixels."""
        return torch.tanh(self.last(self.norm(images).flatten(1)))


def make_case(
    head: str, options: dict[str, Any], norm: bool = False
) -> tuple[nn.Module, JointHead, Tensor, Tensor]:
    torch.manual_seed(0)
    joint = JointHead([(head, HEADS[head](DIM, CLASSES, **options), 1.0)]).double()
    for parameter in joint.parameters():
        nn.init.normal_(parameter)
    images = torch.randn(BATCH, 3, 4, 4, dtype=torch.float64)
    return Flat(norm).double(), joint, images, torch.arange(BATCH) % CLASSES


def gradients(*modules: nn.Module) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": parameter.grad.to_dense().clone()
        for number, module in enumerate(modules)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("softmax", {}),
        ("lsoftmax", {}),
        ("ie", {"nearest": 0.5}),
        ("center", {"update": "wen"}),
        ("contrastive", {}),
        ("triplet", {"mining": "hard", "margin": 2.0}),
    ],
    ids=str,
)
def test_parts_give_loss_gradients_and_counts_of_the_whole(
    head: str, options: dict[str, Any]
) -> None:
    found = []
    for num_parts in (1, 4):
        network, joint, images, labels = make_case(head, options)
        output = add_gradients(
            network, joint, images, labels, num_parts=num_parts, bf16=False
        )
        found.append((output, gradients(network, joint), joint.state_dict()))
    (whole, expected, counted), (parts, given, counted_in_parts) = found
    assert float(whole.loss) == pytest.approx(float(parts.loss), rel=1e-12)
    assert given.keys() == expected.keys()
    assert float(expected["0.last.weight"].abs().max()) > 1e-4
    for name, value in expected.items():
        np.testing.assert_allclose(given[name], value, 1e-10, 1e-13, err_msg=name)
    for name, value in counted.items():
        np.testing.assert_allclose(counted_in_parts[name], value, err_msg=name)


def test_batch_normalisation_meets_each_part_once() -> None:
    network, joint, images, labels = make_case("softmax", {}, norm=True)
    add_gradients(network, joint, images, labels, num_parts=3, bf16=False)
    expected = nn.BatchNorm2d(3).double()
    for part in images.chunk(3):
        expected(part)
    for name, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[f"norm.{name}"], value), name


def test_parts_are_embedded_alike_both_times_under_bf16() -> None:
    network, joint, images, labels = make_case("softmax", {})
    network, joint, images = network.float(), joint.float(), images.float()
    seen: list[Tensor] = []
    network.register_forward_hook(lambda *called: seen.append(called[2].detach()))
    add_gradients(network, joint, images, labels, num_parts=2, bf16=True)
    assert [each.dtype for each in seen] == [torch.bfloat16] * 4
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_long_gradients_are_scaled_and_short_ones_stay(share: float) -> None:
    network, joint, images, labels = make_case("ie", {})
    add_gradients(network, joint, images, labels, num_parts=1, bf16=False)
    before = gradients(network, joint)
    # Centers too, whose sparse gradient names each class three times.
    centers = joint.heads["ie"].centers.vectors.grad
    assert centers is not None
    assert centers._nnz() == BATCH
    squares = [v**2 for each in before.values() for v in each.flatten().tolist()]
    length = math.sqrt(math.fsum(squares))
    norm = clip_gradients(network, joint, share * length, ALONE)
    assert float(norm) == pytest.approx(length, rel=1e-12)
    for name, value in gradients(network, joint).items():
        expected = value if share > 1 else 0.5 * before[name]
        np.testing.assert_allclose(value, expected, rtol=1e-10, err_msg=name)
        if share > 1:
            assert torch.equal(value, before[name])


def test_adamw_by_its_definition_and_centers_by_plain_steps() -> None:
    rate, decay, (first, second), epsilon = 0.01, 0.1, (0.8, 0.95), 1e-8
    network, joint, images, labels = make_case("ie", {})
    groups = parameter_groups(network, joint, decay)
    groups[2][PLAIN] = True
    optimiser = AdamW(groups, lr=rate, betas=(first, second), eps=epsilon)
    means: dict[str, Any] = {}
    for step in (1, 2, 3):
        optimiser.zero_grad(set_to_none=True)
        add_gradients(network, joint, images, labels, num_parts=1, bf16=False)
        given = gradients(network, joint)
        before = {
            f"{number}.{name}": value.detach().numpy().copy()
            for number, module in enumerate((network, joint))
            for name, value in module.named_parameters()
        }
        optimiser.step()
        for number, module in enumerate((network, joint)):
            for name, value in module.named_parameters():
                key = f"{number}.{name}"
                gradient, old = given[key].numpy(), before[key]
                if key.endswith("centers.vectors"):
                    expected = old - rate * gradient
                else:
                    mean, square = means.get(key, (0.0, 0.0))
                    mean = first * mean + (1 - first) * gradient
                    square = second * square + (1 - second) * gradient**2
                    means[key] = mean, square
                    scaled = mean / (1 - first**step)
                    scaled = scaled / (np.sqrt(square / (1 - second**step)) + epsilon)
                    kept = 1 - rate * decay if value.ndim >= 2 else 1.0
                    expected = kept * old - rate * scaled
                np.testing.assert_allclose(
                    value.detach(), expected, rtol=1e-9, err_msg=key
                )
