"""Photos that strangers send: what is taken, and what is refused before decoding."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import PhotoError, UploadError
from facever.faces.photos import decode_photo, photo_size

MAX_BYTES = 25_000_000
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

    def num_pixels(self, max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
        """Height times width of the photo, by its header alone.

        Args:
            max_pixels: The most that are taken.

        Raises:
            UploadError: If the file or the photo is too large, or of a wrong type.
        """
        if len(self.content) > MAX_BYTES:
            raise too_many_bytes()
        try:
            height, width = photo_size(self.content, FORMATS)
        except PhotoError:
            raise UploadError(
                415,
                "this file is no photo that can be read: send a JPEG, PNG, WebP, AVIF, "
                "GIF or BMP",
            ) from None
        if width * height > max_pixels:
            raise UploadError(
                413,
                f"the photo has {width}x{height} pixels, over the {max_pixels:,} that "
                "are taken; the server's --max-pixels says how many",
            )
        return height * width

    def decode(
        self, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, upright, in RGB; only its header is read before it is accepted.

        Args:
            max_pixels: Height times width of the largest photo that is taken.

        Raises:
            UploadError: If the file is too large, of a wrong type, or damaged.
        """
        self.num_pixels(max_pixels)
        try:
            return decode_photo(self.content, max_pixels, FORMATS)
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
