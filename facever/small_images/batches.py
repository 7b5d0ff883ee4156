"""Batches of small images: the whole set lies on the device, a batch is an index.

A small network takes a millisecond a step, less than a DataLoader needs to collate a
batch, so the set is preprocessed once, kept as one tensor where the network is, and
gathered by index.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from facever.choices import ImagePreparation
from facever.data.batches.sampling import EpochSampler
from facever.errors import ParameterError
from facever.small_images.sets import SmallImages

# The deviation of an image without contrast, in units of a pixel's 256 levels.
_SMALLEST_DEVIATION = 1e-3


_Change = Callable[[Tensor], Tensor]


class Preparation:
    """Steps from uint8 images to network input, fitted to the training images.

    ``divide_256`` divides by 256. ``mean_image`` takes off the mean of the training
    images, pixel by pixel. ``contrast`` is global contrast normalisation: each image
    less its own mean, by its own standard deviation. ``mean_std`` is each channel less
    its mean over the training images, by its standard deviation there.

    Args:
        steps: The steps, in the order in which they are applied.
        train: The training images, to which the steps are fitted; test images are never
            used.

    Raises:
        ParameterError: If a step is unknown.
    """

    def __init__(
        self,
        steps: tuple[ImagePreparation, ...],
        train: UInt8[np.ndarray, "images channels height width"],
    ) -> None:
        self._changes: list[_Change] = []
        images = torch.tensor(train).float() if steps else None
        for step in steps:
            assert images is not None
            change = _fit(step, images)
            images = change(images)
            self._changes.append(change)

    def __call__(
        self, images: UInt8[np.ndarray, "images channels height width"]
    ) -> Float32[Tensor, "images channels height width"]:
        """Network input."""
        changed = torch.tensor(images).float()
        for change in self._changes:
            changed = change(changed)
        return changed


def _fit(step: str, images: Tensor) -> _Change:
    if step == "divide_256":
        return lambda images: images / 256
    if step == "mean_image":
        mean = images.mean(dim=0)
        return lambda images: images - mean
    if step == "contrast":
        return _normalise_contrast
    if step in ("mean_std", "global_mean_std"):
        together = (0, 2, 3) if step == "mean_std" else (0, 1, 2, 3)
        means = images.mean(dim=together, keepdim=True)
        deviations = images.std(dim=together, keepdim=True)
        return lambda images: (images - means) / deviations
    raise ParameterError(
        f"a preparation must be one of {', '.join(get_args(ImagePreparation))}, "
        f"got {step!r}"
    )


def _normalise_contrast(images: Tensor) -> Tensor:
    means = images.mean(dim=(1, 2, 3), keepdim=True)
    deviations = images.std(dim=(1, 2, 3), keepdim=True)
    return (images - means) / deviations.clamp_min(_SMALLEST_DEVIATION)


@dataclass(frozen=True)
class PreparedImages:
    """Network input on the device.

    Attributes:
        images: The images of the set as network input.
        labels: The class of each image.
    """

    images: Float32[Tensor, "images channels height width"]
    labels: Int64[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)


def prepare_images(
    source: SmallImages, preparation: Preparation, device: torch.device
) -> PreparedImages:
    """A set as network input on a device."""
    return PreparedImages(
        preparation(source.images).to(device),
        torch.tensor(source.labels).to(device),
    )


class SmallImageBatches:
    """The batch of any step, a pure function of the seed and the step.

    Args:
        source: The training images.
        batch_size: Number of images in a batch, from 1 to all of them.
        seed: Seed of order, crops and mirroring.
        mirror: Whether half of the images, at random, are flipped left to right.
        crop_padding: Zeros around the prepared image out of which a window of the
            image's own size is cut at random; 0 cuts nothing.

    Raises:
        ParameterError: If batch_size or crop_padding is out of range.
    """

    def __init__(
        self,
        source: PreparedImages,
        *,
        batch_size: int,
        seed: int,
        mirror: bool = False,
        crop_padding: int = 0,
    ) -> None:
        if crop_padding < 0:
            raise ParameterError(f"crop_padding must be >= 0, got {crop_padding}")
        self.sampler = EpochSampler(len(source), batch_size, seed)
        self._source = source
        self._seed = seed
        self._mirror = mirror
        self._padding = crop_padding

    def batch(
        self, step: int
    ) -> tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        """Images and labels of a step, counted from 0."""
        device = self._source.images.device
        picked = torch.from_numpy(self.sampler.draw(step).photos).to(device)
        images = self._source.images[picked]
        if self._mirror or self._padding:
            generator = np.random.default_rng((self._seed, step, 1))
            mirrored = generator.random(len(picked)) < (0.5 if self._mirror else 0.0)
            corners = generator.integers(0, 2 * self._padding + 1, (2, len(picked)))
            images = shifted(
                images,
                torch.from_numpy(corners[0]).to(device),
                torch.from_numpy(corners[1]).to(device),
                torch.from_numpy(mirrored).to(device),
                self._padding,
            )
        return images, self._source.labels[picked]


def shifted(
    images: Float[Tensor, "batch channels height width"],
    top: Int[Tensor, " batch"],
    left: Int[Tensor, " batch"],
    mirrored: Tensor,
    padding: int,
) -> Float[Tensor, "batch channels height width"]:
    """A window of each padded image, flipped or not, in one gather.

    Args:
        images: The images as network input.
        top: First row of the window in the padded image, in [0, 2 padding].
        left: First column of the window in the padded image, in [0, 2 padding].
        mirrored: Which windows to flip left to right.
        padding: Number of zeros on each side of an image.

    Returns:
        Images of the same size.
    """
    number, channels, height, width = images.shape
    padded = pad(images, (padding,) * 4)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(number, width)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    columns = columns + left[:, None]
    places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    flat = places.reshape(number, 1, -1).expand(number, channels, -1)
    return padded.flatten(2).gather(2, flat).reshape(images.shape)
