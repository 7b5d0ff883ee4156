"""The frames of video files, as photos.

Frames are counted and found by decoding from the start: what a file says of its own
number of frames may be an estimate, and a decoder that jumps may land on a neighbour.
A file that does not begin as a video is never opened: FFmpeg, which decodes videos for
OpenCV, takes some texts for lists of other files, and would open those.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from threading import local

import cv2
import numpy as np
from jaxtyping import UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.data.sources.frame_rule import FrameRule
from facever.errors import PhotoError
from facever.faces.photo_source import (
    NoPhoto,
    PhotoListing,
    PhotoSource,
    identity_of,
    suffix_of,
)

VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm "
    ".wmv".split()
)

_BEGINNINGS = (
    *(b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"0&\xb2u\x8ef\xcf\x11"),
    *(b"\0\0\x01\xba", b"\0\0\x01\xb3"),
)
_QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_SYNC = 0x47  # Of MPEG's transport stream, in packets of 188 bytes or 4 more.
_HEAD_BYTES = 200
_MAX_FRAMES = 999_999
_SHARE_EXPECTED = 0.9  # Where a file says how long it is, not how many frames it has.
_NUM_NAMED = 3

# FFmpeg writes what it thinks of a file to stderr, where our own lines are.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video file.

    Attributes:
        number: Its number in the order of time, from 1.
    """

    number: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"frame {self.number}"

    def read(
        self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The frame, upright, in RGB.

        Frames of one video are best read in their order: for an earlier one than the
        last, the video is decoded from its start again.

        Args:
            path: The video.
            max_pixels: Height times width allowed, checked before decoding.

        Raises:
            PhotoError: If there is no such frame, or it is too large.
        """
        frame = _player_before(path, self.number, max_pixels).frame(self.number)
        _check_size(frame.shape[1], frame.shape[0], max_pixels)
        return frame


def is_video_file(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return suffix_of(path.name) in VIDEO_SUFFIXES and path.is_file()


def video_of(photo: PhotoSource) -> str | None:
    """The name of the video that a photo is a frame of; None if it is none."""
    is_frame = isinstance(photo.part, VideoFrame)
    return photo.source.rpartition("/")[0] if is_frame else None


def name_in_file(photo: PhotoSource) -> str | None:
    """What a photo is called where the file that holds it is the source.

    None if the file is the photo.
    """
    if isinstance(photo.part, VideoFrame):
        return "/".join(photo.source.split("/")[-2:])
    return photo.source if photo.part else None


def list_videos(videos: Mapping[str, Path]) -> PhotoListing:
    """All frames of videos, each named ``clip.mp4/000001.jpg`` and so on, from 1.

    The identity is that of a photo in the video's place. A video that cannot be read is
    listed by its name, with the reason.

    Args:
        videos: The video files, by what they are called in their source.
    """
    photos: list[PhotoSource] = []
    shorter: list[str] = []
    for name, path in videos.items():
        identity = identity_of(name)
        try:
            num_frames, num_claimed = count_frames(path)
        except PhotoError as error:
            photos.append(PhotoSource(name, identity, path, NoPhoto(str(error))))
            continue
        if num_frames < _SHARE_EXPECTED * num_claimed:
            shorter.append(f"{name} ({num_frames} of {num_claimed})")
        photos += [
            PhotoSource(f"{name}/{number:06}.jpg", identity, path, VideoFrame(number))
            for number in range(1, num_frames + 1)
        ]
    notes: tuple[str, ...] = ()
    if shorter:
        named = ", ".join(shorter[:_NUM_NAMED])
        notes = (
            f"{len(shorter)} videos have fewer frames than they say, for they are cut "
            f"off, or trimmed without being shortened: {named}",
        )
    return PhotoListing(photos, Counter(), notes=notes)


def list_video_frames(path: Path) -> PhotoListing:
    """All frames of a video that is a source by itself."""
    return list_videos({path.name: path})


def take_frames(listing: PhotoListing, rule: FrameRule) -> PhotoListing:
    """A listing with only those frames of each video that a rule takes.

    Its notes say how many these are.
    """
    photos: list[PhotoSource] = []
    num_videos = num_found = num_taken = 0
    for video, group in groupby(listing.photos, video_of):
        members = list(group)
        if video is None:
            photos += members
            continue
        taken = rule.take(video, len(members)).tolist()
        photos += [members[place] for place in taken]
        num_videos += 1
        num_found += len(members)
        num_taken += len(taken)
    if not num_videos:
        return listing
    videos = "1 video" if num_videos == 1 else f"{num_videos} videos"
    note = f"{num_taken} of {num_found} frames of {videos} are taken: --frames {rule}"
    return replace(listing, photos=photos, notes=(*listing.notes, note))


def count_frames(path: Path) -> tuple[int, int]:
    """The number of frames that can be decoded, and the number that the file claims.

    The claim is 0 where there is none.

    Raises:
        PhotoError: If the file is no video that can be read, or no frame of it can, or
            there are too many. The message is the reason alone.
    """
    capture = _open(path, DEFAULT_MAX_PIXELS)
    num_frames = 0
    while capture.grab():
        num_frames += 1
        if num_frames > _MAX_FRAMES:
            raise PhotoError(f"too long: it has over {_MAX_FRAMES} frames")
    if not num_frames:
        raise PhotoError("no frame of the video can be decoded")
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return num_frames, int(claimed) if claimed > 0 else 0


class _Player:
    """A video that runs forwards.

    Attributes:
        state: Which file it is, as ``_state_of`` says.
        number: The number of the frame where it stands; 0 before the first.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.state = _state_of(path)
        # Workers are as many as there are processors already.
        self._capture = _open(path, max_pixels, num_threads=1)
        self.number = 0

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Run on to a frame; it may be the one where it stands."""
        while self.number < number:
            if not self._capture.grab():
                raise PhotoError(f"frame {number}: the video ends before it")
            self.number += 1
        with _quiet():
            is_whole, frame = self._capture.retrieve()
        if not is_whole:
            raise PhotoError(f"frame {number}: it cannot be decoded")
        rgb: UInt8[np.ndarray, "height width 3"] = cv2.cvtColor(
            frame, cv2.COLOR_BGR2RGB
        )
        return rgb


class _Players(local):
    """The videos that run in a thread, the last one first.

    There are two, as frames may be read once to find faces and once more to draw them.
    """

    def __init__(self) -> None:
        self.running: list[_Player] = []


_players = _Players()


def _player_before(path: Path, number: int, max_pixels: int) -> _Player:
    """The video that is nearest before a frame, or stands there."""
    state = _state_of(path)
    before = [p for p in _players.running if p.state == state and p.number <= number]
    player = max(before, key=lambda p: p.number, default=None)
    player = player or _Player(path, max_pixels)
    others = [other for other in _players.running if other is not player]
    _players.running = [player, *others][:2]
    return player


def _open(path: Path, max_pixels: int, num_threads: int = 0) -> cv2.VideoCapture:
    """A video before its first frame.

    Args:
        path: The file.
        max_pixels: Height times width allowed.
        num_threads: Number of threads that decode; 0 leaves it to OpenCV.

    Raises:
        PhotoError: If it is no video that can be read, or its frames are too large.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unopened(error) from None
    if not head:
        raise PhotoError("empty file")
    if not _begins_as_video(head):
        raise PhotoError("not a video that can be read")
    # A relative path may look like an address, and OpenCV crashes on what is no text.
    name = os.path.abspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PhotoError("its path is not UTF-8 text: rename it") from None
    with _quiet():
        capture = cv2.VideoCapture(
            name,
            cv2.CAP_FFMPEG,
            [
                *(cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE),
                *(cv2.CAP_PROP_N_THREADS, num_threads),
            ],
        )
    if not capture.isOpened():
        raise PhotoError("damaged, or of a kind of video that is not read")
    sizes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    width, height = (int(capture.get(size)) for size in sizes)
    _check_size(width, height, max_pixels)
    return capture


def _state_of(path: Path) -> tuple[Path, int, int]:
    """A file's name and what changes when it is written anew."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unopened(error) from None
    return path, found.st_mtime_ns, found.st_size


def _unopened(error: OSError) -> PhotoError:
    return PhotoError(f"cannot be opened: {error.strerror or error}")


def _begins_as_video(head: bytes) -> bool:
    padded = head.ljust(_HEAD_BYTES, b"\0")
    return (
        head.startswith(_BEGINNINGS)
        or head[4:8] in _QUICKTIME
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or padded[0] == padded[188] == _SYNC
        or padded[4] == padded[196] == _SYNC
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PhotoError(
            f"too large: {width}x{height} is over {max_pixels} pixels (--max-pixels)"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from telling on stderr what goes to the ledger."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
