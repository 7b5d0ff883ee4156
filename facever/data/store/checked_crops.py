"""Crops as a model takes them, each compared with its checksum when it is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt32

from facever.data.store.checksums import DIFFERS, crop_checksums, map_array
from facever.data.store.folder import CROPS_TABLE
from facever.data.store.jpeg import JpegCrops
from facever.data.store.tables import read_names
from facever.errors import DataError

Window = tuple[slice, slice]
StoredCrops = UInt8[np.ndarray, "crops high wide 3"] | JpegCrops


class CheckedCrops:
    """Looks like uint8 ``[N, height, width, 3]`` to those who index its first axis.

    A checksum takes some 20 microseconds a crop, a hundredth of what a network takes
    for it, so every crop is looked at, whenever it is read. An instance that is sent to
    another process opens the files there.

    Attributes:
        shape: The shape that the array would have.
        dtype: The type that the array would have, uint8.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        folder: Path,
        stored: StoredCrops,
        checksums: UInt32[np.ndarray, " crops"],
        window: Window,
    ) -> None:
        """Take the crops of a store.

        Args:
            folder: The store's folder, for messages.
            stored: The crops as they are in it.
            checksums: CRC-32 of the bytes of each.
            window: The rows and columns of a crop that are seen.
        """
        self._folder = folder
        self._stored = stored
        self._checksums = checksums
        self._window = window
        sides = zip(window, stored.shape[1:3], strict=True)
        high, wide = (len(range(*part.indices(size))) for part, size in sides)
        self.shape = (len(stored), high, wide, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "*rows high wide 3"]:
        """The crop of a row, or those of a slice, of row numbers or of a mask.

        Raises:
            IndexError: If a row is out of range.
            DataError: If a crop is not what was written; the message names it.
        """
        chosen = np.arange(len(self))[rows]
        if isinstance(self._stored, JpegCrops):
            self._check(chosen, map(self._stored.encoded, map(int, chosen.flat)))
            read = self._stored[rows]
        else:
            read = np.asarray(self._stored[rows])
            crops = read.reshape(-1, *read.shape[-3:])
            self._check(chosen, (crop.data.cast("B") for crop in crops))
        return np.ascontiguousarray(read[..., *self._window, :])

    def __reduce__(self) -> tuple[type["CheckedCrops"], tuple[Any, ...]]:
        stored: Any = self._stored
        if isinstance(stored, np.memmap):
            stored = _MappedFile(Path(str(stored.filename)))
        return CheckedCrops, (self._folder, stored, self._checksums, self._window)

    def _check(self, chosen: Any, contents: Any) -> None:
        differ = crop_checksums(contents) != self._checksums[chosen].ravel()
        if differ.any():
            row = int(chosen.flat[int(np.argmax(differ))])
            source = read_names(self._folder / CROPS_TABLE).sources[row]
            raise DataError(
                f"{self._folder}: the crop of {source} (row {row}) is damaged: "
                f"{DIFFERS}; facever data verify lists all that are"
            )


@dataclass(frozen=True)
class _MappedFile:
    """Pickles a memory map as its file, where NumPy pickles all bytes."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return map_array, (self.path,)
