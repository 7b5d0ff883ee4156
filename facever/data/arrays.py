"""Read ``.npy`` files, of which any byte may be damaged."""

from pathlib import Path

import numpy as np

from facever.errors import FileError


def map_array(path: Path) -> np.ndarray:
    """A memory map of the array in a file, read-only.

    Raises:
        FileError: If the file is missing, shorter than its header says or no such file.
    """
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileError(f"{path} is missing: the crop store is damaged") from None
    except Exception as error:
        # A damaged header is evaluated as Python, which fails in ways of all kinds.
        raise FileError(f"{path} cannot be read: {error}") from None
    return mapped
