"""Read a photo of any usual kind as RGB uint8, or say why it cannot be read."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import ParameterError, PhotoError
from facever.files import address_hint
from facever.foreign_files import read_bytes

MAX_FILE_BYTES = 1 << 30

FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM"),
    *("AVIF", "JPEG2000", "TIFF", "WEBP", "TGA"),
)
"""Pillow's names of the formats that are read, whatever a file's suffix says.

They are tried in turn. For those of the first line Pillow need not import all that it
knows, which takes 0.1 s; TGA is last, for it has no sign by which it is known.

Pillow knows more, some of which it hands to other programs, such as EPS. HEIC is read,
too, where ``pillow-heif`` is installed.
"""

_ORIENTATION_TAG = 0x0112
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n"),
)
# Progressive JPEGs of cameras and of the web have 6 to 14 scans. Each costs a pass over
# all pixels, so a file of a few hundred kilobytes can take minutes to decode.
_MOST_SCANS = 100
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
# Any marker but those without a length, and what looks like one in compressed data.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# Pillow's limit is one for the whole process, which other threads set back, too.
_pillows_limit = Lock()


def begins_as_photo(beginning: bytes) -> bool:
    """Whether a file is a photo by its first bytes, whatever its name.

    Formats without a sign of their own, as TGA, and with a short one, as BMP, are left
    to their suffixes.

    Args:
        beginning: The first 12 bytes, or more.

    Examples:
        >>> begins_as_photo(b"RIFF....WEBPVP8 "), begins_as_photo(b"RIFF....WAVEfmt ")
        (True, False)
    """
    return (
        beginning.startswith(_BEGINNINGS)
        or (beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP")
        or beginning[4:12] == b"ftypavif"
        or _is_heif(beginning)
    )


def _is_heif(content: bytes) -> bool:
    return content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS


def read_photo(
    path: Path | str, max_pixels: int = DEFAULT_MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a photo in a file; see ``decode_photo``.

    Args:
        path: A file of one of the ``FORMATS``.
        max_pixels: Height times width allowed, checked before decoding.

    Raises:
        PhotoError: If the file is missing, or the photo cannot be decoded. The message
            is the reason alone, without the path.
    """
    return decode_photo(_read_file(Path(path)), max_pixels)


def decode_photo(
    content: bytes,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a photo upright, in RGB.

    EXIF orientation is applied. Transparent pixels are laid on white, 16-bit values are
    scaled to 8 bits, of an animation the first frame is taken, colour profiles are
    ignored.

    Args:
        content: The bytes of a photo's file.
        max_pixels: Height times width allowed, checked before decoding.
        formats: Pillow's names of the formats to take.

    Raises:
        PhotoError: If it is empty, no image, truncated, too large, a JPEG of over 100
            scans, or of a kind without a defined range of values. The message is the
            reason alone.
    """
    if not content:
        raise PhotoError("empty file")
    image = _open(content, formats)
    _check_size(image, max_pixels)
    is_jpeg = image.format in ("JPEG", "MPO")
    num_scans, is_complete = _read_scans(content) if is_jpeg else (0, False)
    if num_scans > _MOST_SCANS:
        raise PhotoError(f"too many scans: {num_scans}, the limit is {_MOST_SCANS}")
    with _as_photo_errors():
        # OpenCV decodes a JPEG faster than Pillow, but some of its releases return a
        # truncated one half grey, without a word.
        if is_complete and image.mode in ("RGB", "L"):
            photo = _decode_jpeg(content)
            if photo is not None:
                return _upright(photo, image.getexif().get(_ORIENTATION_TAG, 1))
        return _decode(image)


def pixels_of(
    image: Image.Image, max_pixels: int = DEFAULT_MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of a Pillow image, upright, in RGB, by the rules of ``decode_photo``.

    Args:
        image: A picture of any mode, which Pillow may have opened and not yet read.
        max_pixels: Height times width allowed.

    Raises:
        PhotoError: If it is empty, too large, cannot be read, or is of a kind without
            a defined range of values. The message is the reason alone.
    """
    _check_size(image, max_pixels)
    with _as_photo_errors():
        return _decode(image)


def photo_size(content: bytes, formats: tuple[str, ...] = FORMATS) -> tuple[int, int]:
    """Height and width of a photo by its header alone, before EXIF orientation.

    Args:
        content: The bytes of a photo's file.
        formats: Pillow's names of the formats to take.

    Raises:
        PhotoError: If it is no image. The message is the reason alone.
    """
    image = _open(content, formats)
    return image.height, image.width


def check_max_pixels(max_pixels: int) -> None:
    """Refuse a limit that no photo meets.

    Raises:
        ParameterError: If it is less than 1.
    """
    if max_pixels < 1:
        raise ParameterError(f"max_pixels must be at least 1, got {max_pixels}")


def _open(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The photo, of which the header alone is read, of any size."""
    if formats is FORMATS and _is_heif(content):
        _learn_heif()
        formats = ("HEIF",)
    try:
        with _pillows_limit:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(io.BytesIO(content), formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except Exception:
        # Pillow raises errors of many kinds on damaged headers.
        raise PhotoError("not an image that can be read") from None


def _learn_heif() -> None:
    """Teach Pillow to read HEIC.

    Raises:
        PhotoError: If the package that does is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise PhotoError(
            "HEIC is read with pillow-heif: pip install '.[heic]' in a checkout"
        ) from None
    register_heif_opener()


def _check_size(image: Image.Image, max_pixels: int) -> None:
    num_pixels = image.width * image.height
    if not num_pixels:
        raise PhotoError(f"empty: {image.width}x{image.height} pixels")
    if num_pixels > max_pixels:
        raise PhotoError(
            f"too large: {image.width}x{image.height} is over {max_pixels} pixels "
            "(--max-pixels)"
        )


@contextmanager
def _as_photo_errors() -> Iterator[None]:
    """Whatever a decoder raises becomes a reason."""
    try:
        yield
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        raise PhotoError(f"damaged or truncated: {error}") from None


def _read_file(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_FILE_BYTES)
    except OSError as error:
        reason = f"{error.strerror or error}{address_hint(path)}"
        raise PhotoError(f"cannot be opened: {reason}") from None


def _read_scans(content: bytes) -> tuple[int, bool]:
    """How many scans a JPEG has, and whether an end-of-image marker follows the last.

    Compressed data cannot contain that marker, but a thumbnail in a segment does, so
    segments are passed over.
    """
    num_scans, at = 0, 2
    while found := _MARKER.search(content, at):
        at = found.end()
        if content[at - 1] == _END_OF_IMAGE:
            return num_scans, num_scans > 0
        num_scans += content[at - 1] == _START_OF_SCAN
        at += int.from_bytes(content[at : at + 2], "big")
    return num_scans, False


def _decode_jpeg(content: bytes) -> UInt8[np.ndarray, "height width 3"] | None:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _upright(
    photo: UInt8[np.ndarray, "height width 3"], orientation: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Undo an EXIF orientation: 1 to 8; anything else counts as 1."""
    if orientation in (5, 6, 7, 8):
        photo = photo.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        photo = photo[::-1]
    if orientation in (2, 3, 6, 7):
        photo = photo[:, ::-1]
    return np.ascontiguousarray(photo)


def _decode(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        grey = np.asarray(upright, dtype=np.uint32)
        # 65535 / 255 = 257; adding half of it rounds to the nearest.
        photo = ((grey + 128) // 257).astype(np.uint8)
        return np.repeat(photo[:, :, None], 3, axis=2)
    if upright.mode in ("I", "F"):
        raise PhotoError(f"32-bit pixels (mode {upright.mode}) have no defined range")
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        upright = Image.alpha_composite(white, coloured)
    return np.array(upright.convert("RGB"))
