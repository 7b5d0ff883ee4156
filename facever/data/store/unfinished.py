"""Crops on their way into a store, on the disk at every moment.

Two files grow side by side: ``grown.npy``, the crops in the order of their completion
behind the room for a header, and ``journal.jsonl``, the settings and then a line a
photo, written after that photo's crops are on the disk. What a kill tore off at the end
of either is cut when the work is taken up again.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from facever.data.store.checksums import crop_checksums, write_checksums
from facever.data.store.crop_bytes import (
    BLOCK_CROPS,
    HEADER_BYTES,
    CropsFile,
    crops_header,
    read_checked_bytes,
    read_crop_bytes,
)
from facever.data.store.crop_store import CropStore, settings_template
from facever.data.store.folder import CROPS_FILE
from facever.data.store.tables import FACE_COLUMNS, POINT_COLUMNS
from facever.errors import MismatchError

_GROWN_FILE = "grown.npy"
_JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True)
class PhotoEntry:
    """What became of one photo.

    Attributes:
        rows: The rows of the photo's crops.
        numbers: The numbers of each crop, as ``crop_numbers`` gives them.
        reason: The reason why the photo has no crop; None if it has one.
    """

    rows: range
    numbers: list[list[float]]
    reason: str | None = None


class UnfinishedCrops:
    """The growing files in a folder.

    Attributes:
        photos: The photos that are done, by source.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Take up the work in a folder, or start it there.

        Raises:
            MismatchError: If the store was started with other settings.
        """
        self.photos: dict[str, PhotoEntry] = {}
        self._num_crops = 0
        self._crop_shape = settings_template(folder, settings).shape
        self._crop_bytes = math.prod(self._crop_shape)
        self._folder = folder
        self._grown_path = folder / _GROWN_FILE
        self._final_path = folder / CROPS_FILE
        journal = folder / _JOURNAL_FILE
        folder.mkdir(exist_ok=True)
        if self._final_path.exists() and not self._grown_path.exists():
            os.replace(self._final_path, self._grown_path)
        self._final_path.unlink(missing_ok=True)
        self._grown_path.touch()
        journal.touch()
        self._read_journal(journal, settings)
        os.truncate(self._grown_path, HEADER_BYTES + self._num_crops * self._crop_bytes)
        self._grown: BinaryIO = self._grown_path.open("ab")
        self._journal: BinaryIO = journal.open("ab")
        self._lines: list[dict[str, Any]] = []
        if not self._journal.tell():
            self._lines.append({"settings": settings})

    def add(
        self,
        source: str,
        crops: UInt8[np.ndarray, "faces high wide 3"],
        numbers: list[list[float]],
    ) -> None:
        """Append the crops of a photo."""
        self._grown.write(np.ascontiguousarray(crops).tobytes())
        rows = range(self._num_crops, self._num_crops + len(crops))
        self._num_crops = rows.stop
        self.photos[source] = PhotoEntry(rows, numbers)
        self._lines.append({"source": source, "faces": numbers})

    def fail(self, source: str, reason: str) -> None:
        """Append a photo that gave no crop."""
        self.photos[source] = PhotoEntry(range(0), [], reason)
        self._lines.append({"source": source, "reason": reason})

    def commit(self) -> None:
        """Bring what was added to the disk: the crops, and then the journal."""
        _sync(self._grown)
        lines = "".join(json.dumps(line) + "\n" for line in self._lines)
        self._journal.write(lines.encode())
        _sync(self._journal)
        self._lines.clear()

    def close(self) -> None:
        """Close the files."""
        self._grown.close()
        self._journal.close()

    def arrange(self, order: Sequence[tuple[bool, int]], old: CropStore | None) -> None:
        """Make the final array, and the checksums of its crops.

        Where the order is that of the growing file it only gets its header and name.

        Args:
            order: For each crop whether it is in the old store or here, and its row
                there.
            old: The store to be replaced.

        Raises:
            DataError: If a crop of the old store is damaged.
        """
        self.commit()
        blocks = [
            order[start : start + BLOCK_CROPS]
            for start in range(0, len(order), BLOCK_CROPS)
        ]
        if list(order) != [(False, row) for row in range(self._num_crops)]:
            with CropsFile(
                self._folder, len(order), self._crop_shape, compressed=False
            ) as final:
                for block in blocks:
                    final.add(self._gather(block, old))
                final.finish()
            return
        checksums = [crop_checksums(self._gather(block, None)) for block in blocks]
        write_checksums(self._folder, checksums)
        with self._grown_path.open("r+b") as file:
            file.write(crops_header(len(order), self._crop_shape))
            _sync(file)
        os.replace(self._grown_path, self._final_path)

    def _gather(
        self, block: Sequence[tuple[bool, int]], old: CropStore | None
    ) -> list[bytes | memoryview]:
        shape = (self._num_crops, *self._crop_shape)
        grown = np.memmap(self._grown_path, np.uint8, "r", HEADER_BYTES, shape)
        here = np.array([row for is_old, row in block if not is_old], np.int64)
        there = np.array([row for is_old, row in block if is_old], np.int64)
        new_ones = iter(read_crop_bytes(grown, here))
        old_ones = iter(read_checked_bytes(old, there) if old else [])
        return [next(old_ones if is_old else new_ones) for is_old, _ in block]

    def _read_journal(self, path: Path, settings: Mapping[str, Any]) -> None:
        room = (self._grown_path.stat().st_size - HEADER_BYTES) // self._crop_bytes
        good = 0
        with path.open("rb") as file:
            for number, line in enumerate(file):
                entry = _parse_line(line)
                if entry is None:
                    break
                if number == 0:
                    check_settings(path.parent.parent, entry["settings"], settings)
                else:
                    numbers = entry.get("faces", [])
                    rows = range(self._num_crops, self._num_crops + len(numbers))
                    if rows.stop > max(room, 0) or not all(map(_is_whole, numbers)):
                        break
                    self._num_crops = rows.stop
                    reason = entry.get("reason")
                    self.photos[entry["source"]] = PhotoEntry(rows, numbers, reason)
                good += len(line)
        os.truncate(path, good)


def check_settings(
    folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Refuse to mix crops that were made in different ways.

    Raises:
        MismatchError: If the settings differ; the message says in what.
    """
    wanted = json.loads(json.dumps(wanted))
    different = [
        f"{key} {found.get(key)!r} there, {wanted.get(key)!r} now"
        for key in sorted({*found, *wanted})
        if found.get(key) != wanted.get(key)
    ]
    if different:
        raise MismatchError(
            f"{folder} holds crops made with other settings ({'; '.join(different)}): "
            "use those settings or write into a new folder"
        )


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """One journal line, or None where the journal is torn."""
    try:
        return dict(json.loads(line)) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _is_whole(numbers: list[float]) -> bool:
    """Whether a crop has all its numbers; an older version wrote fewer."""
    return len(numbers) == len(POINT_COLUMNS) + len(FACE_COLUMNS)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
