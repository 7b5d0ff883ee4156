import math

import numpy as np
import pytest
import torch
from torch import Tensor

from facever.heads import HEADS, Head
from facever.heads.parts.annealing import Annealing

MARGINS = [1, 2, 3, 4]


def psi(theta: float, margin: int) -> float:
    for k in range(margin):
        if theta <= (k + 1) * math.pi / margin:
            return (-1) ** k * math.cos(margin * theta) - 2 * k
    raise AssertionError(f"{theta} lies outside [0, pi]")


def oracle(
    embeddings: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    margin: int,
    blend: float,
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        logits = [float(row @ feature) for row in weight]
        size = float(np.linalg.norm(weight[label]) * np.linalg.norm(feature))
        theta = math.acos(max(-1.0, min(1.0, logits[label] / size)))
        above = blend * size * math.cos(theta) + size * psi(theta, margin)
        logits[label] = above / (1 + blend)
        total -= math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))
    return total / len(labels)


def constant(blend: float) -> Annealing:
    return Annealing(start=blend, floor=blend, gamma=0.0)


def make(weight: Tensor, margin: int, blend: float) -> Head:
    num_classes, dim = weight.shape
    options = {"margin": margin, "annealing": constant(blend)}
    head = HEADS["lsoftmax"](dim, num_classes, **options).to(weight.dtype)
    step = torch.zeros((), dtype=torch.int64)
    head.load_state_dict({"weight": weight, "step": step})
    return head


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    # With three dimensions and 60 samples, every piece of psi has some targets.
    labels = rng.integers(0, 7, 60)
    return rng.normal(size=(60, 3)), labels, rng.normal(size=(7, 3))


@pytest.mark.parametrize("blend", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("margin", MARGINS)
def test_loss_is_that_of_real_angles(margin: int, blend: float) -> None:
    embeddings, labels, weight = draw()
    head = make(torch.from_numpy(weight), margin, blend)
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, margin, blend)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(output.logits, embeddings @ weight.T, atol=1e-12)


@pytest.mark.parametrize(("blend", "expected"), [(0.0, 8.0003354), (1.0, 5.0067153)])
def test_one_value_by_hand(blend: float, expected: float) -> None:
    # The target at 90 degrees, |W||f| = 3 * 2: psi = cos 180 = -1 for m = 2, so -6, and
    # half of that with lambda = 1, as its cosine is 0. The other class: 1 * 2 = 2.
    # log(1 + e^8) and log(1 + e^5).
    head = make(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 2, blend)
    loss = head(torch.tensor([[0.0, 2.0]]), torch.tensor([0])).loss
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize(("margin", "blend"), [(1, 0.0), (1, 3.0), (4, 1e12)])
def test_margin_one_or_a_huge_lambda_is_softmax(margin: int, blend: float) -> None:
    embeddings, labels, weight = draw()
    softmax = HEADS["softmax"](3, 7, bias=False).double()
    softmax.load_state_dict({"weight": torch.from_numpy(weight)})
    head = make(torch.from_numpy(weight), margin, blend)
    batch = torch.from_numpy(embeddings), torch.from_numpy(labels)
    expected = float(softmax(*batch).loss)
    assert float(head(*batch).loss) == pytest.approx(expected, rel=1e-9)


def test_a_wider_margin_costs_more() -> None:
    embeddings, labels, weight = map(torch.from_numpy, draw())
    losses = [float(make(weight, m, 0.0)(embeddings, labels).loss) for m in MARGINS]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] / 2


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_gradient_at_the_ends(side: float, margin: int) -> None:
    """Exactly on or opposite the class: the logit grows or falls with |f| alone."""
    head = make(torch.eye(3) * 2, margin, 0.0)
    embeddings = (side * torch.eye(3)).requires_grad_()
    output = head(embeddings, torch.arange(3))
    output.loss.backward()
    # Target 2 psi(0) = 2 or 2 psi(pi) = 2 (1 - 2m); the others 0.
    target = 2.0 if side > 0 else 2.0 * (1 - 2 * margin)
    expected = math.log(1 + 2 * math.exp(-target))
    assert float(output.loss) == pytest.approx(expected, rel=1e-5)
    # Along the axis: (p - 1) times the logit's slope, a third of it in the mean; the
    # other two rise alike for every other class, with 2 p each.
    other = math.exp(-target) / (1 + 2 * math.exp(-target))
    slope = -2 * other * side * target / 3
    assert embeddings.grad is not None
    np.testing.assert_allclose(embeddings.grad.diag(), [slope] * 3, rtol=1e-4)
    aside = embeddings.grad[~torch.eye(3, dtype=torch.bool)]
    np.testing.assert_allclose(aside, [2 * other / 3] * 6, rtol=1e-4)


def test_a_zero_embedding_or_weight_costs_the_logarithm_of_the_classes() -> None:
    for embeddings, weight in [
        (torch.zeros(4, 3), torch.eye(3)),
        (torch.randn(4, 3), torch.zeros(3, 3)),
    ]:
        embeddings.requires_grad_()
        head = make(weight, 4, 0.0)
        loss = head(embeddings, torch.tensor([0, 1, 2, 0])).loss
        loss.backward()
        assert float(loss) == pytest.approx(math.log(3))
        assert embeddings.grad is not None
        for gradient in (embeddings.grad, *(p.grad for p in head.parameters())):
            assert gradient.abs().max() < 1e3
