"""Beside scikit-learn on the full matrix of distances, and on clusters that we drew."""

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from facever.clustering.density import dense_regions
from facever.inference.vectors import unit_vectors


def draw(seed: int, sizes: list[int], dim: int = 32, spread: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(len(sizes), dim)).repeat(sizes, axis=0)
    return unit_vectors(people + spread * rng.normal(size=people.shape))


def groups(labels: np.ndarray) -> set[frozenset[int]]:
    return {
        frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_size", [2, 3, 5])
def test_without_a_threshold_is_hdbscan_on_all_distances(
    seed: int, min_size: int
) -> None:
    units = draw(seed, [12, 7, 5, 4, 3, 3, 2, 2, 1, 1, 1, 1], spread=1.0)
    far = np.sqrt(np.maximum(2 - 2 * units.astype(np.float64) @ units.T, 0))
    np.fill_diagonal(far, 0)
    oracle = HDBSCAN(min_cluster_size=min_size, metric="precomputed", copy=True)
    labels = oracle.fit_predict((far + far.T) / 2)
    labels[labels < 0] = 100 + np.arange(np.count_nonzero(labels < 0))
    assert groups(dense_regions(units, -1.0, min_size)) == groups(labels)


def test_finds_the_people_and_puts_strangers_out() -> None:
    units = draw(0, [20, 10, 5, 3, *[1] * 30])
    found = dense_regions(units, 0.8, 2)
    people = [set(found[:20]), set(found[20:30]), set(found[30:35]), set(found[35:38])]
    assert [len(person) for person in people] == [1, 1, 1, 1]
    assert len(set(found)) == 4 + 30
    # Density alone makes clusters of strangers who are nearest to each other.
    assert len(set(dense_regions(units, -1.0, 2))) < 4 + 30


def test_whoever_is_not_above_the_threshold_is_put_out() -> None:
    # Two people, and a face that is 50 degrees from the first one.
    degrees = np.deg2rad([0.0, 1.0, 2.0, 3.0, 51.5, 178.0, 179.0, 180.0, 181.0])
    units = unit_vectors(np.stack([np.cos(degrees), np.sin(degrees)], axis=1))
    to_others = float(np.cos(np.deg2rad(50)))
    one, other = frozenset(range(4)), frozenset(range(5, 9))
    inside = dense_regions(units, to_others - 0.001, 4)
    outside = dense_regions(units, to_others + 0.001, 4)
    assert groups(inside) == {one | {4}, other}
    assert groups(outside) == {one, frozenset([4]), other}


@pytest.mark.parametrize("faces", [0, 1, 2])
def test_fewer_faces_than_make_a_cluster_are_alone(faces: int) -> None:
    units = draw(0, [1] * 2)[:faces]
    assert dense_regions(units, 0.0, 3).tolist() == list(range(faces))


def test_copies_of_a_photo_are_one_cluster() -> None:
    units = draw(1, [1, 1, 1]).repeat(4, axis=0)
    assert groups(dense_regions(units, 0.9, 2)) == {
        frozenset(range(start, start + 4)) for start in (0, 4, 8)
    }
