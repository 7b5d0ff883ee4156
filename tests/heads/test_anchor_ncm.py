import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from facever.errors import ParameterError
from facever.heads import HEADS, Head
from facever.heads.parts.fixed_anchors import make_anchors

DISTANCES = ["euclidean", "cosine"]


def measure(feature: np.ndarray, anchor: np.ndarray, distance: str) -> float:
    if distance == "euclidean":
        return math.dist(feature, anchor)
    return 1 - float(feature @ anchor) / math.hypot(*feature) / math.hypot(*anchor)


def oracle(
    embeddings: np.ndarray, labels: np.ndarray, anchors: np.ndarray, distance: str
) -> float:
    total = 0.0
    for feature, label in zip(embeddings, labels, strict=True):
        powers = [math.exp(-measure(feature, each, distance)) for each in anchors]
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


def make(anchors: np.ndarray, distance: str) -> Head:
    num_classes, dim = anchors.shape
    head = HEADS["anchor_ncm"](dim, num_classes, distance=distance).double()
    head.load_state_dict({"anchors": torch.from_numpy(anchors)})
    return head


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    anchors = rng.normal(size=(7, 3))
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    return 2 * rng.normal(size=(40, 3)), rng.integers(0, 7, 40), anchors


@pytest.mark.parametrize("distance", DISTANCES)
def test_loss_is_the_printed_equation(distance: str) -> None:
    embeddings, labels, anchors = draw()
    head = make(anchors, distance)
    output = head(torch.from_numpy(embeddings), torch.from_numpy(labels))
    expected = oracle(embeddings, labels, anchors, distance)
    assert float(output.loss) == pytest.approx(expected, rel=1e-9)
    logits = [[-measure(f, each, distance) for each in anchors] for f in embeddings]
    np.testing.assert_allclose(output.logits, logits, atol=1e-9)


@pytest.mark.parametrize(
    ("distance", "expected"), [("euclidean", 1.6318353), ("cosine", 1.3132617)]
)
def test_one_value_by_hand(distance: str, expected: float) -> None:
    # The embedding lies on the anchor of class 0 and is of class 1, at a right angle:
    # log(1 + e^sqrt(2)) with the distance, log(1 + e^1) with the cosine.
    head = make(np.eye(2, 3), distance)
    feature = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    loss = head(feature, torch.tensor([1])).loss
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_only_the_distance_sees_the_length_of_an_embedding() -> None:
    embeddings, labels, anchors = draw()
    classes = torch.from_numpy(labels)
    changes = {}
    for distance in DISTANCES:
        head = make(anchors, distance)
        once, thrice = (
            float(head(torch.from_numpy(scale * embeddings), classes).loss)
            for scale in (1, 3)
        )
        changes[distance] = abs(once - thrice)
    assert changes["cosine"] < 1e-9
    assert changes["euclidean"] > 1e-3


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_nearest_anchor_is_predicted(distance: str) -> None:
    embeddings, labels, anchors = draw()
    head = make(anchors, distance)
    logits = head(torch.from_numpy(embeddings), torch.from_numpy(labels)).logits
    nearest = [
        min(range(7), key=lambda c, f=feature: measure(f, anchors[c], distance))
        for feature in embeddings
    ]
    assert logits.argmax(dim=1).tolist() == nearest


def test_euclidean_is_the_euclidean_margin_without_its_margin() -> None:
    embeddings, labels, anchors = draw()
    other = HEADS["euclidean_margin"](3, 7, margin=0.0).double()
    other.load_state_dict({"weight": torch.from_numpy(anchors)})
    batch = torch.from_numpy(embeddings), torch.from_numpy(labels)
    expected = float(other(*batch).loss.detach())
    loss = float(make(anchors, "euclidean")(*batch).loss)
    assert loss == pytest.approx(expected, rel=1e-9)


def test_the_anchors_never_learn_but_are_saved() -> None:
    head = HEADS["anchor_ncm"](3, 7)
    assert list(head.parameters()) == []
    assert set(head.state_dict()) == {"anchors"}
    before = head.anchors.clone()
    head(torch.randn(4, 3, requires_grad=True), torch.arange(4)).loss.backward()
    assert torch.equal(head.anchors, before)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1.0, -1.0, 0.0])
def test_gradient_is_bounded_on_opposite_and_between_the_anchors(
    scale: float, distance: str
) -> None:
    head = HEADS["anchor_ncm"](3, 3, distance=distance)
    embeddings = (scale * head.anchors).clone().requires_grad_()
    output = head(embeddings, torch.arange(3))
    output.loss.backward()
    assert output.loss.isfinite()
    assert embeddings.grad is not None
    if distance == "euclidean" or scale != 0:
        # Both distances have slopes of at most 1 here.
        assert embeddings.grad.norm(dim=1).max() <= 2 / 3
    assert embeddings.grad.abs().max() < 1e6


@pytest.mark.parametrize("offset", [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("distance", DISTANCES)
def test_the_slope_is_bounded_near_the_anchor_of_another_class(
    distance: str, offset: float
) -> None:
    """In float32, where a squared distance may be lost in the squares of the norms."""
    torch.manual_seed(0)
    head = HEADS["anchor_ncm"](64, 80, distance=distance, anchors="spread")
    aside = offset * normalize(torch.randn(80, 64))
    embeddings = (head.anchors.roll(1, dims=0) + aside).requires_grad_()
    head(embeddings, torch.arange(80)).loss.backward()
    # Each distance has a slope of at most 1, and cross-entropy weighs them by at most
    # 1 for the target and 1 for all the others.
    assert embeddings.grad is not None
    assert 80 * embeddings.grad.norm(dim=1).max() <= 2.1


# Anchors


def cosines(anchors: torch.Tensor) -> np.ndarray:
    """Of every two different anchors."""
    rows = anchors.double().numpy()
    return np.array([a @ b for i, a in enumerate(rows) for b in rows[:i]])


KINDS = [
    ("basis", 1, 1),
    ("basis", 3, 5),
    ("basis", 5, 5),
    ("circle", 1, 2),
    ("circle", 2, 2),
    ("circle", 10, 2),
    ("simplex", 1, 1),
    ("simplex", 2, 1),
    ("simplex", 3, 2),
    ("simplex", 4, 8),
    ("simplex", 6, 5),
    ("spread", 1, 3),
    ("spread", 2, 3),
    ("spread", 4, 1),
    ("spread", 10, 3),
    ("spread", 40, 16),
]


@pytest.mark.parametrize(("kind", "num_classes", "dim"), KINDS)
def test_anchors_have_unit_length(kind: str, num_classes: int, dim: int) -> None:
    anchors = make_anchors(kind, num_classes, dim, 0)  # type: ignore[arg-type]
    assert anchors.shape == (num_classes, dim)
    assert not anchors.requires_grad
    np.testing.assert_allclose(anchors.norm(dim=1), np.ones(num_classes), rtol=1e-6)


def test_the_basis_is_orthogonal() -> None:
    anchors = make_anchors("basis", 4, 6, 0)
    assert sorted(anchors.flatten().tolist()) == [0] * 20 + [1] * 4
    np.testing.assert_allclose(cosines(anchors), 0)


@pytest.mark.parametrize("num_classes", [2, 3, 4, 5, 10])
def test_the_circle_has_equal_angles(num_classes: int) -> None:
    anchors = make_anchors("circle", num_classes, 2, 0).double().numpy()
    angles = np.sort(np.arctan2(anchors[:, 1], anchors[:, 0]))
    gaps = np.diff(np.append(angles, angles[0] + 2 * math.pi))
    np.testing.assert_allclose(gaps, 2 * math.pi / num_classes, atol=1e-5)


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (4, 8), (11, 10)])
def test_the_simplex_has_one_cosine(num_classes: int, dim: int) -> None:
    anchors = make_anchors("simplex", num_classes, dim, 0)
    np.testing.assert_allclose(cosines(anchors), -1 / (num_classes - 1), atol=1e-6)


@pytest.mark.parametrize(("num_classes", "dim"), [(6, 3), (10, 3), (20, 4), (60, 8)])
def test_spread_anchors_are_further_apart_than_random_ones(
    num_classes: int, dim: int
) -> None:
    rng = np.random.default_rng(0)
    by_chance = []
    for _ in range(50):
        rows = rng.normal(size=(num_classes, dim))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        by_chance.append(cosines(torch.from_numpy(rows)).max())
    # No arrangement gets below the simplex, and beyond it none below 0.
    spread = cosines(make_anchors("spread", num_classes, dim, 0)).max()
    assert -1e-6 <= spread < min(by_chance)


def test_spread_anchors_follow_their_seed_alone() -> None:
    torch.manual_seed(1)
    one = make_anchors("spread", 12, 4, 3)
    before = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(make_anchors("spread", 12, 4, 3), one)
    assert not torch.equal(make_anchors("spread", 12, 4, 4), one)
    torch.manual_seed(1)
    make_anchors("spread", 12, 4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    head = HEADS["anchor_ncm"](4, 12, anchors="spread", seed=3)
    assert torch.equal(head.anchors, one)


@pytest.mark.parametrize(
    ("kind", "num_classes", "dim"),
    [
        ("circle", 3, 2),
        ("circle", 2, 2),
        ("circle", 10, 2),
        ("basis", 2, 6),
        ("basis", 6, 6),
        ("simplex", 7, 6),
        ("simplex", 2, 1),
        ("spread", 8, 6),
        ("spread", 5, 3),
    ],
)
def test_auto_chooses_by_the_sizes(kind: str, num_classes: int, dim: int) -> None:
    chosen = make_anchors("auto", num_classes, dim, 5)
    assert torch.equal(chosen, make_anchors(kind, num_classes, dim, 5))  # type: ignore[arg-type]
    head = HEADS["anchor_ncm"](dim, num_classes, seed=5)
    assert torch.equal(head.anchors, chosen)


@pytest.mark.parametrize(
    ("kind", "num_classes", "dim", "fragments"),
    [
        ("basis", 7, 6, ["6", "got 7"]),
        ("circle", 4, 3, ["2", "got 3"]),
        ("circle", 4, 1, ["2", "got 1"]),
        ("simplex", 8, 6, ["7", "got 8"]),
        ("simplex", 3, 1, ["2", "got 3"]),
    ],
)
def test_anchors_that_do_not_fit_are_refused(
    kind: str, num_classes: int, dim: int, fragments: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        make_anchors(kind, num_classes, dim, 0)  # type: ignore[arg-type]
    assert all(fragment in str(caught.value) for fragment in [kind, *fragments])
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match=kind):
        HEADS["anchor_ncm"](dim, num_classes, anchors=kind)
