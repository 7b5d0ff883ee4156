import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.protocols import mean_by_video, mean_frame_cosines

NUM_VIDEOS = 5


def draw(seed: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(num_frames, 4)).astype(np.float32)
    return embeddings, rng.integers(0, NUM_VIDEOS, num_frames)


def test_by_hand() -> None:
    embeddings = np.array([[4.0, 0.0], [0.0, 2.0], [0.0, 1.0], [3.0, 4.0]])
    video = np.array([2, 0, 2, 0])
    means = mean_by_video(embeddings, video, 3)
    np.testing.assert_array_equal(means, [[1.5, 3.0], [np.nan, np.nan], [2.0, 0.5]])
    # Video 2 looks along x and along y; video 0 along y and along (0.6, 0.8).
    scores = mean_frame_cosines(
        embeddings, video, 3, np.array([2, 2, 1]), np.array([0, 1, 1])
    )
    np.testing.assert_allclose(scores, [(0 + 0.6 + 1 + 0.8) / 4, -np.inf, -np.inf])


@given(st.integers(0, 1000), st.integers(0, 30))
def test_means_against_a_loop(seed: int, num_frames: int) -> None:
    embeddings, video = draw(seed, num_frames)
    means = mean_by_video(embeddings, video, NUM_VIDEOS)
    for index in range(NUM_VIDEOS):
        mine = [
            row.astype(np.float64)
            for row, of in zip(embeddings, video, strict=True)
            if of == index
        ]
        if mine:
            np.testing.assert_allclose(means[index], sum(mine) / len(mine), rtol=1e-12)
        else:
            assert np.isnan(means[index]).all()


@given(st.integers(0, 1000), st.integers(0, 30))
def test_scores_against_all_pairs_of_frames(seed: int, num_frames: int) -> None:
    embeddings, video = draw(seed, num_frames)
    left, right = (
        grid.ravel()
        for grid in np.meshgrid(np.arange(NUM_VIDEOS), np.arange(NUM_VIDEOS))
    )
    scores = mean_frame_cosines(embeddings, video, NUM_VIDEOS, left, right)
    for score, first, second in zip(scores, left, right, strict=True):
        cosines = [
            float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
            for a in embeddings[video == first].astype(np.float64)
            for b in embeddings[video == second].astype(np.float64)
        ]
        if cosines:
            assert score == pytest.approx(sum(cosines) / len(cosines), abs=1e-12)
        else:
            assert score == -np.inf


def test_many_frames_lose_no_precision() -> None:
    embeddings = np.full((100_000, 2), 0.1, dtype=np.float32)
    means = mean_by_video(embeddings, np.zeros(100_000, dtype=np.int64), 1)
    np.testing.assert_allclose(means, np.float64(np.float32(0.1)), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_that_are_not_finite(value: float) -> None:
    embeddings = np.ones((3, 2))
    embeddings[1, 0] = value
    video = np.zeros(3, dtype=np.int64)
    with pytest.raises(DataError, match=r"row 1 is not finite \(1 such rows\)"):
        mean_by_video(embeddings, video, 1)
    with pytest.raises(DataError, match="embedding 1 of 3 is all zero or not finite"):
        mean_frame_cosines(embeddings, video, 1, video[:1], video[:1])


def test_frames_that_are_zero() -> None:
    embeddings = np.array([[1.0, 0.0], [0.0, 0.0]])
    video = np.zeros(2, dtype=np.int64)
    with pytest.raises(DataError, match="embedding 1 of 2 is all zero or not finite"):
        mean_frame_cosines(embeddings, video, 1, video[:1], video[:1])
