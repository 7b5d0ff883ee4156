"""From an uploaded photo to its faces and the embedding of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, UInt8

from facever.errors import DataError, ParameterError
from facever.faces.aligner import NO_FACE, Detect
from facever.faces.detection import Face, choose_faces
from facever.faces.geometry import align_faces
from facever.inference.embedder import Embedder
from facever.serving.uploads import Upload


@dataclass(frozen=True)
class ReadPhoto:
    """What is to be seen on a photo.

    Attributes:
        height: Of the photo, upright; pixels.
        width: Pixels.
        faces: Largest first; at least one.
        crop: Of the face that was asked for.
        embedding: Of that crop, of unit length.
    """

    height: int
    width: int
    faces: Sequence[Face]
    crop: UInt8[np.ndarray, "112 96 3"]
    embedding: Float32[np.ndarray, " dim"]


class FaceReader:
    """A detector and a model, loaded once for all requests.

    Requests come in threads. One photo is read at a time: detector and network use all
    cores by themselves, so two at once would finish no earlier, and a decoded photo of
    the largest size takes 150 MB, which forty threads must not hold together.
    """

    def __init__(self, embedder: Embedder, detect: Detect) -> None:
        """Take what was loaded.

        Args:
            embedder: The model.
            detect: Gives the faces of each photo, as ``MtcnnDetector.detect`` does.
        """
        self.embedder = embedder
        self._detect = detect
        self._lock = Lock()

    def read(self, upload: Upload, face: int = 0) -> ReadPhoto:
        """Find the faces of a photo and embed one of them.

        Args:
            upload: The photo.
            face: Which face, counted from the largest, 0.

        Raises:
            UploadError: If it is no photo that is taken.
            DataError: If no face is found, or this one cannot be cut out.
            ParameterError: If there is no such face.
        """
        with self._lock:
            photo = upload.decode()
            height, width, _ = photo.shape
            [found] = self._detect([photo])
            faces = choose_faces(found, (height, width), "all")
            if not faces:
                raise DataError(
                    f"{NO_FACE} in this photo: is it upright, and is the face at least "
                    "20 pixels high and turned towards the camera?"
                )
            if face >= len(faces):
                raise ParameterError(
                    f"face must be below {len(faces)}, the faces found in this photo, "
                    f"got {face}"
                )
            crops = align_faces(photo, faces[face].landmarks[None])
            [features] = self.embedder.embed_crops(crops)
        unit = np.asarray(features / np.linalg.norm(features), np.float32)
        return ReadPhoto(height, width, faces, crops[0], unit)
