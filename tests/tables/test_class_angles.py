import math

import numpy as np
import pytest

from facever.errors import DataError
from facever.tables.class_angles import class_angles


def angle(left: np.ndarray, right: np.ndarray) -> float:
    lengths = math.sqrt(sum(left**2)) * math.sqrt(sum(right**2))
    return math.acos(sum(left * right) / lengths)


def test_angles_by_hand() -> None:
    # Class vectors along x, y and -x: angles of 90, 180 and 90 degrees, mean 120.
    # Centers along x, the diagonal of the second quadrant and -x: 135, 180 and 45,
    # mean 120. Between vector and center: 0, 45 and 0, mean 15. Lengths do not matter.
    weight = np.array([[2.0, 0.0], [0.0, 0.5], [-9.0, 0.0]])
    embeddings = np.array([[1.0, 1.0], [3.0, -1.0], [-5.0, 5.0], [-2.0, 0.0]])
    found = class_angles(embeddings, np.array([0, 0, 1, 2]), weight)
    assert found.w_inter == pytest.approx(math.radians(120))
    assert found.c_inter == pytest.approx(math.radians(120))
    assert found.wc_intra == pytest.approx(math.radians(15))


def test_angles_are_the_means_over_all_pairs_of_the_classes_seen() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(9, 5))
    labels = rng.choice([0, 2, 3, 7], 30)
    embeddings = rng.normal(size=(30, 5)).astype(np.float32)
    found = class_angles(embeddings, labels, weight)
    seen = sorted(set(labels.tolist()))
    centers = {c: embeddings[labels == c].astype(float).mean(axis=0) for c in seen}
    pairs = [(a, b) for a in seen for b in seen if a < b]
    for value, expected in (
        (found.w_inter, [angle(weight[a], weight[b]) for a, b in pairs]),
        (found.c_inter, [angle(centers[a], centers[b]) for a, b in pairs]),
        (found.wc_intra, [angle(weight[c], centers[c]) for c in seen]),
    ):
        assert value == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_one_class_has_no_angles() -> None:
    with pytest.raises(DataError, match="at least two classes, got 1"):
        class_angles(np.ones((3, 2)), np.zeros(3, np.int64), np.ones((4, 2)))


def test_a_network_that_died_has_no_angles() -> None:
    features = np.zeros((4, 2), np.float32)
    found = class_angles(features, np.array([0, 0, 1, 1]), np.eye(2))
    assert found.w_inter == pytest.approx(math.pi / 2)
    assert math.isnan(found.c_inter)
    assert math.isnan(found.wc_intra)
