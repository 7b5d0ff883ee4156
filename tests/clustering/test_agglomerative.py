"""Beside scikit-learn's full matrix, and a loop that merges one pair at a time."""

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from facever.clustering import agglomerative
from facever.clustering.agglomerative import average_linkage
from facever.inference.embeddings_file import read_embeddings
from facever.inference.vectors import unit_vectors


def groups(labels: np.ndarray) -> set[frozenset[int]]:
    return {
        frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)
    }


def draw(seed: int, faces: int = 60, dim: int = 6, spread: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(1 + faces // 5, dim))
    chosen = people[rng.integers(len(people), size=faces)]
    return unit_vectors(chosen + spread * rng.normal(size=chosen.shape))


def by_one_pair_at_a_time(units: np.ndarray, cut: float) -> set[frozenset[int]]:
    cosine = units.astype(np.float64) @ units.astype(np.float64).T
    found = [frozenset([row]) for row in range(len(units))]
    while len(found) > 1:
        means = {
            (one, other): np.mean([cosine[i, j] for i, j in product(one, other)])
            for one, other in combinations(found, 2)
        }
        pair = max(means, key=means.__getitem__)
        if means[pair] <= cut:
            break
        found = [group for group in found if group not in pair] + [pair[0] | pair[1]]
    return set(found)


@given(seed=st.integers(0, 10**6), cut=st.floats(-0.9, 0.95), faces=st.integers(1, 14))
def test_merges_as_one_pair_at_a_time_does(seed: int, cut: float, faces: int) -> None:
    units = draw(seed, faces)
    assert groups(average_linkage(units, cut)) == by_one_pair_at_a_time(units, cut)


@given(
    seed=st.integers(0, 10**6),
    cut=st.floats(-0.5, 0.95),
    dim=st.sampled_from([2, 6, 40]),
    spread=st.floats(0.05, 2),
)
def test_is_what_the_matrix_of_all_pairs_gives(
    seed: int, cut: float, dim: int, spread: float
) -> None:
    units = draw(seed, 150, dim, spread)
    oracle = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - cut
    )
    expected = groups(oracle.fit_predict(units.astype(np.float64)))
    assert groups(average_linkage(units, cut)) == expected


def test_a_number_is_the_row_of_the_first_face() -> None:
    left, right = [1.0, 0.0], [0.0, 1.0]
    units = np.array([left, right, right, left, right], np.float32)
    assert average_linkage(units, 0.5).tolist() == [0, 1, 1, 0, 1]


def test_the_mean_of_all_pairs_decides_and_must_be_above_the_cut() -> None:
    # 0 and 40 degrees meet first; to 90 degrees their mean cosine is half of cos 50.
    degrees = np.deg2rad([0.0, 40.0, 90.0])
    units = unit_vectors(np.stack([np.cos(degrees), np.sin(degrees)], axis=1))
    between = float(np.cos(np.deg2rad(50))) / 2
    assert average_linkage(units, between - 1e-4).tolist() == [0, 0, 0]
    assert average_linkage(units, between + 1e-4).tolist() == [0, 0, 2]
    opposite = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert average_linkage(opposite, 0.0).tolist() == [0, 1], "equal is not above"


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    units = draw(3, 200)
    expected = average_linkage(units, 0.5)
    assert 1 < len(set(expected)) < 200
    monkeypatch.setattr(agglomerative, "_BLOCK_SCORES", 500)
    np.testing.assert_array_equal(average_linkage(units, 0.5), expected)


def test_the_order_of_the_faces_does_not_matter() -> None:
    units = draw(4, 200)
    shuffled = np.random.default_rng(0).permutation(200)
    there = groups(average_linkage(units[shuffled], 0.6))
    back = {frozenset(shuffled[list(group)].tolist()) for group in there}
    assert back == groups(average_linkage(units, 0.6))


@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-7])
def test_copies_of_a_photo_whose_cosines_differ_by_rounding_alone(noise: float) -> None:
    rng = np.random.default_rng(5)
    people = unit_vectors(rng.normal(size=(4, 512)))
    copies = people.repeat(60, axis=0)
    units = copies + noise * rng.normal(size=copies.shape).astype(np.float32)
    found = average_linkage(units, 0.9)
    np.testing.assert_array_equal(found, np.arange(4).repeat(60) * 60)


def test_every_round_may_merge_one_pair_only() -> None:
    # Each face is nearest to the one before it, ever farther apart.
    angles = np.deg2rad(0.01 * 1.1 ** np.arange(95))
    units = unit_vectors(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert groups(average_linkage(units, 0.5)) == by_one_pair_at_a_time(units, 0.5)


def test_progress_tells_of_each_face_once() -> None:
    told: list[int] = []

    def advance(count: int = 1, note: str = "") -> None:
        told.append(count)

    average_linkage(draw(6, 100), 0.5, advance)
    assert sum(told) == 100
    assert len(told) > 2


@pytest.mark.realdata
@pytest.mark.parametrize("cut", [0.3, 0.45, 0.9])
def test_faces_of_lfw_beside_the_matrix_of_all_pairs(
    data_folder: Path, cut: float
) -> None:
    path = data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz"
    units = unit_vectors(read_embeddings(path).embeddings[:2000])
    oracle = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - cut
    )
    expected = groups(oracle.fit_predict(units.astype(np.float64)))
    assert groups(average_linkage(units, cut)) == expected
