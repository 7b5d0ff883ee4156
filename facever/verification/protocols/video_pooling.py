"""From the embeddings of frames to one embedding, or one score, of videos."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from facever.errors import DataError
from facever.inference.vectors import unit_vectors


def mean_by_video(
    embeddings: Float[np.ndarray, "frames dim"],
    video: Int64[np.ndarray, " frames"],
    num_videos: int,
) -> Float64[np.ndarray, "videos dim"]:
    """The mean of each video's frame embeddings.

    Embeddings are averaged as they are: scale them to unit length before, or do not.

    Args:
        embeddings: The embeddings, one row for each frame.
        video: Index of each frame's video, ``0 .. num_videos - 1``, in any order.
        num_videos: Number of videos.

    Returns:
        One row a video, in float64; NaN for a video without frames.

    Raises:
        DataError: If an embedding is not finite.
    """
    _refuse_infinite(embeddings)
    num_frames = np.bincount(video, minlength=num_videos)
    means = np.full((num_videos, embeddings.shape[1]), np.nan)
    present = np.flatnonzero(num_frames)
    if present.size:
        by_video = embeddings[np.argsort(video, kind="stable")]
        starts = (np.cumsum(num_frames) - num_frames)[present]
        sums = np.add.reduceat(by_video, starts, axis=0, dtype=np.float64)
        means[present] = sums / num_frames[present, None]
    return means


def mean_by_name(
    embeddings: Float[np.ndarray, "frames dim"],
    video: Int64[np.ndarray, " frames"],
    videos: Sequence[str],
) -> tuple[Float64[np.ndarray, "named dim"], list[str]]:
    """The means of ``mean_by_video``, and the names, of the videos that have frames."""
    means = mean_by_video(embeddings, video, len(videos))
    present = ~np.isnan(means).any(axis=1)
    named = [name for name, there in zip(videos, present, strict=True) if there]
    return means[present], named


def mean_frame_cosines(
    embeddings: Float[np.ndarray, "frames dim"],
    video: Int64[np.ndarray, " frames"],
    num_videos: int,
    left: Int64[np.ndarray, " pairs"],
    right: Int64[np.ndarray, " pairs"],
) -> Float64[np.ndarray, " pairs"]:
    """The mean cosine over every frame of one video with every frame of another.

    The mean of all dot products is the dot product of the means, so no frame pair is
    formed: it is that of the means of the unit embeddings, not scaled again.

    Args:
        embeddings: The embeddings, one row for each frame; they need not be of unit
            length.
        video: Index of each frame's video.
        num_videos: Number of videos.
        left: Index of each pair's first video.
        right: Index of each pair's second video.

    Returns:
        In [-1, 1], up to rounding; ``-inf`` where a video has no frames.

    Raises:
        DataError: If an embedding is not finite or all zero.
    """
    units = unit_vectors(embeddings, dtype=np.float64)
    means = mean_by_video(units, video, num_videos)
    scores: Float64[np.ndarray, " pairs"] = np.einsum(
        "pd,pd->p", means[left], means[right]
    )
    return np.where(np.isnan(scores), -np.inf, scores)


def _refuse_infinite(embeddings: Float[np.ndarray, "frames dim"]) -> None:
    _refuse_frame(~np.isfinite(embeddings).all(axis=1), "is not finite")


def _refuse_frame(wrong: Bool[np.ndarray, " frames"], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        raise DataError(
            f"embeddings of frames must be finite and not zero; row {rows[0]} {what} "
            f"({rows.size} such rows)"
        )
