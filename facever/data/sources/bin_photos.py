"""InsightFace's ``.bin`` files: photos, two a pair, and which pairs are genuine.

References:
    insightface, recognition/arcface_torch/eval/verification.py, load_bin.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from facever.data.sources.plain_pickle import ByteArray, read_plain_pickle
from facever.errors import DataError, FileError
from facever.faces.photo_source import PhotoListing, PhotoSource

_FORM = "a list of encoded photos and a list of bools, one for two photos"


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

    def read(self, path: Path) -> bytes:
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

    Raises:
        FileError: If the file cannot be read, is damaged or holds anything else.
        DataError: If the lists do not fit each other.
    """
    value = read_plain_pickle(path)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise FileError(f"{path}: expected {_FORM}, got {_kind_of(value)}")
    photos, truth = value
    for part in (photos, truth):
        if not isinstance(part, tuple | list):
            raise FileError(f"{path}: expected {_FORM}, got {_kind_of(part)}")
    encoded = [_bytes_of(path, place, photo) for place, photo in enumerate(photos)]
    for place, answer in enumerate(truth):
        if not isinstance(answer, bool):
            raise FileError(
                f"{path} pair {place}: expected a bool, got {_kind_of(answer)}"
            )
    if len(encoded) != 2 * len(truth):
        raise DataError(
            f"{path}: expected {_FORM}, got {len(encoded)} photos and {len(truth)} "
            "bools"
        )
    return encoded, list(truth)


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
    content = photo.content if isinstance(photo, ByteArray) else photo
    if not isinstance(content, bytes):
        raise FileError(
            f"{path} photo {place}: expected bytes or an array of uint8, got "
            f"{_kind_of(photo)}"
        )
    return content
