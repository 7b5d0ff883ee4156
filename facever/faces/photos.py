"""Read a photo of any usual kind as RGB uint8, or say why it cannot be read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from facever.errors import PhotoError

DEFAULT_MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 1 << 30

FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA"),
    *("TIFF", "WEBP"),
)
"""Pillow's names of the formats that are read, whatever a file's suffix says.

Pillow knows more, some of which it hands to other programs, such as EPS. HEIC is read,
too, where ``pillow-heif`` is installed.
"""

_ORIENTATION_TAG = 0x0112
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n"),
)
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b"\xff\xd9"


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
        PhotoError: If it is empty, no image, truncated, too large or of a kind without
            a defined range of values. The message is the reason alone.
    """
    if not content:
        raise PhotoError("empty file")
    image = _open(content, max_pixels, formats)
    _check_size(image, max_pixels)
    with _as_photo_errors():
        # OpenCV decodes a JPEG faster than Pillow, but some of its releases return a
        # truncated one half grey, without a word.
        if (
            image.format in ("JPEG", "MPO")
            and image.mode in ("RGB", "L")
            and _is_complete_jpeg(content)
        ):
            photo = _decode_jpeg(content)
            if photo is not None:
                return _upright(photo, image.getexif().get(_ORIENTATION_TAG, 1))
        return _decode(image)


def pixels_of(
    image: Image.Image, max_pixels: int = DEFAULT_MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of a Pillow image, upright, in RGB, by the rules of ``decode_photo``.

    Args:
        image: Of any mode; it may be one that Pillow has opened and not yet read.
        max_pixels: Height times width allowed.

    Raises:
        PhotoError: If it is empty, too large, cannot be read, or is of a kind without
            a defined range of values. The message is the reason alone.
    """
    _check_size(image, max_pixels)
    with _as_photo_errors():
        return _decode(image)


def photo_size(
    content: bytes,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
) -> tuple[int, int]:
    """Height and width of a photo by its header alone, before EXIF orientation.

    Args:
        content: The bytes of a photo's file.
        max_pixels: For the message of a photo that is so large that Pillow refuses it.
        formats: Pillow's names of the formats to take.

    Raises:
        PhotoError: If it is no image. The message is the reason alone.
    """
    image = _open(content, max_pixels, formats)
    return image.height, image.width


def _open(content: bytes, max_pixels: int, formats: tuple[str, ...]) -> Image.Image:
    """The photo, of which the header alone is read."""
    if formats is FORMATS and _is_heif(content):
        _learn_heif()
        formats = ("HEIF",)
    try:
        return Image.open(io.BytesIO(content), formats=formats)
    except Image.DecompressionBombError:
        raise PhotoError(f"too large: the limit is {max_pixels} pixels") from None
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
            f"too large: {image.width}x{image.height} is over {max_pixels} pixels"
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
        is_huge = path.stat().st_size > MAX_FILE_BYTES
        content = b"" if is_huge else path.read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot be opened: {error.strerror or error}") from None
    if is_huge:
        raise PhotoError(f"too large: the file has over {MAX_FILE_BYTES} bytes")
    return content


def _is_complete_jpeg(content: bytes) -> bool:
    """Whether an end-of-image marker follows the first scan.

    Compressed data cannot contain that marker, but a thumbnail in an earlier segment
    does, so the search starts behind the segments.
    """
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return content.find(_END_OF_IMAGE, at) >= 0
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return False


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
