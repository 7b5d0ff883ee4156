"""From photos or crops to embeddings, with a model file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from facever.choices import Precision
from facever.data.store.crop_store import Crops
from facever.errors import DataError, ParameterError, PhotoError
from facever.faces.detection import choose_faces
from facever.faces.geometry import CROP_HEIGHT, CROP_WIDTH, align_faces
from facever.faces.mtcnn import MtcnnDetector
from facever.faces.photos import read_photo
from facever.hardware import pick_device, uses_bf16
from facever.inference.model_file import LoadedModel, ModelHeader, load_model
from facever.progress import Advance, ignore_progress

Photo = str | Path | UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Verification:
    """Whether two photos show the same person.

    Attributes:
        cosine: Of the two embeddings, in [-1, 1].
        threshold: Of the model file; None if it has none.
        same: Whether the cosine is above the threshold; None without one.
    """

    cosine: float
    threshold: float | None
    same: bool | None


class Embedder:
    """A model with its preprocessing and mirror rule, ready for photos.

    Args:
        model: From ``load_model``.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the device has units for
            it.

    Raises:
        ParameterError: If the device is not there or the precision is unknown.
    """

    def __init__(
        self, model: LoadedModel, device: str = "auto", precision: Precision = "auto"
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
        self._preprocessing = model.preprocessing
        self._network = model.network.to(self._device)
        self._network.to(memory_format=torch.channels_last)
        self._detector: MtcnnDetector | None = None

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

    def _forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            features: Tensor = self._network(images)
        return features.float()

    def embed(self, photos: Sequence[Photo]) -> Float32[np.ndarray, "photos dim"]:
        """Embeddings of the largest face of each photo.

        Args:
            photos: Paths, or RGB arrays ``[H, W, 3]`` of uint8.

        Returns:
            Of unit length, so a dot product is the cosine.

        Raises:
            PhotoError: If a photo cannot be read; the message names it.
            DataError: If no face is found in a photo; the message names it.
            ParameterError: If an array is no photo.
        """
        crops = np.empty((len(photos), CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
        for row, photo in enumerate(photos):
            crops[row] = self._crop(photo)
        embeddings = self.embed_crops(crops)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        units: Float32[np.ndarray, "photos dim"] = embeddings / lengths
        return units

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

    def _crop(self, photo: Photo) -> UInt8[np.ndarray, "112 96 3"]:
        if isinstance(photo, np.ndarray):
            name, pixels = "the array", _check_pixels(photo)
        else:
            name, pixels = str(photo), _read(photo)
        if self._detector is None:
            self._detector = MtcnnDetector()
        found = self._detector.detect([pixels])[0]
        faces = choose_faces(found, pixels.shape[:2], "largest")
        if not faces:
            raise DataError(
                f"no face found in {name}; is it upright, and at least 20 pixels high?"
            )
        crop: UInt8[np.ndarray, "112 96 3"] = align_faces(
            pixels, faces[0].landmarks[None]
        )[0]
        return crop


def _check_pixels(
    pixels: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    is_photo = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
    if pixels.dtype != np.uint8 or not is_photo:
        raise ParameterError(
            "an array must be an RGB photo, uint8 [height, width, 3], got "
            f"{pixels.dtype} {list(pixels.shape)}"
        )
    return pixels


def _read(path: str | Path) -> UInt8[np.ndarray, "height width 3"]:
    try:
        return read_photo(path)
    except PhotoError as error:
        raise PhotoError(f"cannot read {path}: {error}") from None


def load(
    path: str | Path, device: str = "auto", precision: Precision = "auto"
) -> Embedder:
    """An ``Embedder`` from a model file.

    Args:
        path: ``model.safetensors``, as ``facever train`` writes it.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``, ``bf16`` or ``fp32``.

    Returns:
        Ready to ``embed`` and ``verify`` photos.

    Raises:
        ModelFileError: If the file is missing, damaged or foreign.
        ParameterError: If the device is not there.
    """
    return Embedder(load_model(path), device, precision)
