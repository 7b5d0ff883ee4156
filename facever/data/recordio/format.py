"""RecordIO, the format of MXNet's ``.rec`` files, read without MXNet.

A file is a row of parts, each of them

    magic number, 4 bytes | kind (3 bits), length (29 bits) | content | zeros

with enough zeros to bring the next part to a multiple of 4 bytes; all numbers are
little-endian. A record is one part of kind 0. Where a record's content holds the magic
number at a multiple of 4 bytes, that word is left out and the record is cut there: into
a part of kind 1, any number of kind 2 and one of kind 3. So the magic number stands at
such places only where a part begins, and what is left of a damaged file can be read.

The format has no checksum: damage to magic numbers, kinds, lengths and filling zeros is
found (see ``scan``), damage inside the content of a record is not.

References:
    dmlc-core, include/dmlc/recordio.h and src/recordio.cc.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8, UInt32

from facever.errors import DataError, FileError

MAGIC = 0xCED7230A
MAX_CONTENT_BYTES = (1 << 29) - 1
KIND_SHIFT = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
PART_HEAD = struct.Struct("<II")


class RecordFile:
    """A memory-mapped file of records; its pickle is its path.

    Attributes:
        path: The file.
        num_bytes: The file's size.
        words: The file's content as whole numbers, but for an incomplete last word.
    """

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            FileError: If the file cannot be read or is empty.
        """
        self.path = path
        try:
            mapped = np.memmap(path, np.uint8, "r")
        except OSError as error:
            raise FileError(f"cannot read records: {path}: {error.strerror}") from None
        except ValueError:
            raise FileError(f"no records in {path}: the file is empty") from None
        self._bytes: UInt8[np.ndarray, " bytes"] = np.asarray(mapped)
        self.num_bytes = len(self._bytes)
        whole_words = self._bytes[: self.num_bytes // 4 * 4]
        self.words: UInt32[np.ndarray, " words"] = whole_words.view("<u4")

    def __reduce__(self) -> tuple[type["RecordFile"], tuple[Path]]:
        return RecordFile, (self.path,)

    def read(self, offset: int) -> bytes:
        """The content of the record that begins at a byte of the file.

        Raises:
            FileError: If no whole record begins there; the message is the reason alone
                and names the byte.
        """
        contents: list[bytes] = []
        for at, kind, content in self._parts(offset):
            if (kind in (WHOLE, FIRST)) != (not contents):
                raise FileError(f"byte {at}: expected another part of the record")
            contents.append(content.tobytes())
            if kind in (WHOLE, LAST):
                break
        return MAGIC.to_bytes(4, "little").join(contents)

    def heads(
        self, offsets: Int64[np.ndarray, " records"], num_words: int
    ) -> UInt32[np.ndarray, "records words"]:
        """The first words of the content of each record; anything where it is shorter.

        Args:
            offsets: The bytes at which records begin, as a scan found them.
            num_words: Number of words to read of each record.
        """
        first = offsets[:, None] // 4 + PART_HEAD.size // 4
        places = np.minimum(first + np.arange(num_words), len(self.words) - 1)
        heads: UInt32[np.ndarray, "records words"] = self.words[places]
        kinds = self.words[offsets // 4 + 1] >> KIND_SHIFT
        for row in np.flatnonzero(kinds != WHOLE):
            content = self.read(int(offsets[row]))[: 4 * num_words]
            heads[row] = np.frombuffer(content.ljust(4 * num_words, b"\0"), "<u4")
        return heads

    def bytes_at(
        self, places: Int64[np.ndarray, " places"]
    ) -> UInt8[np.ndarray, " places"]:
        """Single bytes of the file."""
        found: UInt8[np.ndarray, " places"] = self._bytes[places]
        return found

    def _parts(self, at: int) -> Iterator[tuple[int, int, UInt8[np.ndarray, " bytes"]]]:
        while True:
            start = at + PART_HEAD.size
            if at % 4 or not PART_HEAD.size <= start <= self.num_bytes:
                raise FileError(f"byte {at}: no record begins here")
            magic, described = PART_HEAD.unpack_from(self._bytes.data, at)
            kind, length = described >> KIND_SHIFT, described & MAX_CONTENT_BYTES
            if magic != MAGIC or kind > LAST:
                raise FileError(f"byte {at}: no record begins here")
            if start + length > self.num_bytes:
                raise FileError(f"byte {at}: the record is longer than the file")
            yield at, kind, self._bytes[start : start + length]
            at = start + (length + 3) // 4 * 4


MAX_NUMBER = (1 << 53) - 1


def read_record_index(path: Path) -> dict[int, int]:
    """The byte where each record begins, by its key.

    Args:
        path: A line a record: the key, a tab and the byte, in digits. Blank lines are
            skipped. A byte may have several keys: its record counts as often.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is not like that, or names a key again.
    """
    index: dict[int, int] = {}
    remedy = "without the file, the records are found by themselves"
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != 2 or not all(map(_is_number, fields)):
                    raise DataError(
                        f"{path}, line {number}: expected a key, a tab and a byte; "
                        f"{remedy}"
                    )
                key, offset = map(int, fields)
                if key in index:
                    raise DataError(
                        f"{path}, line {number}: key {key} is listed twice; {remedy}"
                    )
                index[key] = offset
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    return index


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= 16 and int(digits) <= MAX_NUMBER
