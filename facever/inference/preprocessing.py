"""From uint8 crops to what a network takes, the same in training and in use."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from facever.errors import ParameterError


@dataclass(frozen=True)
class Preprocessing:
    """``(pixel - mean) / scale``.

    Attributes:
        mean: One number for all pixels, or the mean image ``[112, 96, 3]`` of the
            training crops, as the IE paper subtracts; in [0, 255].
        scale: Positive.
    """

    mean: float | Float[Tensor, "height width 3"] = 127.5
    scale: float = 128.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
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
        mean = self.mean
        if isinstance(mean, Tensor):
            mean = mean.to(crops.device)
        images = (crops.float() - mean) / self.scale
        # A permuted view of NHWC memory is channels-last already: nothing is copied.
        return images.permute(0, 3, 1, 2)
