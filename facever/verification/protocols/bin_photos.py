"""The photos of InsightFace's pair sets."""

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facever.errors import DataError, PhotoError
from facever.faces.geometry import CROP_HEIGHT, CROP_WIDTH
from facever.faces.geometry import WIDE_CROP_WIDTH as _WIDE

# Our template is theirs without eight columns on either side.
_MARGIN = (_WIDE - CROP_WIDTH) // 2
_FORMATS = ("JPEG", "PNG")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_JPEG = b"\xff\xd8"
_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"


def check_size(height: int, width: int) -> None:
    """Refuse what is no crop.

    Raises:
        DataError: If the size, in pixels, is neither 112x112 nor 112x96.
    """
    if height != CROP_HEIGHT or width not in (CROP_WIDTH, _WIDE):
        raise DataError(
            f"photos of a pair set must be {CROP_HEIGHT}x{_WIDE} or "
            f"{CROP_HEIGHT}x{CROP_WIDTH} (height x width), got {height}x{width}; align "
            "them first"
        )


def decode_photo(photo: bytes) -> UInt8[np.ndarray, "112 96 3"]:
    """Decode a photo and cut it to our crop.

    Of 112x112 the columns 8 to 103 are taken, 112x96 (height x width) is taken as it
    is. Orientation tags are ignored.

    Args:
        photo: A JPEG or a PNG.

    Returns:
        RGB.

    Raises:
        PhotoError: If it cannot be decoded; the message is the reason alone.
        DataError: If it has another size.
    """
    try:
        # Reads the header only, so that a small file cannot become a giant image.
        image = Image.open(io.BytesIO(photo), formats=_FORMATS)
    except Exception:
        # Pillow raises errors of many kinds on damaged headers.
        raise PhotoError("not an image that can be read") from None
    check_size(image.height, image.width)
    crop = _decode_jpeg(photo) if photo.startswith(_JPEG) else _decode_png(image)
    if crop.shape != (image.height, image.width, 3):
        raise PhotoError("damaged")
    if image.width == _WIDE:
        crop = crop[:, _MARGIN : _MARGIN + CROP_WIDTH]
    return np.ascontiguousarray(crop)


def _decode_jpeg(photo: bytes) -> UInt8[np.ndarray, "height width 3"]:
    # Some releases of OpenCV return a truncated JPEG half grey. Compressed data cannot
    # contain a marker, so the last start of a scan has an end of image behind it.
    if photo.rfind(_END_OF_IMAGE) < photo.rfind(_SCAN):
        raise PhotoError("truncated")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(photo, np.uint8), flags)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise PhotoError("damaged")
    return np.asarray(decoded, dtype=np.uint8)


def _decode_png(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    # Not by OpenCV: it takes gigabytes for a part of a PNG that only says it is long.
    if image.mode not in _PNG_MODES:
        raise PhotoError(f"pixels of mode {image.mode}, not of 8 bits")
    try:
        return np.array(image.convert("RGB"))
    except Exception as error:
        raise PhotoError(f"damaged or truncated: {error}") from None
