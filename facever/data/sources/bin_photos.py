"""InsightFace's ``.bin`` files: photos, two a pair, and which pairs are genuine.

References:
    insightface, recognition/arcface_torch/eval/verification.py, load_bin.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from facever.choices import DEFAULT_MAX_PIXELS
from facever.data.sources.plain_pickle import PickledArray, read_plain_pickle
from facever.errors import DataError, FileError
from facever.faces.photo_source import PhotoListing, PhotoSource

_FORM = "a list of encoded photos and a list of bools, one for two photos"
_GENUINE = {1: True, 0: False, -1: False}


@dataclass(frozen=True, slots=True)
class BinPart:
    """A photo in a ``.bin`` file.

    Attributes:
        place: Among the photos.
    """

    place: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"photo {self.place}"

    def read(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
        """The bytes of the image file; the whole ``.bin`` stays in memory for more."""
        return _read_once(path)[self.place]


def list_bin_photos(path: Path) -> PhotoListing:
    """List the photos of a pair set.

    The two photos of a genuine pair have one identity (``pair-000003``). Nothing tells
    who is in the others: each has an identity of its own (``photo-000008``).

    Raises:
        FileError: If the file cannot be read, is damaged or holds anything else.
        DataError: If the lists do not fit each other.
    """
    photos, genuine = read_bin_file(path)
    return PhotoListing(
        [
            PhotoSource(
                photo_name(place),
                f"pair-{place // 2:06d}"
                if genuine[place // 2]
                else f"photo-{photo_name(place)}",
                path,
                BinPart(place),
            )
            for place in range(len(photos))
        ],
        Counter(),
    )


def read_bin_file(path: Path) -> tuple[list[bytes], list[bool]]:
    """The encoded photos, two a pair, and whether each pair is genuine.

    The truth is a list or an array of bools, or of the numbers 1 and 0, or 1 and -1.

    Raises:
        FileError: If the file cannot be read, is damaged or holds anything else.
        DataError: If the lists do not fit each other.
    """
    value = read_plain_pickle(path)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise FileError(f"{path}: expected {_FORM}, got {_kind_of(value)}")
    photos, truth = value
    if not isinstance(photos, tuple | list):
        raise FileError(f"{path}: expected {_FORM}, got {_kind_of(photos)}")
    if not isinstance(truth, tuple | list | PickledArray):
        raise FileError(f"{path}: expected {_FORM}, got {_kind_of(truth)}")
    encoded = [_bytes_of(path, place, photo) for place, photo in enumerate(photos)]
    num_pairs = len(truth) if isinstance(truth, tuple | list) else sum(truth.shape)
    if len(encoded) != 2 * num_pairs:
        raise DataError(
            f"{path}: expected {_FORM}, got {len(encoded)} photos and {num_pairs} bools"
        )
    if isinstance(truth, PickledArray):
        truth = np.frombuffer(truth.content or b"", truth.kind or "|b1").tolist()
    return encoded, [_truth_of(path, pair, answer) for pair, answer in enumerate(truth)]


def photo_name(place: int) -> str:
    """The source of a photo: its place, such as ``000012``."""
    return f"{place:06d}"


@lru_cache(maxsize=1)
def _read_once(path: Path) -> list[bytes]:
    return read_bin_file(path)[0]


def _kind_of(value: object) -> str:
    # Never the value itself: a hostile one may hold itself, a thousand times over.
    size = f" of {len(value)}" if isinstance(value, tuple | list | bytes) else ""
    return f"{type(value).__name__}{size}"


def _bytes_of(path: Path, place: int, photo: object) -> bytes:
    content = photo.uint8 if isinstance(photo, PickledArray) else photo
    if not isinstance(content, bytes):
        raise FileError(
            f"{path} photo {place}: expected bytes or an array of uint8, got "
            f"{_kind_of(photo)}"
        )
    return content


def _truth_of(path: Path, pair: int, answer: object) -> bool:
    if isinstance(answer, int | float) and answer in _GENUINE:
        return _GENUINE[int(answer)]
    raise FileError(
        f"{path} pair {pair}: expected true or false, 1 or 0, or 1 or -1; got "
        + (repr(answer) if isinstance(answer, int | float) else _kind_of(answer))
    )
