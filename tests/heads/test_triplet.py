from itertools import permutations

import numpy as np
import pytest
import torch

from facever.heads import HEADS
from facever.heads.triplet import triplet_loss

MININGS = ["semi-hard", "all", "hard"]
every_mining = pytest.mark.parametrize("mining", MININGS)


def square(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def oracle(
    embeddings: np.ndarray, labels: np.ndarray, margin: float, mining: str
) -> float:
    """By enumeration; 0 where nothing is valid."""
    num_samples = len(labels)
    terms = []
    for anchor in range(num_samples):
        to = [square(embeddings[anchor], other) for other in embeddings]
        same = [
            to[i]
            for i in range(num_samples)
            if labels[i] == labels[anchor] and i != anchor
        ]
        other = [to[i] for i in range(num_samples) if labels[i] != labels[anchor]]
        if not same or not other:
            continue
        if mining == "all":
            terms += [max(0.0, p - n + margin) for p in same for n in other]
        elif mining == "hard":
            terms.append(max(0.0, max(same) - min(other) + margin))
        else:
            for p in same:
                beyond = [n for n in other if n > p]
                chosen = min(beyond) if beyond else max(other)
                terms.append(max(0.0, p - chosen + margin))
    return sum(terms) / max(1, len(terms))


LABELS = {
    "mixed": [0, 1, 2, 0, 1, 0, 5, 2, 2, 0, 1, 7],
    "one class": [3] * 8,
    "all different": list(range(8)),
    "two classes": [4, 4, 5, 5, 4, 5],
    "one pair": [4, 5, 4],
    "two": [4, 4],
    "one": [4],
}


def draw(labels: list[int], seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 3)), np.array(labels)


@pytest.mark.parametrize("margin", [0.2, 1.0, 20.0])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@every_mining
def test_loss_is_that_of_brute_force(
    mining: str, labels: list[int], margin: float
) -> None:
    embeddings, classes = draw(labels)
    batch = torch.from_numpy(embeddings), torch.from_numpy(classes)
    expected = oracle(embeddings, classes, margin, mining)
    plain = float(triplet_loss(*batch, margin, mining))  # type: ignore[arg-type]
    assert plain == pytest.approx(expected, rel=1e-9, abs=1e-15)
    options = {"margin": margin, "mining": mining, "normalised": False}
    output = HEADS["triplet"](3, 10, **options).double()(*batch)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert output.logits is None


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@every_mining
def test_the_head_scales_to_unit_length_first(mining: str, labels: list[int]) -> None:
    embeddings, classes = draw(labels, seed=5)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    head = HEADS["triplet"](3, 10, mining=mining).double()
    loss = head(torch.from_numpy(embeddings), torch.from_numpy(classes)).loss
    expected = oracle(unit, classes, 0.2, mining)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("mining", "expected"), [("all", 1.75), ("hard", 3.25), ("semi-hard", 0.25)]
)
def test_one_value_by_hand(mining: str, expected: float) -> None:
    # On a line, class A at 0 and 2, class B at 3 and 6. Squares: within A 4, within B
    # 9; between 9, 36 from 0 and 1, 16 from 2. Margin 1.
    # All: (2, 0, 3) has 4 - 1 + 1 = 4, (3, 6, 0) 9 - 9 + 1 = 1, (3, 6, 2)
    # 9 - 1 + 1 = 9, the other five 0: 14 / 8.
    # Hard: 0 for the anchors 0 and 6, 4 for 2, 9 for 3: 13 / 4.
    # Semi-hard: 4 - 9 + 1, 4 - 16 + 1 and 9 - 16 + 1 are below 0; from 3 no negative
    # lies beyond its positive at 9 (an equal one does not), the farthest has 9: 1 / 4.
    points = torch.tensor([[0.0], [2.0], [3.0], [6.0]])
    labels = torch.tensor([0, 0, 1, 1])
    loss = triplet_loss(points, labels, 1.0, mining)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(expected)


def test_a_negative_as_far_as_the_positive_is_not_beyond_it() -> None:
    # On a line, class A at 0 and 2, class B at -2 and 3. From 0 the positive and the
    # negative at -2 have 4 both, so 9 is taken: 4 - 9 + 6 = 1. From 2: 4 - 16 + 6 < 0.
    # Within B 25, nothing beyond: 25 - 16 + 6 = 15 and 25 - 9 + 6 = 22. 38 / 4 = 9.5.
    points = torch.tensor([[0.0], [2.0], [-2.0], [3.0]])
    loss = triplet_loss(points, torch.tensor([0, 0, 1, 1]), 6.0, "semi-hard")
    assert float(loss) == pytest.approx(9.5)


def test_one_negative_and_two_classmates_leave_nothing_to_mine() -> None:
    for seed in range(10):
        batch = tuple(map(torch.from_numpy, draw([0, 0, 1], seed)))
        losses = [float(triplet_loss(*batch, 0.5, mining)) for mining in MININGS]  # type: ignore[arg-type]
        assert losses == pytest.approx([losses[0]] * 3)


def test_hard_costs_at_least_as_much_as_any_other_mining() -> None:
    embeddings, classes = draw([0, 0, 1, 1, 2, 2, 3, 3] * 2)
    batch = torch.from_numpy(embeddings), torch.from_numpy(classes)
    losses = {mining: float(triplet_loss(*batch, 0.2, mining)) for mining in MININGS}  # type: ignore[arg-type]
    # Classes of equal size: hard takes the worst triplet of each anchor.
    assert losses["hard"] > max(losses["all"], losses["semi-hard"])
    assert min(losses.values()) > 0


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("labels", [[3, 3, 3], [0, 1, 2], [1]])
@every_mining
def test_without_a_triplet_the_loss_is_zero(
    mining: str, labels: list[int], normalised: bool
) -> None:
    head = HEADS["triplet"](3, 10, mining=mining, normalised=normalised)
    embeddings = torch.randn(len(labels), 3, requires_grad=True)
    loss = head(embeddings, torch.tensor(labels)).loss
    loss.backward()
    assert loss == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("value", [0.0, 1.0, 100.0])
@every_mining
def test_duplicates_cost_the_margin(mining: str, value: float) -> None:
    points = torch.full((5, 2), value, requires_grad=True)
    loss = triplet_loss(points, torch.tensor([0, 0, 1, 1, 2]), 0.3, mining)  # type: ignore[arg-type]
    loss.backward()
    assert float(loss) == pytest.approx(0.3, rel=1e-2)
    assert points.grad is not None
    np.testing.assert_allclose(points.grad, 0, atol=1e-4)


@every_mining
def test_the_gradient_is_that_of_the_chosen_triplets(mining: str) -> None:
    embeddings, classes = draw(LABELS["mixed"], seed=7)
    features = torch.from_numpy(embeddings).requires_grad_()
    triplet_loss(features, torch.from_numpy(classes), 0.7, mining).backward()  # type: ignore[arg-type]
    step = 1e-6
    assert features.grad is not None
    for row, column in [(0, 0), (3, 1), (6, 2), (8, 0)]:
        values = []
        for sign in (1, -1):
            moved = embeddings.copy()
            moved[row, column] += sign * step
            values.append(oracle(moved, classes, 0.7, mining))
        slope = (values[0] - values[1]) / (2 * step)
        assert float(features.grad[row, column]) == pytest.approx(slope, abs=1e-7)


def test_permuting_the_classes_does_not_matter() -> None:
    embeddings, _ = draw(LABELS["two classes"])
    for mining in MININGS:
        losses = set()
        for names in permutations([2, 5, 9]):
            labels = torch.tensor([names[i] for i in (0, 1, 2, 0, 1, 2)])
            loss = triplet_loss(torch.from_numpy(embeddings), labels, 0.2, mining)  # type: ignore[arg-type]
            losses.add(round(float(loss), 12))
        assert len(losses) == 1
