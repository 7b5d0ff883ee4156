import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from facever.heads import HEADS, Head


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def oracle(
    embeddings: np.ndarray, labels: np.ndarray, weight: np.ndarray, margin: float
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        powers = [
            math.exp(-distance(feature, row) - margin * (index == label))
            for index, row in enumerate(weight)
        ]
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


def make(weight: torch.Tensor, **options: float) -> Head:
    num_classes, dim = weight.shape
    head = HEADS["euclidean_margin"](dim, num_classes, **options).to(weight.dtype)
    head.load_state_dict({"weight": weight})
    return head


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, 40)
    return 2 * rng.normal(size=(40, 3)), labels, rng.normal(size=(7, 3))


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_loss_is_the_printed_equation(margin: float) -> None:
    embeddings, labels, weight = draw()
    head = make(torch.from_numpy(weight), margin=margin)
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, weight, margin)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    logits = [[-distance(feature, row) for row in weight] for feature in embeddings]
    np.testing.assert_allclose(output.logits, logits, rtol=1e-9)


def test_one_value_by_hand() -> None:
    # |(3, 4)| = 5 and |(3, 4) - (3, 0)| = 4. With m = 1 the target has -6, the other
    # class -4: log(1 + e^2) = 2.1269280.
    head = make(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    output = head(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    assert float(output.loss) == pytest.approx(2.1269280)
    np.testing.assert_allclose(output.logits, [[-5, -4]], rtol=1e-6)


def test_margin_zero_is_softmax_of_the_distances() -> None:
    embeddings, labels, weight = draw()
    distances = [[distance(feature, row) for row in weight] for feature in embeddings]
    classes = torch.from_numpy(labels)
    expected = float(cross_entropy(-torch.tensor(distances).double(), classes))
    head = make(torch.from_numpy(weight), margin=0.0)
    loss = float(head(torch.from_numpy(embeddings), classes).loss)
    assert loss == pytest.approx(expected, rel=1e-6)


def test_a_wider_margin_costs_more_but_shows_the_same_logits() -> None:
    embeddings, labels, weight = map(torch.from_numpy, draw())
    outputs = [
        make(weight, margin=margin)(embeddings, labels) for margin in (0.0, 1.0, 3.0)
    ]
    losses = [float(output.loss) for output in outputs]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]
    assert all(torch.equal(outputs[0].logits, each.logits) for each in outputs)


def test_loss_and_gradient_exactly_on_the_class() -> None:
    head = make(torch.eye(3) * 5)
    embeddings = (torch.eye(3) * 5).requires_grad_()
    output = head(embeddings, torch.arange(3))
    output.loss.backward()
    # Target -(0 + 1), the others at 5 sqrt(2).
    expected = math.log(1 + 2 * math.exp(1 - 5 * math.sqrt(2)))
    assert float(output.loss) == pytest.approx(expected, rel=1e-2)
    assert embeddings.grad is not None
    # A distance has slope at most 1.
    assert embeddings.grad.norm(dim=1).max() <= 2 / 3
    assert head.weight.grad.norm(dim=1).max() <= 2


def test_small_distances_of_large_embeddings_keep_their_digits() -> None:
    """In float32: 0.1 from the own class at a norm of 100."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(40, 16))
    weight *= 100 / np.linalg.norm(weight, axis=1, keepdims=True)
    offsets = rng.normal(size=(40, 16))
    offsets *= 0.1 / np.linalg.norm(offsets, axis=1, keepdims=True)
    rows, features = weight.astype(np.float32), (weight + offsets).astype(np.float32)
    output = make(torch.from_numpy(rows))(torch.from_numpy(features), torch.arange(40))
    own = [
        distance(f, w) for f, w in zip(features.tolist(), rows.tolist(), strict=True)
    ]
    assert output.logits is not None
    np.testing.assert_allclose(-output.logits.diag(), own, rtol=0.02)


@pytest.mark.parametrize("offset", [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("norm", [1.0, 10.0, 100.0])
def test_the_slope_is_bounded_near_the_row_of_another_class(
    norm: float, offset: float
) -> None:
    """In float32, where a squared distance may be lost in the squares of the norms."""
    torch.manual_seed(0)
    weight = norm * normalize(torch.randn(30, 64))
    aside = offset * normalize(torch.randn(30, 64))
    embeddings = (weight.roll(1, dims=0) + aside).requires_grad_()
    head = make(weight)
    head(embeddings, torch.arange(30)).loss.backward()
    # Each distance has a slope of at most 1, and cross-entropy weighs them by at most
    # 1 for the target and 1 for all the others. A row has two samples close by.
    assert embeddings.grad is not None
    assert 30 * embeddings.grad.norm(dim=1).max() <= 2.1
    assert 30 * head.weight.grad.norm(dim=1).max() <= 4.2
