"""Photos that strangers send: what is taken, and what is refused before decoding."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facever.errors import PhotoError, UploadError
from facever.faces.photos import decode_photo

MAX_BYTES = 25_000_000
MAX_PIXELS = 50_000_000
# The formats that a browser shows, by Pillow's names. Pillow knows more, but reads some
# (EPS) by other programs, which no stranger may start.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Upload:
    """A file that somebody sent.

    Attributes:
        content: The bytes of the file.
        name: What the sender calls it: a label, never a path.
    """

    content: bytes
    name: str

    def decode(self) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, upright, in RGB; only its header is read before it is accepted.

        Raises:
            UploadError: If the file is too large, of a wrong type, or damaged.
        """
        if len(self.content) > MAX_BYTES:
            raise too_many_bytes()
        try:
            width, height = Image.open(io.BytesIO(self.content), formats=FORMATS).size
        except Image.DecompressionBombError:
            raise UploadError(413, f"the photo has over {_MEGAPIXELS}") from None
        except Exception:
            # Pillow raises errors of many kinds on damaged headers.
            raise UploadError(
                415,
                "this file is no photo that can be read: send a JPEG, PNG, WebP, AVIF, "
                "GIF or BMP",
            ) from None
        if width * height > MAX_PIXELS:
            raise UploadError(
                413, f"the photo has {width}x{height} pixels, over {_MEGAPIXELS}"
            )
        try:
            return decode_photo(self.content, MAX_PIXELS, FORMATS)
        except PhotoError as error:
            raise UploadError(422, f"the photo cannot be read: {error}") from None

    def source(self, face: int) -> str:
        """What to call one of its faces in a gallery.

        It is the same for the same photo, so that enrolling it again does no harm, and
        differs for another photo of the same name: phones call all of their photos
        ``image.jpg``.

        Args:
            face: Number of the face, counted from the largest, which is 0.
        """
        digest = hashlib.sha256(self.content).hexdigest()[:12]
        name = self.name.replace("\\", "/").rpartition("/")[2]
        shown = "".join(letter for letter in name if letter.isprintable())
        which = f"#{face}" if face else ""
        return f"uploads/{digest}/{shown.strip()[-_LONGEST_NAME:] or 'photo'}{which}"


def too_many_bytes() -> UploadError:
    """The refusal of a file, or of a request, of too many bytes."""
    return UploadError(
        413, f"the file is too large: {MAX_BYTES // 1_000_000} MB are taken at most"
    )


_MEGAPIXELS = f"the {MAX_PIXELS // 1_000_000} million that are taken"
