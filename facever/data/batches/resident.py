"""Training crops that lie in the memory of the device."""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from facever.data.batches.crop_workers import CropSource
from facever.errors import ParameterError
from facever.progress import Advance, ignore_progress

_SHARE_OF_FREE = 0.5
"""Share of a GPU's free memory; the rest is for the activations of the network."""
_CROPS_AT_ONCE = 4096


class ResidentCrops:
    """Copies of the crops of some rows, gathered on the device.

    Args:
        crops: The crops of the whole store.
        rows: The rows to copy, ascending.
        device: The device to copy to.
        advance: Function that is told the progress, one unit for each crop.

    Raises:
        ParameterError: If the device has too little memory.
    """

    def __init__(
        self,
        crops: CropSource,
        rows: Int64[np.ndarray, " rows"],
        device: torch.device,
        advance: Advance = ignore_progress,
    ) -> None:
        self._rows = rows
        self._device = device
        shape = (len(rows), *crops[rows[:1]].shape[1:])
        try:
            self._crops = torch.empty(shape, dtype=torch.uint8, device=device)
        except RuntimeError:  # torch.OutOfMemoryError is one.
            raise ParameterError(
                f"data.resident=true needs {np.prod(shape) / 1e9:.1f} GB for "
                f"{len(rows):,} crops on {device}, which has less free memory: use "
                "data.resident=false"
            ) from None
        for start in range(0, len(rows), _CROPS_AT_ONCE):
            some = crops[rows[start : start + _CROPS_AT_ONCE]]
            self._crops[start : start + len(some)] = torch.from_numpy(some)
            advance(len(some))

    def take(
        self, rows: Int64[np.ndarray, " batch"]
    ) -> UInt8[Tensor, "batch height width 3"]:
        """Crops on the device.

        Args:
            rows: Rows of the store, all of them among those copied.
        """
        places = torch.from_numpy(np.searchsorted(self._rows, rows))
        return self._crops.index_select(0, places.to(self._device))


def fits_on(device: torch.device, num_bytes: int) -> bool:
    """Whether crops take at most half of the free memory of a GPU.

    The memory of the CPU is no place to copy crops to: the page cache holds them there.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= _SHARE_OF_FREE * free
