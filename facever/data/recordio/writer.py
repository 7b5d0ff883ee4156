"""Write ``.rec`` and ``.idx`` files that this library, MXNet and InsightFace read."""

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from facever.data.recordio.format import (
    FIRST,
    KIND_SHIFT,
    LAST,
    MAGIC,
    MAX_CONTENT_BYTES,
    MIDDLE,
    PART_HEAD,
    WHOLE,
)
from facever.errors import DataError
from facever.files import whole_file

HEAD = struct.Struct("<IfQQ")
LABEL_BYTES = 4
MAX_LABEL = 1 << 24

_MAGIC = MAGIC.to_bytes(4, "little")


@dataclass(frozen=True)
class RecordHeader:
    """What stands before the photo in a record (MXNet's ``IRHeader``).

    Attributes:
        key: The record's name in the index.
        label: The photo's label; 0 where there are several.
        labels: The photo's labels, where there are several.
        second_key: The higher bits of a longer key; 0 in every file known to us.
    """

    key: int
    label: float = 0.0
    labels: tuple[float, ...] = ()
    second_key: int = 0

    @classmethod
    def of(cls, key: int, *labels: int) -> "RecordHeader":
        """A header with several labels, all whole numbers."""
        return cls(key, labels=tuple(map(float, labels)))

    def pack(self) -> bytes:
        """The bytes; labels are rounded to 32 bits."""
        num_labels = len(self.labels)
        head = HEAD.pack(num_labels, self.label, self.key, self.second_key)
        return head + struct.pack(f"<{num_labels}f", *self.labels)


def unpack_record(content: bytes) -> tuple[RecordHeader, bytes]:
    """The header of a record and what follows it.

    Raises:
        DataError: If the content is too short for its header.
    """
    if len(content) < HEAD.size:
        raise DataError(
            f"expected a header of {HEAD.size} bytes, got {len(content)} bytes"
        )
    num_labels, label, key, second_key = HEAD.unpack_from(content)
    start = HEAD.size + LABEL_BYTES * num_labels
    if start > len(content):
        raise DataError(
            f"expected {num_labels} labels, got {len(content) - HEAD.size} bytes"
        )
    labels = struct.unpack_from(f"<{num_labels}f", content, HEAD.size)
    return RecordHeader(key, label, labels, second_key), content[start:]


class RecordWriter:
    """Writes ``name.rec`` and ``name.idx``, which appear when all is written.

        with RecordWriter(Path("train.rec")) as writer:
            writer.add(RecordHeader(key=1, label=7.0), jpeg)

    The index has a line a record: the key, a tab, and the byte where the record begins.
    """

    def __init__(self, path: Path) -> None:
        """Open the files under temporary names.

        Args:
            path: The ``.rec`` file; the index stands beside it.

        Raises:
            FileError: If the two files cannot be written there.
        """
        self._index_path = path.with_suffix(".idx")
        with ExitStack() as stack:
            # The index is renamed last: records without one can be read all the same.
            index = stack.enter_context(whole_file(self._index_path))
            records = stack.enter_context(whole_file(path))
            self._index = stack.enter_context(index.open("w", encoding="ascii"))
            self._records = stack.enter_context(records.open("wb"))
            self._stack = stack.pop_all()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is None:
            # Never new records beside the index of old ones.
            self._index_path.unlink(missing_ok=True)
        return self._stack.__exit__(kind, error, trace)

    def add(self, header: RecordHeader, payload: bytes) -> None:
        """Append a record.

        Args:
            header: The record's header, with a key that this file has not used yet.
            payload: An encoded photo; empty for a record that describes others.

        Raises:
            DataError: If the record is longer than the format can say.
        """
        content = header.pack() + payload
        if len(content) > MAX_CONTENT_BYTES:
            raise DataError(
                f"record {header.key}: a record has at most {MAX_CONTENT_BYTES} bytes, "
                f"got {len(content)}"
            )
        self._index.write(f"{header.key}\t{self._records.tell()}\n")
        cuts = _places_of_magic(content)
        edges = [-len(_MAGIC), *cuts, len(content)]
        for number, (cut, stop) in enumerate(pairwise(edges)):
            kind = _kind(number, len(cuts))
            piece = content[cut + len(_MAGIC) : stop]
            self._records.write(PART_HEAD.pack(MAGIC, kind << KIND_SHIFT | len(piece)))
            self._records.write(piece)
        self._records.write(bytes(-len(content) % 4))


def write_record_photos(
    path: Path, photos: Iterable[tuple[int, bytes]], aligned: bool = True
) -> None:
    """Write photos in InsightFace's layout.

    The photos have the keys 1 to N. Record 0 says which records describe identities,
    the first and the one behind the last; each of these says which photos are the
    identity's, in the same way. All labels are 32-bit floats, exact up to 2^24.

    Args:
        path: The ``.rec`` file.
        photos: Label and encoded content of each photo; photos of one label follow each
            other.
        aligned: Whether the photos are crops already, so that InsightFace does not warp
            them.

    Raises:
        DataError: If a label comes back after another one, or is not in [0, 2^24].
        FileError: If the files cannot be written.
    """
    starts: dict[int, int] = {}
    key = 0
    with RecordWriter(path) as writer:
        for key, (label, photo) in enumerate(photos, start=1):
            if label not in starts:
                starts[label] = key
            elif label != next(reversed(starts)):
                raise DataError(
                    f"{path}: photos must be sorted by label, got label {label} again "
                    f"at photo {key}"
                )
            if not 0 <= label <= MAX_LABEL:
                raise DataError(
                    f"{path}: labels must be in [0, {MAX_LABEL}], got {label} at photo "
                    f"{key}"
                )
            writer.add(RecordHeader.of(key, label, int(aligned)), photo)
        first = key + 1
        writer.add(RecordHeader.of(0, first, first + len(starts)), b"")
        ranges = pairwise([*starts.values(), first])
        for identity, limits in enumerate(ranges, start=first):
            writer.add(RecordHeader.of(identity, *limits), b"")


def _places_of_magic(content: bytes) -> list[int]:
    places = []
    at = content.find(_MAGIC)
    while at >= 0:
        if at % 4 == 0:
            places.append(at)
        at = content.find(_MAGIC, at + 1)
    return places


def _kind(number: int, num_cuts: int) -> int:
    """The kind of one of the parts of a record."""
    if num_cuts == 0:
        return WHOLE
    if number == 0:
        return FIRST
    return LAST if number == num_cuts else MIDDLE
