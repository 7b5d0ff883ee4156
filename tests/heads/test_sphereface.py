import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from facever.heads import HEADS, Head
from facever.heads.parts.annealing import Annealing

MARGINS = [1, 2, 3, 4]


def oracle(
    embeddings: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    margin: int,
    blend: float,
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        length = math.hypot(*feature)
        logits = [float(row @ feature) / math.hypot(*row) for row in weight]
        theta = math.acos(max(-1.0, min(1.0, logits[label] / length)))
        k = min(margin - 1, int(theta // (math.pi / margin)))
        folded = math.cos(margin * theta) * (1 if k % 2 == 0 else -1) - 2 * k
        share = 1 / (1 + blend)
        logits[label] = length * (share * folded + (1 - share) * math.cos(theta))
        total -= math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))
    return total / len(labels)


def make(weight: Tensor, margin: int, blend: float) -> Head:
    num_classes, dim = weight.shape
    annealing = Annealing(start=blend, floor=blend, gamma=0.0)
    options = {"margin": margin, "annealing": annealing}
    head = HEADS["sphereface"](dim, num_classes, **options).to(weight.dtype)
    step = torch.zeros((), dtype=torch.int64)
    head.load_state_dict({"weight": weight, "step": step})
    return head


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 7, 60)
    return 2 * rng.normal(size=(60, 3)), labels, rng.normal(size=(7, 3))


@pytest.mark.parametrize("blend", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("margin", MARGINS)
def test_loss_is_that_of_real_angles(margin: int, blend: float) -> None:
    embeddings, labels, weight = draw()
    head = make(torch.from_numpy(weight), margin, blend)
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, margin, blend)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    rows = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    np.testing.assert_allclose(output.logits, embeddings @ rows.T, atol=1e-12)


@pytest.mark.parametrize(("blend", "expected"), [(0.0, 4.0181499), (1.0, 3.0485874)])
def test_one_value_by_hand(blend: float, expected: float) -> None:
    # The target at 90 degrees, |f| = 2: psi = cos 180 = -1 for m = 2, so -2, and half
    # of that with lambda = 1. The other class: 2. log(1 + e^4) and log(1 + e^3).
    head = make(torch.tensor([[3.0, 0.0], [0.0, 0.5]]), 2, blend)
    loss = head(torch.tensor([[0.0, 2.0]]), torch.tensor([0])).loss
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize(("margin", "blend"), [(1, 0.0), (1, 3.0), (4, 1e12)])
def test_margin_one_or_a_huge_lambda_is_softmax_with_unit_rows(
    margin: int, blend: float
) -> None:
    embeddings, labels, weight = map(torch.from_numpy, draw())
    softmax = HEADS["softmax"](3, 7, bias=False).double()
    softmax.load_state_dict({"weight": normalize(weight)})
    expected = float(softmax(embeddings, labels).loss)
    loss = make(weight, margin, blend)(embeddings, labels).loss
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("margin", MARGINS)
def test_it_is_large_margin_softmax_with_unit_rows(margin: int) -> None:
    embeddings, labels, weight = map(torch.from_numpy, draw())
    head = make(weight, margin, 0.3)
    annealing = Annealing(start=0.3, floor=0.3, gamma=0.0)
    other = HEADS["lsoftmax"](3, 7, margin=margin, annealing=annealing).double()
    other.load_state_dict(head.state_dict() | {"weight": normalize(weight)})
    expected = float(other(embeddings, labels).loss)
    assert float(head(embeddings, labels).loss) == pytest.approx(expected, rel=1e-9)


def test_the_length_of_a_row_does_not_matter() -> None:
    embeddings, labels, weight = map(torch.from_numpy, draw())
    lengths = torch.linspace(0.1, 50, 7, dtype=torch.float64)[:, None]
    losses = [
        float(make(rows, 4, 0.0)(embeddings, labels).loss)
        for rows in (weight, weight * lengths)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_loss_and_gradient_at_the_ends(side: float, margin: int) -> None:
    head = make(torch.eye(3) * 2, margin, 0.0)
    embeddings = (side * torch.eye(3)).requires_grad_()
    loss = head(embeddings, torch.arange(3)).loss
    loss.backward()
    # Target psi(0) = 1 or psi(pi) = 1 - 2m; the others 0.
    target = 1.0 if side > 0 else 1.0 - 2 * margin
    expected = math.log(1 + 2 * math.exp(-target))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() < 2 * margin**2
