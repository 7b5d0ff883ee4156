from typing import Any

import numpy as np
import pytest

from facever.choices import ClusterMethod
from facever.clustering.face_clusters import METHODS, cluster_embeddings
from facever.errors import DataError, ParameterError


def draw(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Shuffled faces of people who are easy to tell, with the person in front."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.arange(len(sizes)).repeat(sizes))
    people = rng.normal(size=(len(sizes), 64))
    faces = people[who] + 0.3 * rng.normal(size=(len(who), 64))
    return np.concatenate([who[:, None], faces], axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_the_largest_is_first_and_single_faces_are_alone(method: ClusterMethod) -> None:
    drawn = draw([3, 9, 1, 5, 1, 1, 2])
    who, faces = drawn[:, 0].astype(int), drawn[:, 1:]
    found = cluster_embeddings(100 * faces, 0.5, method=method)
    expected = np.array([2, 0, -1, 1, -1, -1, 3])[who]
    np.testing.assert_array_equal(found.clusters, expected)
    assert (found.num_clusters, found.num_alone) == (4, 3)


@pytest.mark.parametrize("method", METHODS)
def test_cosines_are_with_the_mean_of_the_others(method: ClusterMethod) -> None:
    faces = draw([4, 3, 1, 2])[:, 1:]
    found = cluster_embeddings(faces, 0.5, method=method)
    units = faces / np.linalg.norm(faces, axis=1, keepdims=True)
    for row, cluster in enumerate(found.clusters):
        others = [
            other
            for other in range(len(faces))
            if found.clusters[other] == cluster and other != row
        ]
        if cluster == -1:
            assert np.isnan(found.cosine[row])
            continue
        mean = units[others].mean(axis=0)
        expected = units[row] @ mean / np.linalg.norm(mean)
        assert found.cosine[row] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_of_equal_size_the_earlier_face_is_first(method: ClusterMethod) -> None:
    found = cluster_embeddings(draw([3] * 20)[:, 1:], 0.5, method=method)
    first_faces = [int(np.flatnonzero(found.clusters == n)[0]) for n in range(20)]
    assert first_faces == sorted(first_faces)


@pytest.mark.parametrize("method", METHODS)
def test_smaller_clusters_than_asked_for_are_alone(method: ClusterMethod) -> None:
    drawn = draw([3, 9, 1, 5, 2])
    who = drawn[:, 0].astype(int)
    found = cluster_embeddings(drawn[:, 1:], 0.5, method=method, min_size=4)
    np.testing.assert_array_equal(found.clusters, np.array([-1, 0, -1, 1, -1])[who])
    assert np.isnan(found.cosine[found.clusters == -1]).all()


def test_rows_of_a_cluster_begin_with_the_most_typical() -> None:
    degrees = np.deg2rad([20.0, 0.0, 8.0, 180.0])
    faces = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    found = cluster_embeddings(faces, 0.5)
    # To the middle of the others: 16 degrees from 20, 14 from 0, 2 from 8.
    assert found.rows_of(0).tolist() == [2, 1, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("faces", [0, 1])
def test_none_and_one(method: ClusterMethod, faces: int) -> None:
    found = cluster_embeddings(np.ones((faces, 3)), 0.5, method=method)
    assert found.clusters.tolist() == [-1] * faces
    assert (found.num_clusters, found.num_alone) == (0, faces)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, r"threshold must be a cosine in \[-1, 1\), got 1.0"),
        ({"threshold": -1.1}, r"threshold must be a cosine in \[-1, 1\), got -1.1"),
        ({"threshold": float("nan")}, r"threshold .* got nan"),
        ({"min_size": 1}, "min_size must be at least 2 faces, got 1"),
        ({"method": "kmeans"}, "method must be one of agglomerative, hdbscan, got 'km"),
    ],
)
def test_options_out_of_range(
    options: dict[str, Any], message: str, types_unchecked: None
) -> None:
    with pytest.raises(ParameterError, match=message):
        cluster_embeddings(np.eye(3), **{"threshold": 0.5, **options})


def test_an_embedding_without_a_direction() -> None:
    with pytest.raises(DataError, match="embedding 1 of 2 is all zero"):
        cluster_embeddings(np.array([[1.0, 0.0], [0.0, 0.0]]), 0.5)
