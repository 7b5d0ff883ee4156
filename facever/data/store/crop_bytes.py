"""The bytes of crops as they are in a store's files, a block at a time.

The bytes of a crop are its pixel values or, in a compressed store, its JPEG.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Int64, UInt8

from facever.data.store.checksums import crop_checksums, write_checksums
from facever.data.store.crop_store import Crops, CropStore
from facever.data.store.folder import CROPS_FILE, JPEG_FILE, OFFSETS_FILE
from facever.data.store.jpeg import JpegCrops
from facever.errors import DataError

BLOCK_CROPS = 1024
HEADER_BYTES = 128


def crops_header(num_crops: int, crop_shape: tuple[int, int, int]) -> bytes:
    """What stands in ``crops.npy`` before the first crop."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": "|u1", "fortran_order": False, "shape": (num_crops, *crop_shape)},
    )
    header = file.getvalue()
    assert len(header) == HEADER_BYTES
    return header


def row_blocks(
    rows: Int64[np.ndarray, " rows"],
) -> Iterator[Int64[np.ndarray, " block"]]:
    """The rows in blocks whose crops fit any memory."""
    for start in range(0, len(rows), BLOCK_CROPS):
        yield rows[start : start + BLOCK_CROPS]


def decode_crops(
    crops: Crops, rows: Int64[np.ndarray, " rows"]
) -> UInt8[np.ndarray, "rows high wide 3"]:
    """Decoded crops; the pages that were read do not stay in this process's memory."""
    chosen: UInt8[np.ndarray, "rows high wide 3"] = _map_again(crops)[rows]
    return chosen


def read_crop_bytes(
    crops: Crops, rows: Int64[np.ndarray, " rows"]
) -> list[bytes | memoryview]:
    """The bytes of each crop; the pages that were read do not stay in memory."""
    again = _map_again(crops)
    if isinstance(again, JpegCrops):
        return [bytes(again.encoded(int(row))) for row in rows]
    return [memoryview(crop).cast("B") for crop in again[rows]]


def read_checked_bytes(
    store: CropStore, rows: Int64[np.ndarray, " rows"]
) -> list[bytes | memoryview]:
    """The bytes of each crop, checked, so that no copy makes damage look sound.

    Raises:
        DataError: If a crop differs from its checksum; the message names the first.
    """
    contents = read_crop_bytes(store.crops, rows)
    damaged = rows[crop_checksums(contents) != store.checksums[rows]]
    if len(damaged):
        raise DataError(
            f"{store.folder}: the crop of row {damaged[0]} "
            f"({store.sources[damaged[0]]}) is damaged; facever data verify lists "
            "all that are, facever data subset --exclude leaves them out"
        )
    return contents


class CropsFile:
    """Writes the crops of a new store, and their checksums, from first to last.

    Nothing is complete before ``finish``; ``close`` may come without it.
    """

    def __init__(
        self,
        folder: Path,
        num_crops: int,
        crop_shape: tuple[int, int, int],
        *,
        compressed: bool,
    ) -> None:
        self._folder = folder
        self._num_crops = num_crops
        self._compressed = compressed
        self._checksums: list[np.ndarray] = []
        self._ends = [0]
        self._file = (folder / (JPEG_FILE if compressed else CROPS_FILE)).open("wb")
        if not compressed:
            self._file.write(crops_header(num_crops, crop_shape))

    def __enter__(self) -> "CropsFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, contents: list[bytes | memoryview]) -> None:
        """Append a block of crops."""
        for content in contents:
            self._file.write(content)
            self._ends.append(self._ends[-1] + len(content))
        self._checksums.append(crop_checksums(contents))

    def finish(self) -> None:
        """Write what stands beside the crops."""
        assert len(self._ends) == self._num_crops + 1
        self._file.flush()
        if self._compressed:
            np.save(self._folder / OFFSETS_FILE, np.array(self._ends, np.int64))
        write_checksums(self._folder, self._checksums)


def _map_again(crops: Crops) -> Crops:
    if isinstance(crops, JpegCrops):
        return JpegCrops(crops.folder, crops.encoded_shape)
    if isinstance(crops, np.memmap) and len(crops):
        path, offset, shape = Path(str(crops.filename)), crops.offset, crops.shape
        again: UInt8[np.ndarray, "crops high wide 3"] = np.memmap(
            path, np.uint8, "r", offset, shape
        )
        return again
    return crops
