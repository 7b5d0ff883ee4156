import math
from itertools import combinations

import numpy as np
import pytest
import torch

from facever.heads import HEADS
from facever.heads.contrastive import contrastive_loss


def oracle(embeddings: np.ndarray, labels: np.ndarray, margin: float) -> float:
    """Over all pairs; 0 where there is none."""
    terms = []
    for i, j in combinations(range(len(labels)), 2):
        distance = math.dist(embeddings[i], embeddings[j])
        if labels[i] == labels[j]:
            terms.append(distance**2 / 2)
        else:
            terms.append(max(0.0, margin - distance) ** 2 / 2)
    return sum(terms) / max(1, len(terms))


LABELS = {
    "mixed": [0, 1, 2, 0, 1, 0, 5, 2, 2, 0],
    "one class": [3] * 10,
    "all different": list(range(10)),
    "two": [4, 4],
    "two different": [4, 5],
    "one": [4],
}


def draw(labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(len(labels), 3)), np.array(labels)


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_loss_is_the_mean_over_all_pairs(labels: list[int], margin: float) -> None:
    embeddings, classes = draw(labels)
    batch = torch.from_numpy(embeddings), torch.from_numpy(classes)
    expected = oracle(embeddings, classes, margin)
    plain = float(contrastive_loss(*batch, margin))
    assert plain == pytest.approx(expected, rel=1e-9, abs=1e-15)
    head = HEADS["contrastive"](3, 10, margin=margin, normalised=False).double()
    output = head(*batch)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert output.logits is None


@pytest.mark.parametrize("margin", [0.5, 1.0, 1.9])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_head_scales_to_unit_length_first(labels: list[int], margin: float) -> None:
    embeddings, classes = draw(labels)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    head = HEADS["contrastive"](3, 10, margin=margin).double()
    loss = head(torch.from_numpy(embeddings), torch.from_numpy(classes)).loss
    expected = oracle(unit, classes, margin)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_one_value_by_hand() -> None:
    # On a line at 0, 0.6 (one class) and 1, with a margin of 1.5:
    # 0.6^2 / 2 = 0.18; (1.5 - 1)^2 / 2 = 0.125; (1.5 - 0.4)^2 / 2 = 0.605.
    # Their mean is 0.91 / 3 = 0.3033333.
    points = torch.tensor([[0.0], [0.6], [1.0]])
    loss = contrastive_loss(points, torch.tensor([0, 0, 1]), 1.5)
    assert float(loss) == pytest.approx(0.3033333, rel=1e-6)


def test_one_class_costs_its_variance() -> None:
    # Half the mean squared distance of all pairs is the unbiased variance.
    embeddings, labels = draw([0] * 12)
    batch = torch.from_numpy(embeddings), torch.from_numpy(labels)
    expected = embeddings.var(axis=0, ddof=1).sum()
    assert float(contrastive_loss(*batch, 1.0)) == pytest.approx(expected)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_batch_of_one_has_no_pair(normalised: bool) -> None:
    head = HEADS["contrastive"](3, 10, normalised=normalised)
    embeddings = torch.randn(1, 3, requires_grad=True)
    loss = head(embeddings, torch.tensor([2])).loss
    loss.backward()
    assert loss == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 0, 1]])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e3])
def test_duplicates_have_a_bounded_gradient(value: float, labels: list[int]) -> None:
    points = torch.full((3, 2), value, requires_grad=True)
    loss = contrastive_loss(points, torch.tensor(labels), 1.0)
    loss.backward()
    # Each pair of different classes costs 1/2, of the same class nothing.
    different = sum(a != b for a, b in combinations(labels, 2))
    assert float(loss) == pytest.approx(different / 2 / 3, rel=1e-3, abs=1e-6)
    assert points.grad is not None
    # A distance has slope at most 1, the hinge at most the margin.
    assert points.grad.norm(dim=1).max() <= 2 / 3 + 1e-6


def test_pairs_past_the_margin_are_left_alone() -> None:
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]], requires_grad=True)
    loss = contrastive_loss(points, torch.tensor([0, 1, 2]), 1.0)
    loss.backward()
    assert loss == 0
    assert not points.grad.any()


def test_the_gradient_pulls_classmates_and_pushes_others() -> None:
    # 1/2 d^2 has slope d; 1/2 (1 - d)^2 has slope -(1 - d); one pair each.
    for labels, slope in ([0, 0], 0.4), ([0, 1], -0.6):
        points = torch.tensor([[0.0], [0.4]], requires_grad=True)
        contrastive_loss(points, torch.tensor(labels), 1.0).backward()
        np.testing.assert_allclose(points.grad, [[-slope], [slope]], rtol=1e-6)


def test_small_distances_of_large_embeddings_keep_their_digits() -> None:
    """In float32: pairs 0.1 apart at a norm of 100."""
    points = torch.zeros(40, 2)
    points[:, 0] = 100
    points[::2, 1] = 0.1
    loss = contrastive_loss(points, torch.zeros(40, dtype=torch.int64), 1.0)
    # 400 of the 780 pairs have 0.1^2 / 2, the others 0.
    assert float(loss) == pytest.approx(0.005 * 400 / 780, rel=0.02)
