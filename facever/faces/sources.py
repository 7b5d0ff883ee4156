"""What a source of photos gives, and the sources whose photos are files.

The rules for names hold for every source. A photo's source is a relative path with
``/`` and names one photo. An identity is any text that is not blank, in any script,
with spaces, slashes and leading dots as they stand: it is a label here and no path.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from facever.errors import DataError, FileError, PhotoError
from facever.faces.photos import decode_photo, read_photo

PHOTO_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga "
    ".tif .tiff .webp".split()
)


@runtime_checkable
class PhotoPart(Protocol):
    """Where in a file a photo stands: small, so that it can be sent to a worker."""

    @property
    def where(self) -> str:
        """The place in words, for the ledger, such as ``byte 4096``."""
        ...

    def read(self, path: Path) -> bytes | UInt8[np.ndarray, "height width 3"]:
        """The photo: the bytes of an image file, or RGB pixels.

        Args:
            path: The file.

        Raises:
            PhotoError: If there is no photo; the message is the reason alone.
        """
        ...


@dataclass(frozen=True)
class NoPhoto:
    """Of what should be a photo and is none.

    Attributes:
        reason: Why, for the ledger.
    """

    reason: str
    where = "nowhere"

    def read(self, path: Path) -> bytes:
        """Raise the reason."""
        raise PhotoError(self.reason)


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSource:
    """One photo of a source.

    Attributes:
        source: Its name.
        identity: Who is in it.
        path: The file that holds it.
        part: Where in the file; None if the file is the photo.
        landmarks: In the photo, pixels, where the source lists them.
    """

    source: str
    identity: str
    path: Path
    part: PhotoPart | None = None
    landmarks: Float64[np.ndarray, "5 2"] | None = None

    def read(self, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, in RGB.

        Args:
            max_pixels: See ``read_photo``.

        Raises:
            PhotoError: If it cannot be read; the message is the reason alone.
        """
        if self.part is None:
            return read_photo(self.path, max_pixels)
        photo = self.part.read(self.path)
        if not isinstance(photo, bytes):
            return photo
        try:
            return decode_photo(photo, max_pixels)
        except PhotoError as error:
            raise PhotoError(f"{self.part.where}: {error}") from None


@dataclass(frozen=True)
class PhotoListing:
    """What a source holds.

    Attributes:
        photos: In order; each source once.
        skipped: How many other files there are, by suffix (``""`` for none).
        has_landmarks: Whether the source lists landmarks, perhaps not of each photo.
    """

    photos: list[PhotoSource]
    skipped: Counter[str]
    has_landmarks: bool = False


def find_photos(source: Path | str) -> list[PhotoSource]:
    """The photos of a folder or of a list file; see ``list_photos``."""
    return list_photos(source).photos


def list_photos(source: Path | str) -> PhotoListing:
    """List the photos of a folder or of a list file, and count what else is there.

    In a folder the identity of a photo is its topmost folder below the source
    (``Ann/holiday/1.jpg`` is Ann's), and for a photo that lies in the source itself its
    name without the suffix. The order is that of the sorted paths. Hidden files and
    folders are left out; other files that have no photo's suffix are counted.

    A list file has one photo a line: a path relative to the list's folder and,
    optionally, a tab and the identity (without it, as in a folder). The order is the
    list's; empty lines and lines that start with ``#`` are left out.

    Raises:
        FileError: If there is no such folder or file, or no photo in it.
        DataError: If a list names a photo twice, one outside its folder, one without a
            photo's suffix, or an empty identity.
    """
    source = Path(source)
    if source.is_dir():
        listing = _list_folder(source)
    elif source.is_file():
        listing = PhotoListing(_read_list(source), Counter())
    else:
        raise FileError(f"no photos at {source}: no such folder or list file")
    if not listing.photos:
        skipped = describe_skipped(listing.skipped)
        only = f", only {skipped}" if skipped else ""
        raise FileError(f"no photos in {source}{only}")
    return listing


def describe_skipped(skipped: Counter[str]) -> str:
    """Such as ``3 other files (2 .txt, 1 without suffix)``; empty for none."""
    if not skipped:
        return ""
    kinds = [f"{n} {suffix or 'without suffix'}" for suffix, n in skipped.most_common()]
    total = skipped.total()
    return f"{total} other file{'s' * (total > 1)} ({', '.join(kinds)})"


def _list_folder(folder: Path) -> PhotoListing:
    photos: list[PhotoSource] = []
    skipped: Counter[str] = Counter()
    for name in sorted(_walk(folder, "", frozenset())):
        suffix = suffix_of(name)
        if suffix in PHOTO_SUFFIXES:
            photos.append(PhotoSource(name, identity_of(name), folder / name))
        else:
            skipped[suffix] += 1
    return PhotoListing(photos, skipped)


def _walk(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return  # A link back to a folder that we are in.
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise FileError(f"cannot read {folder}: {error.strerror or error}") from None
    for entry in entries:
        if entry.is_dir():
            below = f"{prefix}{entry.name}/"
            yield from _walk(Path(entry.path), below, above | {real})
        else:
            yield prefix + entry.name


def safe_name(where: str, name: str) -> str:
    """A path that a file lists, without ``./`` and the like.

    Args:
        where: What lists it, for the message.
        name: With ``/``.

    Raises:
        DataError: If it is empty, absolute or leads out of the folder.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"{where}: {name!r} is not a path below its folder")
    return str(path)


def identity_of(name: str) -> str:
    """Who is in a photo that has no other sign of it than its path."""
    top, slash, _ = name.partition("/")
    return top if slash else posixpath.splitext(name)[0]


def suffix_of(name: str) -> str:
    """In lower case, with the dot; empty for none."""
    return posixpath.splitext(name)[1].lower()


def _read_list(path: Path) -> list[PhotoSource]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(f"{path} is no list of photos: it is not UTF-8 text") from None
    photos: dict[str, PhotoSource] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if line.count("\t") > 1:
            raise DataError(f"{where}: expected a path and, after a tab, an identity")
        name, tab, identity = line.partition("\t")
        name, identity = name.strip(), identity.strip()
        name = safe_name(where, name)
        if suffix_of(name) not in PHOTO_SUFFIXES:
            raise DataError(f"{where}: {name} has no photo's suffix, such as .jpg")
        if tab and not identity:
            raise DataError(f"{where}: the identity after the tab is empty")
        if name in photos:
            raise DataError(f"{where}: {name} is listed twice")
        identity = identity or identity_of(name)
        photos[name] = PhotoSource(name, identity, path.parent / name)
    return list(photos.values())
