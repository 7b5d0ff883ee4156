"""CIFAR-10 and CIFAR-100 in the forms that are published: Python's and the binary."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from facever.data.sources.plain_pickle import PickledArray, PlainMachine
from facever.errors import FileError

_UINT8 = 8
_GZIP = b"\x1f\x8b"


def parse_idx(path: Path, content: bytes) -> UInt8[np.ndarray, "*shape"]:
    """The array of an idx file of bytes, gzipped or not.

    The header is two zeros, the type of the elements (8 for uint8), the number of
    dimensions and each of them as four bytes, the highest first.

    Args:
        path: Where the content is from, for messages.
        content: The file's content.

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


_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32

Images = UInt8[np.ndarray, "images 3 32 32"]
Labels = Int64[np.ndarray, " images"]


@dataclass(frozen=True)
class CifarForm:
    """How one of the two sets writes its labels.

    Attributes:
        python_key: The labels' key in the dict of the Python form.
        label_bytes: Number of label bytes before each image of the binary form; the
            last one counts.
        num_classes: Number of classes; every label is below it.
    """

    python_key: bytes
    label_bytes: int
    num_classes: int


CIFAR10 = CifarForm(b"labels", 1, 10)
CIFAR100 = CifarForm(b"fine_labels", 2, 100)
"""The 100 fine classes; the 20 superclasses are not read."""


def parse_python(path: Path, content: bytes, form: CifarForm) -> tuple[Images, Labels]:
    """Images and labels of a file of the Python form.

    The file is a pickle of a dict. It is read as data; nothing in it is run.

    Args:
        path: Where the content is from, for messages.
        content: The file's content.
        form: How the set writes its labels.

    Returns:
        Images, channels first, and their labels.

    Raises:
        FileError: If the file is damaged or holds anything else.
    """
    value = _CifarMachine(path, content).run()
    if not isinstance(value, dict):
        raise FileError(f"{path} holds no dict, so it is no file of CIFAR")
    data, labels = value.get(b"data"), value.get(form.python_key)
    if (
        not isinstance(data, PickledArray)
        or data.uint8 is None
        or len(data.shape) != 2
        or data.shape[1] != _PIXELS
    ):
        raise FileError(f"{path} has no array 'data' of rows of {_PIXELS} bytes")
    if not isinstance(labels, list) or len(labels) != data.shape[0]:
        raise FileError(
            f"{path} has no list {form.python_key.decode()!r} of {data.shape[0]} labels"
        )
    if not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise FileError(f"{path} has a label that is no number in [0, 256)")
    rows = np.frombuffer(data.uint8, np.uint8)
    rows = rows.reshape(data.shape, order="F" if data.by_columns else "C")
    return rows.reshape(-1, *_SHAPE), _checked(path, np.array(labels, np.int64), form)


def parse_binary(path: Path, content: bytes, form: CifarForm) -> tuple[Images, Labels]:
    """Images and labels of a file of the binary form: label bytes, then 3,072 pixels.

    Args:
        path: Where the content is from, for messages.
        content: The file's content.
        form: How the set writes its labels.

    Returns:
        Images, channels first, and their labels.

    Raises:
        FileError: If the size is no multiple of a record's, or a label is too large.
    """
    size = form.label_bytes + _PIXELS
    if not content or len(content) % size:
        raise FileError(
            f"{path} must hold records of {size} bytes, got {len(content)} bytes"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, form.label_bytes - 1].astype(np.int64)
    images = records[:, form.label_bytes :].reshape(-1, *_SHAPE)
    return images, _checked(path, labels, form)


def _checked(path: Path, labels: Labels, form: CifarForm) -> Labels:
    if labels.size and labels.max() >= form.num_classes:
        raise FileError(
            f"{path}: labels must be below {form.num_classes}, got {labels.max()}"
        )
    return labels


class _CifarMachine(PlainMachine):
    """Knows dicts with text as keys, and arrays of uint8 in rows and columns, too."""

    expected = "a dict of CIFAR's arrays, lists and text"

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(path, content)
        self.operations |= {
            b"}": lambda: self.push({}),  # EMPTY_DICT
            b"s": lambda: self._set([self.pop(), self.pop()][::-1]),  # SETITEM
            b"u": lambda: self._set(self.pop_to_mark()),  # SETITEMS
        }

    def _set(self, items: list[object]) -> None:
        target = self.pop()
        if not isinstance(target, dict) or len(items) % 2:
            self.refuse("something is put into what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Python 3 wrote text where Python 2 wrote bytes.
            key = key.encode() if isinstance(key, str) else key
            if not isinstance(key, bytes):
                self.refuse("a key is no text")
            target[key] = value
        self.push(target)

    def checked_shape(self, num_elements: int, shape: object) -> tuple[int, ...]:
        match shape:
            case (int() as rows, int() as columns) if (
                rows >= 0 and columns >= 0 and rows * columns == num_elements
            ):
                return rows, columns
        self.refuse(f"an array of {num_elements} bytes has another shape")
