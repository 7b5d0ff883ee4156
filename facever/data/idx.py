"""The idx form of MNIST and its kin: a header of sizes, then bytes."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from facever.errors import FileError

_UINT8 = 8
_GZIP = b"\x1f\x8b"


def parse_idx(path: Path, content: bytes) -> UInt8[np.ndarray, "*shape"]:
    """The array of an idx file of bytes, gzipped or not.

    The header is two zeros, the type of the elements (8 for uint8), the number of
    dimensions and each of them as four bytes, the highest first.

    Args:
        path: Where the content is from, for messages.
        content: Of the file.

    Returns:
        The array, read only.

    Raises:
        FileError: If the content is no idx file of uint8 or is not whole.

    References:
        LeCun et al., The MNIST database of handwritten digits, "file formats".
    """
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise FileError(f"{path} is a damaged gzip file; fetch it again") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise FileError(
            f"{path} is no idx file of bytes: it begins with {content[:4]!r}"
        )
    num_dimensions = content[3]
    start = 4 + 4 * num_dimensions
    shape = tuple(
        int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)
    )
    if len(content) != start + math.prod(shape):
        raise FileError(
            f"{path} declares {' x '.join(map(str, shape))} bytes, but "
            f"{max(0, len(content) - start)} follow its header"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
