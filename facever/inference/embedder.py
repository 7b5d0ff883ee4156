"""From photos or crops to embeddings, with a model file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from facever.choices import Detector, FaceRule, Precision
from facever.data.store.crop_store import Crops
from facever.errors import ParameterError
from facever.faces.aligner import NO_FACE, AlignedPhoto, PhotoAligner
from facever.faces.detection import Face
from facever.faces.detectors import Detect, check_detector, make_detector
from facever.faces.photo_source import PhotoSource, photo_in_memory
from facever.faces.photos import DEFAULT_MAX_PIXELS
from facever.hardware import pick_device, uses_bf16
from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.vectors import unit_vectors
from facever.progress import Advance, ignore_progress

Photo = str | Path | PhotoSource | UInt8[np.ndarray, "_ _ 3"]
"""A path, a photo that ``list_photos`` listed, or RGB pixels."""

# Photos that are held in memory at a time.
_BATCH_PHOTOS = 32


@dataclass(frozen=True, eq=False)
class EmbeddedFace(Face):
    """A face in a photo, cut out and embedded.

    Attributes:
        crop: The aligned crop, RGB.
        embedding: The crop's embedding, of unit length.
    """

    crop: UInt8[np.ndarray, "high wide 3"]
    embedding: Float32[np.ndarray, " dim"]

    def __repr__(self) -> str:
        left, top, right, bottom = self.box.round().astype(int)
        return (
            f"EmbeddedFace(box=({left}, {top}, {right}, {bottom}), "
            f"score={self.score:.3f}, embedding of {len(self.embedding)} numbers)"
        )


@dataclass(frozen=True)
class EmbeddedPhoto(AlignedPhoto):
    """What became of a photo, with the embeddings of its faces.

    Attributes:
        embeddings: The embedding of each crop, of unit length.
    """

    embeddings: Float32[np.ndarray, "faces dim"]


@dataclass(frozen=True)
class Verification:
    """Whether two photos show the same person.

    Attributes:
        cosine: The cosine of the two embeddings, in [-1, 1].
        threshold: The model file's threshold; None if it has none.
        same: Whether the cosine is above the threshold; None without one.
    """

    cosine: float
    threshold: float | None
    same: bool | None


class Embedder:
    """A model and a detector: the one way from photos to embeddings.

    A photo's faces are found, chosen, cut out and embedded by these methods wherever
    facever does so: from Python, in galleries, on the web page and in evaluations.

    Args:
        model: A model from ``load_model``, whose network moves to the device.
        device: ``auto``, ``cpu``, ``cuda``... for network and detector.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the device has units for
            it.
        detector: How faces are found; it is loaded with the first photo.

    Attributes:
        header: What the model file says of itself.
        model_fingerprint: The fingerprint of weights and preprocessing.
        embedding_size: Numbers in an embedding.
        template: The crops that the model takes.

    Raises:
        ParameterError: If the device is not there, or the precision or the detector is
            unknown.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: str = "auto",
        precision: Precision = "auto",
        detector: Detector = "mtcnn",
    ) -> None:
        if precision not in ("auto", "bf16", "fp32"):
            raise ParameterError(
                f"precision must be auto, bf16 or fp32, got {precision!r}"
            )
        self.header: ModelHeader = model.header
        self.model_fingerprint = model.fingerprint
        self.embedding_size = model.feature_size
        self._device = pick_device(device)
        self._bf16 = uses_bf16(precision, self._device)
        self.template = model.template
        self._preprocessing = model.preprocessing
        self._forward = model.start(self._device, self._bf16)
        check_detector(detector)
        self._detector = detector

    def __repr__(self) -> str:
        return (
            f"Embedder(network={self.header.network}, "
            f"embedding_size={self.embedding_size}, device={self._device}, "
            f"model={self.model_fingerprint[:12]})"
        )

    @torch.inference_mode()
    def embed_crops(
        self,
        crops: Crops,
        batch_size: int = 64,
        advance: Advance = ignore_progress,
    ) -> Float32[np.ndarray, "crops dim"]:
        """Features of crops, merged with those of their mirror images.

        Args:
            crops: RGB; those of a store are read batch by batch.
            batch_size: Crops at a time, at least 1; changes the speed only.
            advance: Progress, one unit a crop.

        Returns:
            Not normalised: PCA wants the features as they are. The mirror rule of the
            model file decides: ``sum`` and ``none`` give ``embedding_size`` dimensions
            of the network, ``concat`` twice as many.
        """
        if batch_size < 1:
            raise ParameterError(f"batch_size must be >= 1, got {batch_size}")
        embeddings = np.empty((len(crops), self.embedding_size), np.float32)
        for start in range(0, len(crops), batch_size):
            # A copy: torch warns of arrays that are read-only, as memory maps are.
            chunk = np.array(crops[start : start + batch_size], order="C")
            features = self._features(torch.from_numpy(chunk).to(self._device))
            embeddings[start : start + len(chunk)] = features.float().cpu().numpy()
            advance(len(chunk))
        return embeddings

    def _features(self, crops: Tensor) -> Tensor:
        images = self._preprocessing(crops)
        if self.header.mirror == "none":
            return self._forward(images)
        features = self._forward(images)
        everywhere = torch.ones(len(crops), dtype=torch.bool, device=crops.device)
        mirrored = self._forward(self._preprocessing(crops, everywhere))
        if self.header.mirror == "sum":
            return features + mirrored
        return torch.cat([features, mirrored], dim=1)

    def align(
        self,
        photos: Sequence[Photo],
        face: FaceRule = "largest",
        by_landmarks: bool = False,
    ) -> list[AlignedPhoto]:
        """Find faces in photos and cut them out.

        Args:
            photos: Photos of any kinds.
            face: Which faces to take of a photo that has several.
            by_landmarks: Use the landmarks that the photos' sources list, not the
                detector.

        Returns:
            What became of each photo, in their order; a photo that cannot be read or
            gives no face says why.

        Raises:
            ParameterError: If an array is no photo.
        """
        aligner = PhotoAligner(
            detect=None if by_landmarks else self._detect,
            by_landmarks=by_landmarks,
            face=face,
            max_pixels=DEFAULT_MAX_PIXELS,
            template=self.template,
        )
        return aligner.align(
            [_as_source(place, photo) for place, photo in enumerate(photos)]
        )

    def read(
        self,
        photos: Sequence[Photo],
        face: FaceRule = "largest",
        by_landmarks: bool = False,
    ) -> list[EmbeddedPhoto]:
        """Find faces in photos, cut them out and embed them.

        Args:
            photos: Photos of any kinds, which are held in memory together.
            face: Which faces to take of a photo that has several.
            by_landmarks: As for ``align``.

        Returns:
            The faces of each photo, in their order; a photo that cannot be read or
            gives no face says why.

        Raises:
            ParameterError: If an array is no photo.
            DataError: If the network gives an embedding that is zero or not finite.
        """
        if not photos:
            return []
        aligned = self.align(photos, face, by_landmarks)
        crops = np.concatenate([photo.crops for photo in aligned])
        names = [photo.source for photo in aligned for _ in photo.faces]
        embeddings = unit_vectors(self.embed_crops(crops), names)
        ends = np.cumsum([len(photo.crops) for photo in aligned])
        return [
            EmbeddedPhoto(**vars(photo), embeddings=own)
            for photo, own in zip(aligned, np.split(embeddings, ends[:-1]), strict=True)
        ]

    def faces(self, photo: Photo) -> list[EmbeddedFace]:
        """Every face of a photo.

        Args:
            photo: A path, a listed photo, or RGB pixels.

        Returns:
            The faces, largest first; none where no face is found.

        Raises:
            PhotoError: If the photo cannot be read; the message names it.
        """
        [found] = self.read([photo], "all")
        if found.reason != NO_FACE:
            found.check()
        return [
            EmbeddedFace(face.landmarks, face.box, face.score, crop, embedding)
            for face, crop, embedding in zip(
                found.faces, found.crops, found.embeddings, strict=True
            )
        ]

    def embed(self, photos: Sequence[Photo]) -> Float32[np.ndarray, "photos dim"]:
        """Embeddings of the largest face of each photo.

        Args:
            photos: Paths, listed photos, or RGB arrays ``[H, W, 3]`` of uint8.

        Returns:
            Embeddings of unit length, so that a dot product is the cosine.

        Raises:
            PhotoError: If a photo cannot be read; the message names it.
            DataError: If no face is found in a photo; the message names it.
            ParameterError: If an array is no photo.
        """
        embeddings = np.empty((len(photos), self.embedding_size), np.float32)
        for start in range(0, len(photos), _BATCH_PHOTOS):
            rows = slice(start, start + _BATCH_PHOTOS)
            read = self.read(photos[rows])
            for photo in read:
                photo.check()
            embeddings[rows] = np.concatenate([photo.embeddings for photo in read])
        return embeddings

    def verify(self, first: Photo, second: Photo) -> Verification:
        """Compare the largest faces of two photos.

        Args:
            first: A path or an RGB array.
            second: The other.

        Returns:
            The cosine, and the answer where the model file has a threshold.

        Raises:
            PhotoError: If a photo cannot be read.
            DataError: If no face is found in a photo.
        """
        left, right = self.embed([first, second])
        cosine = float(np.clip(left @ right, -1, 1))
        threshold = self.header.threshold
        same = None if threshold is None else cosine > threshold
        return Verification(cosine, threshold, same)

    @cached_property
    def _detect(self) -> Detect | None:
        return make_detector(self._detector, str(self._device))


def _as_source(place: int, photo: Photo) -> PhotoSource:
    """A photo of any kind as what the aligner takes."""
    if isinstance(photo, PhotoSource):
        return photo
    if not isinstance(photo, np.ndarray):
        return PhotoSource(str(photo), "", Path(photo))
    is_photo = photo.ndim == 3 and photo.shape[2] == 3 and photo.size > 0
    if photo.dtype != np.uint8 or not is_photo:
        raise ParameterError(
            "an array must be an RGB photo, uint8 [height, width, 3], got "
            f"{photo.dtype} {list(photo.shape)}"
        )
    return photo_in_memory(f"array {place}", photo)


def load(
    model: str | Path,
    device: str = "auto",
    precision: Precision = "auto",
    detector: Detector = "mtcnn",
) -> Embedder:
    """An ``Embedder`` from a model file, or of a ready model.

    Args:
        model: A model file, such as ``facever train`` writes, or a ready model's name.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``, ``bf16`` or ``fp32``.
        detector: How faces are found in photos; see ``facever.choices.Detector``.

    Returns:
        An embedder that is ready to ``embed`` and ``verify`` photos.

    Raises:
        ModelFileError: If the file is missing, damaged or foreign.
        ParameterError: If the device is not there.
    """
    return Embedder(load_model(model), device, precision, detector)
