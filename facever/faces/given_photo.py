"""Whatever people hold a photo in, as a photo that can be aligned."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facever.choices import DEFAULT_MAX_PIXELS, ArrayChannels
from facever.errors import ParameterError, PhotoError
from facever.faces.photo_source import PhotoSource, photo_in_memory
from facever.faces.photos import MAX_FILE_BYTES, decode_photo, pixels_of


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as ``open(path, "rb")`` gives."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes, from where the file stands."""
        ...


GivenPhoto = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | np.ndarray
    | Image.Image
    | PhotoSource
    | BinaryFile
)
"""What is taken as a photo; see ``as_source``."""

_ONE = (
    *(str, os.PathLike, bytes, bytearray, memoryview),
    *(Image.Image, PhotoSource, BinaryFile),
)
_TAKEN = (
    "a path, the bytes of an image file, a file open in binary, a PIL image, a photo "
    "that find_photos listed, or a NumPy array [height, width] or [height, width, 1, "
    "3 or 4] of uint8 or of floats in 0..1"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")


def is_one_photo(given: object) -> bool:
    """Whether this is one photo, not several; an array of four axes is several."""
    if isinstance(given, np.ndarray):
        return given.ndim < 4
    return isinstance(given, _ONE)


def as_sources(
    photos: Iterable[GivenPhoto],
    channels: ArrayChannels = "rgb",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[PhotoSource]:
    """Photos as sources, each when it is asked for; see ``as_source``.

    Raises:
        ParameterError: If one is no photo, or it is one photo in place of several.
    """
    if is_one_photo(photos):
        raise ParameterError("photos must be a list of photos, got one: write [photo]")
    if not isinstance(photos, Iterable):
        raise ParameterError(_not_taken(photos))
    for place, photo in enumerate(photos):
        yield as_source(photo, place, channels, max_pixels)


def as_source(
    photo: GivenPhoto,
    place: int = 0,
    channels: ArrayChannels = "rgb",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> PhotoSource:
    """A photo of any kind as what the aligner takes.

    Paths, bytes, open files and PIL images are read later, by the rules of
    ``decode_photo``: upright, transparent pixels on white. An open file is read from
    where it stands. Arrays are taken as they are, and must be upright.

    Args:
        photo: A path; the bytes of an image file; a file open in binary; a PIL image of
            any mode with 8 or 16 bits; an array ``[height, width]`` or ``[height,
            width, 1]`` (grey), ``[height, width, 3]`` or ``[height, width, 4]`` (with
            transparency), uint8 or floats in 0..1; or a ``PhotoSource``. A tensor is
            given as its array, colours last.
        place: Its number among the photos, for messages about what has no name.
        channels: The order of colours in an array.
        max_pixels: Height times width allowed of bytes, open files and PIL images.

    Raises:
        ParameterError: If it is none of these, or an address: nothing is downloaded.
    """
    if channels not in get_args(ArrayChannels):
        raise ParameterError(f"channels must be rgb or bgr, got {channels!r}")
    if isinstance(photo, PhotoSource):
        return photo
    if isinstance(photo, str | os.PathLike):
        if isinstance(photo, str) and _ADDRESS.match(photo):
            raise ParameterError(
                f"nothing is downloaded: give the photo's file or bytes, not the "
                f"address {photo[:80]}"
            )
        return PhotoSource(str(photo), "", Path(photo))
    if isinstance(photo, np.ndarray):
        return photo_in_memory(f"array {place}", _rgb(photo, channels))
    if isinstance(photo, bytes | bytearray | memoryview):
        content = bytes(photo)
        return _held(f"bytes {place}", lambda: decode_photo(content, max_pixels))
    if isinstance(photo, Image.Image):
        image = photo
        name = getattr(image, "filename", "") or f"image {place}"
        return _held(str(name), lambda: pixels_of(image, max_pixels))
    if isinstance(photo, BinaryFile):
        file = photo
        name = getattr(file, "name", None)
        name = name if isinstance(name, str) else f"file {place}"
        return _held(name, lambda: decode_photo(_read(file), max_pixels))
    raise ParameterError(_not_taken(photo))


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A photo that is not decoded yet, in place of a part of a file."""

    decode: Callable[[], UInt8[np.ndarray, "_ _ 3"]]

    @property
    def where(self) -> str:
        return "memory"

    def read(
        self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8[np.ndarray, "_ _ 3"]:
        return self.decode()


def _held(name: str, decode: Callable[[], UInt8[np.ndarray, "_ _ 3"]]) -> PhotoSource:
    return PhotoSource(name, "", Path(), _Held(decode))


def _read(file: BinaryFile) -> bytes:
    try:
        content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot be read: {error}") from None
    if not isinstance(content, bytes):
        raise ParameterError("a file must be open in binary, got one open as text")
    if not content:
        raise PhotoError("nothing is left to read in the file; call its seek(0) first")
    if len(content) > MAX_FILE_BYTES:
        raise PhotoError(f"too large: the file has over {MAX_FILE_BYTES} bytes")
    return content


def _rgb(
    array: np.ndarray, channels: ArrayChannels
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an array of any of the shapes and types that are taken."""
    is_photo = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    is_float = np.issubdtype(array.dtype, np.floating)
    if not (is_photo and array.size and (is_float or array.dtype == np.uint8)):
        raise ParameterError(_not_taken(array))
    if is_float:
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # NaN is neither.
            raise ParameterError(
                "an array of floats must be in 0..1 without NaN, got "
                f"{low:g} to {high:g}; divide by 255, or clip"
            )
        array = np.rint(array * 255).astype(np.uint8)
    pixels = array.reshape(*array.shape[:2], -1)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    if channels.lower() == "bgr":
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    pixels = np.ascontiguousarray(pixels)
    return pixels if pixels.shape[2] == 3 else pixels_of(Image.fromarray(pixels))


def _not_taken(given: object) -> str:
    got = type(given).__name__
    if isinstance(given, np.ndarray):
        got = f"an array {list(given.shape)} of {given.dtype}"
    elif isinstance(given, list | tuple | Iterator):
        got += ": give one photo at a time"
    return f"a photo must be {_TAKEN}; got {got}"
