"""What a source of photos gives, and the sources whose photos are files.

The rules for names hold for every source. A photo's source is a relative path with
``/`` and names one photo. An identity is any text that is not blank, in any script,
with spaces, slashes and leading dots as they stand: it is a label here and no path.
"""

import hashlib
import posixpath
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import DataError, PhotoError
from facever.faces.photos import decode_photo, read_photo

PHOTO_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png "
    ".pnm .ppm .tga .tif .tiff .webp".split()
)


@runtime_checkable
class PhotoPart(Protocol):
    """Where in a file a photo stands: small, so that it can be sent to a worker."""

    @property
    def where(self) -> str:
        """The place in words, for the ledger, such as ``byte 4096``."""
        ...

    def read(
        self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> bytes | UInt8[np.ndarray, "height width 3"]:
        """The photo: the bytes of an image file, or RGB pixels.

        Args:
            path: The file.
            max_pixels: Height times width of the largest photo to decode here. Bytes
                are not decoded yet.

        Raises:
            PhotoError: If there is no photo; the message is the reason alone.
        """
        ...


@dataclass(frozen=True)
class NoPhoto:
    """A place in a file where a photo should be and is not.

    Attributes:
        reason: Why there is none, for the ledger.
    """

    reason: str
    where = "nowhere"

    def read(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
        """Raise the reason."""
        raise PhotoError(self.reason)


@dataclass(frozen=True, slots=True, eq=False)
class _InMemory:
    """Pixels in place of a part of a file."""

    image: UInt8[np.ndarray, "height width 3"]

    @property
    def where(self) -> str:
        return "memory"

    def read(
        self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8[np.ndarray, "height width 3"]:
        return self.image


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

    def digest(self) -> str:
        """SHA-256 of the photo's bytes, or of its pixels in a crop store; hexadecimal.

        Raises:
            OSError: If they cannot be read.
        """
        if self.part is None:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        content = self.part.read(self.path)
        if isinstance(content, np.ndarray):
            content = content.tobytes()
        return hashlib.sha256(content).hexdigest()

    def read(self, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, in RGB.

        Args:
            max_pixels: See ``read_photo``.

        Raises:
            PhotoError: If it cannot be read; the message is the reason alone.
        """
        if self.part is None:
            return read_photo(self.path, max_pixels)
        photo = self.part.read(self.path, max_pixels)
        if not isinstance(photo, bytes):
            return photo
        try:
            return decode_photo(photo, max_pixels)
        except PhotoError as error:
            raise PhotoError(f"{self.part.where}: {error}") from None


def photo_in_memory(
    name: str, image: UInt8[np.ndarray, "height width 3"]
) -> PhotoSource:
    """A photo that has been decoded already, as a source that can be aligned.

    Args:
        name: What to call it in messages.
        image: RGB.
    """
    return PhotoSource(name, "", Path(), _InMemory(image))


@dataclass(frozen=True)
class PhotoListing:
    """What a source holds.

    Attributes:
        photos: In order; each source once.
        skipped: How many other files there are, by suffix (``""`` for none).
        has_landmarks: Whether the source lists landmarks, perhaps not of each photo.
        notes: What a reader of the source must know, such as what it leaves out; a line
            each.
    """

    photos: list[PhotoSource]
    skipped: Counter[str]
    has_landmarks: bool = False
    notes: tuple[str, ...] = ()


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
