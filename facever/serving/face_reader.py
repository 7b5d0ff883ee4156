"""From an uploaded photo to its faces and the embedding of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import ParameterError
from facever.faces.detection import Face
from facever.faces.photo_source import photo_in_memory
from facever.inference.embedder import Embedder
from facever.inference.vectors import unit_vectors
from facever.serving.uploads import Upload


@dataclass(frozen=True)
class ReadPhoto:
    """The faces of an uploaded photo, and the embedding of one of them.

    Attributes:
        height: Height of the upright photo in pixels.
        width: Width of the photo in pixels.
        faces: The faces, largest first; at least one.
        crop: The crop of the face that was asked for.
        embedding: The embedding of that crop, of unit length.
    """

    height: int
    width: int
    faces: Sequence[Face]
    crop: UInt8[np.ndarray, "high wide 3"]
    embedding: Float32[np.ndarray, " dim"]


class FaceReader:
    """A detector and a model, loaded once for all requests.

    Requests come in threads. One photo is read at a time: detector and network use all
    cores by themselves, so two at once would finish no earlier, and a decoded photo of
    the largest size takes 240 MB, which forty threads must not hold together.
    """

    def __init__(
        self, embedder: Embedder, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> None:
        """Take what finds and embeds faces.

        Args:
            embedder: Finds and embeds faces.
            max_pixels: Height times width of the largest photo that is taken, at least
                1.
        """
        self.embedder = embedder
        self.max_pixels = max_pixels
        self._lock = Lock()

    def read(self, upload: Upload, face: int = 0) -> ReadPhoto:
        """Find the faces of a photo and embed one of them.

        Args:
            upload: The photo that was sent.
            face: Number of the face, counted from the largest, which is 0.

        Raises:
            UploadError: If the upload is not a photo that is accepted.
            DataError: If no face is found, or this one cannot be cut out.
            ParameterError: If there is no such face.
        """
        with self._lock:
            uploaded = photo_in_memory("this photo", upload.decode(self.max_pixels))
            [photo] = self.embedder.align([uploaded], "all")
            photo.check()
            if face >= len(photo.faces):
                raise ParameterError(
                    f"face must be below {len(photo.faces)}, the number of faces found "
                    f"in this photo, got {face}"
                )
            crop = photo.crops[face]
            [embedding] = unit_vectors(self.embedder.embed_crops(crop[None]))
        return ReadPhoto(photo.height, photo.width, photo.faces, crop, embedding)
