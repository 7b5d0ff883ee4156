"""The crops of a compressed store: JPEGs, one behind the other, decoded when asked for.

``crops.jpg`` holds them; ``crops.offsets.npy``, int64 ``[N + 1]``, says where each
begins, and then the length of the file.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from facever.data.store.checksums import map_array
from facever.data.store.folder import JPEG_FILE, OFFSETS_FILE
from facever.errors import DataError, FileError, ParameterError


class JpegCrops:
    """Looks like uint8 ``[N, height, width, 3]`` to those who index its first axis.

    An instance that is sent to another process opens the files there.

    Attributes:
        folder: The store's folder.
        shape: The shape that the array would have.
        dtype: The type that the array would have, uint8.
        encoded_shape: The shape of each JPEG.
        offsets: The byte where each JPEG begins in ``crops.jpg``, and the file's end.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, encoded_shape: tuple[int, int, int]) -> None:
        """Open the JPEGs of a store.

        Args:
            folder: The store's folder.
            encoded_shape: The shape of each JPEG: height, width and three colours.

        Raises:
            FileError: If the two files are missing or do not fit each other.
        """
        self.folder = folder
        self.offsets = _read_offsets(folder)
        self.encoded_shape = encoded_shape
        self.shape = (len(self.offsets) - 1, *encoded_shape)
        self._content = (
            np.memmap(folder / JPEG_FILE, np.uint8, "r")
            if self.offsets[-1]
            else np.empty(0, np.uint8)
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> UInt8[np.ndarray, "*rows high wide 3"]:
        """Decode the crop of a row, or those of a slice, of row numbers or of a mask.

        Raises:
            IndexError: If a row is out of range.
            DataError: If a JPEG is damaged; the message names its row.
        """
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return self._decode(int(chosen))
        crops = np.empty((*chosen.shape, *self.shape[1:]), np.uint8)
        for place in np.ndindex(chosen.shape):
            crops[place] = self._decode(int(chosen[place]))
        return crops

    def __reduce__(self) -> tuple[type["JpegCrops"], tuple[Any, ...]]:
        return JpegCrops, (self.folder, self.encoded_shape)

    def encoded(self, row: int) -> memoryview:
        """The JPEG of a row, as it stands in the file."""
        start, stop = self.offsets[row], self.offsets[row + 1]
        return self._content[start:stop].data

    def _decode(self, row: int) -> UInt8[np.ndarray, "high wide 3"]:
        content = np.frombuffer(self.encoded(row), np.uint8)
        crop = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if len(content) else None
        if crop is None or crop.shape != self.encoded_shape:
            raise DataError(
                f"{self.folder / JPEG_FILE}: the JPEG of row {row} is damaged; "
                "facever data verify lists all that are"
            )
        return np.asarray(crop, np.uint8)


def encode_jpeg(crop: UInt8[np.ndarray, "high wide 3"], quality: int) -> bytes:
    """A crop as JPEG with full colour resolution.

    Args:
        crop: The crop, in RGB.
        quality: The JPEG quality, in [1, 100].
    """
    # Halved colour, the default, blurs a crop visibly, at every quality.
    full_colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full_colour),
    ]
    encoded, content = cv2.imencode(
        ".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options
    )
    assert encoded
    return content.tobytes()


def check_quality(quality: int) -> None:
    """Refuse a JPEG quality out of range.

    Raises:
        ParameterError: If the quality is not in [1, 100].
    """
    if not 1 <= quality <= 100:
        raise ParameterError(f"JPEG quality must be in [1, 100], got {quality}")


def _read_offsets(folder: Path) -> Int64[np.ndarray, " ends"]:
    path = folder / OFFSETS_FILE
    offsets: Int64[np.ndarray, " ends"] = np.array(map_array(path))
    num_bytes = (folder / JPEG_FILE).stat().st_size
    if offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets):
        raise FileError(
            f"{path}: expected int64 offsets, got {offsets.dtype} {offsets.shape}"
        )
    if offsets[0] != 0 or offsets[-1] != num_bytes or (np.diff(offsets) < 0).any():
        raise FileError(
            f"{path}: offsets must rise from 0 to {num_bytes}, the length of "
            f"{JPEG_FILE}; the store is damaged"
        )
    return offsets
