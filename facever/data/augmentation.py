"""Random changes of training crops, by albumentations."""

import os
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

# It asks the network for its newest version at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations


@dataclass(frozen=True)
class AugmentationStrength:
    """How strongly crops are changed; 0 switches a change off.

    Attributes:
        shift: Pixels, each way.
        zoom: Share of the size, each way, in [0, 0.5).
        rotation: Degrees, each way.
        brightness: Share, each way, in [0, 1).
        contrast: Share, each way, in [0, 1).
        saturation: Share, each way, in [0, 1).
        blur: Chance of a slight Gaussian blur.
        grey: Chance of losing the colour.
        occlusion: Chance of one hidden patch, up to a third of each side.
    """

    shift: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    blur: float = 0.0
    grey: float = 0.0
    occlusion: float = 0.0


class Augmentation:
    """Changes the crops of a batch, each in its own way.

    The mirror is not among them: it is taken on the device, with the preprocessing.

    Args:
        strength: Which changes, and how strong.
    """

    def __init__(self, strength: AugmentationStrength) -> None:
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
        if strength.blur:
            transforms.append(
                albumentations.GaussianBlur(sigma_limit=(0.5, 2.0), p=strength.blur)
            )
        if strength.grey:
            transforms.append(albumentations.ToGray(p=strength.grey))
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
        self._transform = albumentations.Compose(transforms) if transforms else None

    def __call__(
        self, crops: UInt8[np.ndarray, "batch height width 3"], seed: int
    ) -> UInt8[np.ndarray, "batch height width 3"]:
        """Changed copies of crops, decided by the seed alone.

        Args:
            crops: RGB.
            seed: At least 0.

        Returns:
            New crops of the same shape.
        """
        if self._transform is None:
            return crops
        self._transform.set_random_seed(seed)
        return np.stack([self._transform(image=crop)["image"] for crop in crops])
