"""From uint8 crops to what a network takes, the same in training and in use."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from facever.choices import ChannelOrder
from facever.errors import ParameterError


@dataclass(frozen=True)
class Preprocessing:
    """``(pixel - mean) / scale``.

    Attributes:
        mean: One number for all pixels, one for each of red, green and blue, or the
            mean image ``[height, width, 3]`` of the training crops, as the IE paper
            subtracts; in [0, 255].
        scale: Positive; one number, or one for each of red, green and blue.
        channel_order: In which the network takes the colours.
    """

    mean: float | Float[Tensor, "*colours"] = 127.5
    scale: float | Float[Tensor, "3"] = 128.0
    channel_order: ChannelOrder = "RGB"

    def __post_init__(self) -> None:
        if not torch.as_tensor(self.scale).gt(0).all():
            raise ParameterError(f"scale must be positive, got {self.scale}")

    def __call__(
        self,
        crops: UInt8[Tensor, "batch height width 3"],
        mirrored: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Network input from crops, in channels-last memory.

        Args:
            crops: RGB, on the device where the network is.
            mirrored: Which of them to flip left to right, before the mean is taken off.

        Returns:
            float32 images.
        """
        if mirrored is not None:
            crops = torch.where(mirrored[:, None, None, None], crops.flip(2), crops)
        mean, scale = (
            value.to(crops.device) if isinstance(value, Tensor) else value
            for value in (self.mean, self.scale)
        )
        images = (crops.float() - mean) / scale
        if self.channel_order == "BGR":
            images = images.flip(3)
        # A permuted view of NHWC memory is channels-last already: nothing is copied.
        return images.permute(0, 3, 1, 2)


def make_preprocessing(
    mean: float | Sequence[float] | Tensor,
    scale: float | Sequence[float],
    channel_order: ChannelOrder,
) -> Preprocessing:
    """Preprocessing from the plain numbers of a model file's header.

    Raises:
        ParameterError: If a scale is not positive.
    """
    return Preprocessing(_colours(mean), _colours(scale), channel_order)


def _colours(value: float | Sequence[float] | Tensor) -> float | Tensor:
    if isinstance(value, Sequence):
        return torch.tensor(value, dtype=torch.float32)
    return value
