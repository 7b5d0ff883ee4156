"""Random changes of training crops, by albumentations."""

import os
import random
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64

# It asks the network for its newest version at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations


@dataclass(frozen=True)
class AugmentationStrength:
    """How strongly crops are changed; 0 switches a change off.

    They are made in this order.

    Attributes:
        shift: Largest shift, in pixels each way.
        zoom: Largest change of size, as a share each way, in [0, 0.5).
        rotation: Largest rotation, in degrees each way.
        occlusion: Chance that one patch is hidden, up to a third of each side.
        brightness: Largest change of brightness, as a share each way, in [0, 1).
        contrast: Largest change of contrast, as a share each way, in [0, 1).
        saturation: Largest change of saturation, as a share each way, in [0, 1).
        grey: Chance that a crop loses its colour.
        blur: Chance of a slight Gaussian blur, with a sigma of 0.5 to 2 pixels.
        low_resolution: Chance that a crop is shrunk to 0.2 to 0.8 of each side and
            enlarged again.
        jpeg: Chance that a crop is compressed as JPEG, with a quality of 20 to 80.
        crop: Chance that all turns black but a window of half to all of each side, as
            where a photo ends.
    """

    shift: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    occlusion: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    low_resolution: float = 0.0
    jpeg: float = 0.0
    crop: float = 0.0


class Augmentation:
    """Changes crops, each as its own seed says, whatever else is in the batch.

    The mirror is not among the changes: it is taken on the device, with the
    preprocessing.

    Args:
        strength: How strong each change is.
    """

    def __init__(self, strength: AugmentationStrength) -> None:
        self._transform = albumentations.Compose(_transforms(strength))

    def __call__(
        self,
        crops: UInt8[np.ndarray, "batch height width 3"],
        seeds: UInt64[np.ndarray, " batch"],
    ) -> UInt8[np.ndarray, "batch height width 3"]:
        """Changed copies of crops.

        Args:
            crops: The crops, in RGB.
            seeds: The seed of each crop, which alone decides how it is changed.

        Returns:
            New crops of the same shape.
        """
        changed = np.empty_like(crops)
        for place, (crop, seed) in enumerate(zip(crops, seeds.tolist(), strict=True)):
            # One stream for all changes. Compose.set_random_seed would give each the
            # same one: every blurred crop would be grey too.
            self._transform.set_random_state(
                np.random.default_rng(seed), random.Random(seed)
            )
            changed[place] = self._transform(image=crop)["image"]
        return changed


def _transforms(strength: AugmentationStrength) -> list[albumentations.BasicTransform]:
    transforms: list[albumentations.BasicTransform] = []
    if strength.shift or strength.zoom or strength.rotation:
        transforms.append(
            albumentations.Affine(
                translate_px={
                    axis: (-round(strength.shift), round(strength.shift))
                    for axis in ("x", "y")
                },
                scale=(1 - strength.zoom, 1 + strength.zoom),
                rotate=(-strength.rotation, strength.rotation),
                keep_ratio=True,
                border_mode=cv2.BORDER_REPLICATE,
                p=1.0,
            )
        )
    if strength.occlusion:
        transforms.append(
            albumentations.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=(0.1, 0.33),
                hole_width_range=(0.1, 0.33),
                fill="random_uniform",
                p=strength.occlusion,
            )
        )
    if strength.brightness or strength.contrast or strength.saturation:
        transforms.append(
            albumentations.ColorJitter(
                brightness=(1 - strength.brightness, 1 + strength.brightness),
                contrast=(1 - strength.contrast, 1 + strength.contrast),
                saturation=(1 - strength.saturation, 1 + strength.saturation),
                hue=(0, 0),
                p=1.0,
            )
        )
    if strength.grey:
        transforms.append(albumentations.ToGray(p=strength.grey))
    if strength.blur:
        transforms.append(
            albumentations.GaussianBlur(sigma_limit=(0.5, 2.0), p=strength.blur)
        )
    if strength.low_resolution:
        interpolation = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
        transforms.append(
            albumentations.Downscale((0.2, 0.8), interpolation, strength.low_resolution)
        )
    if strength.jpeg:
        transforms.append(_Jpeg("jpeg", (20, 80), strength.jpeg))
    if strength.crop:
        transforms.append(_Window(strength.crop))
    return transforms


class _Jpeg(albumentations.ImageCompression):  # type: ignore[misc]
    """JPEG's traces, with red taken for red."""

    def apply(self, img: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """OpenCV takes its image for BGR, and albumentations hands on what it got."""
        bgr = super().apply(np.ascontiguousarray(img[..., ::-1]), *args, **params)
        return np.ascontiguousarray(bgr[..., ::-1])


class _Window(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """Keeps a window and blackens the rest; no pixel moves, so the face stays aligned.

    References:
        Kim et al., AdaFace, 2022: the crop among its augmentations.
    """

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Draw the window."""
        window = []
        for side in params["shape"][:2]:
            kept = self.py_random.randint(-(-side // 2), side)
            first = self.py_random.randint(0, side - kept)
            window.append(slice(first, first + kept))
        return {"window": tuple(window)}

    def apply(
        self, img: np.ndarray, window: tuple[slice, slice], **params: Any
    ) -> np.ndarray:
        """Keep the window."""
        kept = np.zeros_like(img)
        kept[window] = img[window]
        return kept
