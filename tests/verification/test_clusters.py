"""Beside loops over all pairs of faces, and by hand."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.clustering.face_clusters import cluster_embeddings
from facever.errors import DataError
from facever.inference.embeddings_file import read_embeddings
from facever.verification.clusters import compare_clusters


def mean(shares: list[float]) -> float:
    return sum(shares) / len(shares) if shares else float("nan")


@given(
    faces=st.lists(
        st.tuples(st.integers(-2, 3), st.integers(5, 8)), min_size=1, max_size=25
    )
)
def test_beside_loops_over_pairs_and_faces(faces: list[tuple[int, int]]) -> None:
    found = compare_clusters(*np.array(faces, np.int64).T)
    pairs = list(combinations(faces, 2))
    within = [one[1] == other[1] for one, other in pairs if one[0] == other[0]]
    of_one = [one[0] == other[0] for one, other in pairs if one[1] == other[1]]
    purity = [
        mean([other[1] == face[1] for other in faces if other[0] == face[0]])
        for face in faces
    ]
    wholeness = [
        mean([other[0] == face[0] for other in faces if other[1] == face[1]])
        for face in faces
    ]
    assert found.pair_precision == pytest.approx(mean(within), nan_ok=True)
    assert found.pair_recall == pytest.approx(mean(of_one), nan_ok=True)
    assert found.b_cubed_precision == pytest.approx(mean(purity))
    assert found.b_cubed_recall == pytest.approx(mean(wholeness))
    assert found.num_faces == len(faces)
    assert found.num_clusters == len({cluster for cluster, _ in faces})
    assert found.num_people == len({person for _, person in faces})


def test_by_hand() -> None:
    # Two people of four and two faces; three clusters of three, two and one.
    clusters = np.array([0, 0, 0, 1, 1, 2])
    people = np.array([4, 4, 4, 4, 5, 5])
    found = compare_clusters(clusters, people)
    assert found.pair_precision == 3 / 4  # of 3 + 1 pairs within clusters
    assert found.pair_recall == 3 / 7  # of 6 + 1 pairs of one person
    assert found.pair_f == pytest.approx(6 / 11)
    assert found.b_cubed_precision == pytest.approx((1 + 1 + 1 + 0.5 + 0.5 + 1) / 6)
    assert found.b_cubed_recall == pytest.approx((3 * 0.75 + 0.25 + 0.5 + 0.5) / 6)
    assert found.b_cubed_f == pytest.approx(2 * (5 / 6) * (7 / 12) / (17 / 12))


def test_all_right_and_all_wrong() -> None:
    people = np.array([3, 3, 1, 1])
    right = compare_clusters(np.array([0, 0, 9, 9]), people)
    assert (right.pair_f, right.b_cubed_f) == (1.0, 1.0)
    wrong = compare_clusters(np.array([0, 1, 0, 1]), people)
    assert (wrong.pair_f, wrong.b_cubed_f) == (0.0, 0.5)


def test_no_faces() -> None:
    with pytest.raises(DataError, match="no faces"):
        compare_clusters(np.zeros(0, np.int64), np.zeros(0, np.int64))


@pytest.mark.realdata
def test_people_of_lfw_with_several_photos(data_folder: Path) -> None:
    path = data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz"
    file = read_embeddings(path)
    names = np.array([image.split("/")[0] for image in file.images])
    _, people, counts = np.unique(names, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[people] > 1)
    found = cluster_embeddings(file.embeddings[rows], 0.45)
    apart = np.where(found.clusters < 0, -1 - np.arange(len(rows)), found.clusters)
    agreement = compare_clusters(apart, people[rows])
    assert (agreement.num_faces, agreement.num_people) == (9164, 1680)
    assert agreement.pair_precision > 0.99
    assert agreement.b_cubed_f > 0.96
