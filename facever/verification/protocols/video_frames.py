"""The frames that stand for videos, and what became of them."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from facever.data.sources.frame_rule import FrameRule
from facever.errors import DataError, FileError
from facever.faces.photo_source import PHOTO_SUFFIXES
from facever.verification.protocols.pairs import photo_key


@dataclass(frozen=True)
class FrameCounts:
    """Frames of videos, counted.

    Attributes:
        videos: Names of the videos that the pairs name.
        num_found: Number of frames of each video.
        num_taken: Number of frames of each video that the frame rule took.
        num_failed: Number of frames taken of each video that give no face.
    """

    videos: list[str]
    num_found: Int64[np.ndarray, " videos"]
    num_taken: Int64[np.ndarray, " videos"]
    num_failed: Int64[np.ndarray, " videos"]

    @property
    def num_videos_lost(self) -> int:
        """Videos that no frame stands for: none was there, or each failed."""
        return int(np.count_nonzero(self.num_taken == self.num_failed))

    def worst_first(self) -> list[int]:
        """Places of the videos with failed frames, the largest share of them first.

        Among videos with the same share the one that lost more comes first, then the
        alphabet decides.
        """
        taken, failed = self.num_taken.tolist(), self.num_failed.tolist()
        return sorted(
            np.flatnonzero(self.num_failed).tolist(),
            key=lambda v: (-failed[v] / taken[v], -failed[v], self.videos[v]),
        )


@dataclass(frozen=True)
class VideoFrames:
    """The frames that stand for videos.

    Attributes:
        videos: Names of the videos, such as ``"A_B/0"``.
        frames: Frames taken, as sources ``"A_B/0/0.123.jpg"``, video by video, each
            video's in the order of time.
        video: Index of each frame's video.
        num_found: Number of frames of each video, taken or not.
    """

    videos: list[str]
    frames: list[str]
    video: Int64[np.ndarray, " frames"]
    num_found: Int64[np.ndarray, " videos"]

    @property
    def num_taken(self) -> Int64[np.ndarray, " videos"]:
        """How many frames were taken of each video."""
        return np.bincount(self.video, minlength=len(self.videos)).astype(np.int64)

    def match(
        self, images: Sequence[str]
    ) -> tuple[
        Int64[np.ndarray, " matched"],
        Int64[np.ndarray, " matched"],
        Int64[np.ndarray, " videos"],
    ]:
        """Find the frames among images that have embeddings.

        Args:
            images: Source of each image; its extension does not matter. Images that are
                no taken frame are left out.

        Returns:
            Rows of the images that are taken frames, the index of each one's video, and
            for each video how many of its taken frames failed, that is, are no image.

        Raises:
            DataError: If an image is listed twice.
        """
        video_of_key = dict(
            zip(map(photo_key, self.frames), self.video.tolist(), strict=True)
        )
        row_of_key: dict[str, int] = {}
        for row, image in enumerate(images):
            key = photo_key(image)
            if key in video_of_key and row_of_key.setdefault(key, row) != row:
                raise DataError(
                    f"images must name each frame once, got {image!r} in the rows "
                    f"{row_of_key[key]} and {row}"
                )
        rows = np.array(list(row_of_key.values()), dtype=np.int64)
        video = np.array([video_of_key[key] for key in row_of_key], dtype=np.int64)
        return (
            rows,
            video,
            self.num_taken - np.bincount(video, minlength=len(self.videos)),
        )


def find_frames(folder: Path, videos: Sequence[str], rule: FrameRule) -> VideoFrames:
    """Take the frames of videos from ``folder/<Name>/<video>/<frame>.jpg``.

    Hidden files and files without a photo's suffix are no frames. A video whose folder
    is missing or has no frames gives none.

    Args:
        folder: The folder above the people.
        videos: Names such as ``"A_B/0"``; see ``PairList.sources``.
        rule: Which frames to take.

    Raises:
        FileError: If no video has a frame there, or a folder cannot be read.
        DataError: If two frames taken differ by their extension only.
    """
    sources = (source for video in videos for source in _list_frames(folder, video))
    chosen = choose_frames(sources, videos, rule)
    if not chosen.frames:
        raise FileError(
            f"no frames in {folder}: expected the frames of {len(videos)} videos as "
            f"{folder}/{videos[0] if videos else '<Name>/<video>'}/<frame>.jpg"
        )
    return chosen


def choose_frames(
    sources: Iterable[str], videos: Sequence[str], rule: FrameRule
) -> VideoFrames:
    """Take the frames of videos from a list.

    The frames of a video are put in the order of time, which is that of the numbers in
    their names: ``0.9.jpg`` is before ``0.10.jpg``.

    Args:
        sources: Frames such as ``"A_B/0/0.123.jpg"``, in any order. Those of other
            videos are left out.
        videos: Names such as ``"A_B/0"``.
        rule: Which frames to take.

    Raises:
        DataError: If two frames taken differ by their extension only.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        found[source.rpartition("/")[0]].append(source)
    frames: list[str] = []
    video_of_frame: list[int] = []
    for index, video in enumerate(videos):
        in_time = sorted(found[video], key=_numbers_by_value)
        taken = [in_time[place] for place in rule.take(video, len(in_time)).tolist()]
        frames += taken
        video_of_frame += [index] * len(taken)
    _refuse_one_name(frames)
    return VideoFrames(
        list(videos),
        frames,
        np.array(video_of_frame, dtype=np.int64),
        np.array([len(found[video]) for video in videos], dtype=np.int64),
    )


def _list_frames(folder: Path, video: str) -> Iterator[str]:
    try:
        with os.scandir(folder / video) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot read {folder / video}: {error.strerror}") from None
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in PHOTO_SUFFIXES and not name.startswith("."):
            yield f"{video}/{name}"


def _refuse_one_name(frames: Sequence[str]) -> None:
    keys: set[str] = set()
    for frame in frames:
        key = photo_key(frame)
        if key in keys:
            raise DataError(
                "a frame must be there once, got two that differ only by their "
                f"extension: {frame!r} is the second; remove one"
            )
        keys.add(key)


def _numbers_by_value(source: str) -> tuple[list[tuple[int, str]], str]:
    """Text and numbers in turn, then the whole name, as 1.jpg is not 01.jpg."""
    parts = re.split(r"([0-9]+)", source)
    return [
        (int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)
    ], source
