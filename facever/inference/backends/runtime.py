"""A network that another project's runtime computes; it cannot be trained here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from facever.errors import DataError
from facever.inference.backends.ports import ImageInput

Forward = Callable[[Tensor], Tensor]
"""From float32 images ``[B, 3, height, width]`` to float32 features ``[B, D]``."""

Start = Callable[[torch.device, bool], Callable[[np.ndarray], np.ndarray]]
"""Gets a device and whether to compute in bfloat16; gives what computes a batch."""


@dataclass(frozen=True)
class RuntimeNetwork:
    """A network that another project's runtime computes.

    Attributes:
        image: What it takes.
        start_runtime: Loads it.
    """

    image: ImageInput
    start_runtime: Start

    def start(self, device: torch.device, bf16: bool) -> Forward:
        """Get ready to compute.

        A network that takes a fixed number of images gets that many at a time, the last
        of them filled up with black.

        Args:
            device: Where to compute, if the runtime can.
            bf16: Whether to compute in bfloat16, if the runtime can.
        """
        run = self.start_runtime(device, bf16)
        axes = (0, 2, 3, 1) if self.image.channels_last else (0, 1, 2, 3)

        def forward(images: Tensor) -> Tensor:
            given = images.permute(axes).cpu().numpy()
            given = np.ascontiguousarray(given, self.image.numbers)
            size = self.image.batch_size or len(given)
            parts = []
            for first in range(0, len(given), size):
                batch = given[first : first + size]
                missing = [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)]
                parts.append(_vectors(run(np.pad(batch, missing)), size)[: len(batch)])
            return torch.from_numpy(np.concatenate(parts)).to(images.device)

        return forward

    def embedding_size(self, height: int, width: int) -> int:
        """How many numbers it gives for an image of this size, in pixels.

        Raises:
            DataError: If it gives anything but a vector of finite numbers.
        """
        forward = self.start(torch.device("cpu"), bf16=False)
        features = forward(torch.zeros(1, 3, height, width))
        if not features.isfinite().all():
            raise DataError("for a black image the network gives no finite numbers")
        return features.shape[1]


def _vectors(output: np.ndarray, size: int) -> Float32[np.ndarray, "images dim"]:
    longest = max(output.shape[1:], default=0)
    if len(output) != size or output.size != size * longest:
        raise DataError(
            f"for {size} images the network gives {list(output.shape)} numbers, not a "
            "vector for each"
        )
    return np.asarray(output.reshape(size, -1), np.float32)
