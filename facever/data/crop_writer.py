"""Write a crop store so that a kill at any moment loses a little work and no more.

Work in progress stands in ``.partial``: ``grown.npy``, the crops in the order of their
completion behind the room for a header, and ``journal.jsonl``, a line a photo, written
after that photo's crops are on the disk. A torn end of either is cut on the next run.
To finish, the other files are written there too, the folder is renamed to ``.ready``
and its files are moved into place one by one; a kill in between is made good by the
next writer. Where the crops already stand in the order of the list nothing is copied.
"""

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from jaxtyping import Float64, UInt8

from facever.data.crops import (
    CROP_SHAPE,
    CROPS_FILE,
    FAILURE_COLUMNS,
    FAILURES_FILE,
    PARTIAL_FOLDER,
    READY_FOLDER,
    RECORD_COLUMNS,
    RECORDS_FILE,
    STORE_FILE,
    CropStore,
    label_identities,
    write_rows,
)
from facever.errors import DataError, FileError, MismatchError

_GROWN_FILE = "grown.npy"
_JOURNAL_FILE = "journal.jsonl"
_HEADER_BYTES = 128
_CROP_BYTES = CROP_SHAPE[0] * CROP_SHAPE[1] * CROP_SHAPE[2]
_STORE_FILES = (CROPS_FILE, RECORDS_FILE, FAILURES_FILE, STORE_FILE)
_COPY_ROWS = 256


@dataclass(frozen=True)
class _Photo:
    """What became of one photo: its crops' rows and records, or why there is none."""

    rows: range
    numbers: list[list[float]]
    reason: str | None = None


class CropWriter:
    """Adds crops to a new store, to one that was left unfinished, or to a finished one.

    The photos of the store are always those of ``listing`` that are done, in its order,
    whatever the order in which they were added.

        with CropWriter(folder, settings, listing) as writer:
            for source in writer.missing:
                writer.add(source, crops, landmarks, scores)  # or writer.fail(...)
                writer.commit()
            store = writer.finish()

    Attributes:
        missing: Sources of ``listing`` that are not done yet, in its order.
    """

    missing: list[str]

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        listing: Sequence[tuple[str, str]],
    ) -> None:
        """Open the folder for writing, and make it if need be.

        Args:
            folder: Of the store.
            settings: How crops are made, plain values; a store has one setting only.
            listing: Source and identity of every photo, each source once.

        Raises:
            MismatchError: If the folder holds crops that were made differently.
            DataError: If it holds photos that are not listed, or one is listed twice.
            FileError: If the folder cannot be written or holds something else, or if
                another process is writing to it.
        """
        self._folder = folder
        self._settings = dict(settings)
        self._listing = dict(listing)
        if len(self._listing) != len(listing):
            raise DataError("the list of photos names a photo twice")
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
        self._crops_file: BinaryIO | None = None
        self._journal_file: BinaryIO | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; what was committed is kept for the next writer."""
        if self._crops_file is not None and self._journal_file is not None:
            self._crops_file.close()
            self._journal_file.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._crops_file, self._journal_file, self._lock = None, None, -1

    def add(
        self,
        source: str,
        crops: UInt8[np.ndarray, "faces 112 96 3"],
        landmarks: Float64[np.ndarray, "faces 5 2"],
        scores: Float64[np.ndarray, " faces"],
    ) -> None:
        """Add the crops of one photo, at least one; ``commit`` makes them lasting."""
        assert len(crops)
        assert source in self._listing
        assert source not in self._done
        self._begin()
        assert self._crops_file is not None
        with _writing(self._folder):
            self._crops_file.write(np.ascontiguousarray(crops).tobytes())
        numbers = [
            [*map(float, points.ravel()), float(score)]
            for points, score in zip(landmarks, scores, strict=True)
        ]
        rows = range(self._num_grown, self._num_grown + len(crops))
        self._num_grown = rows.stop
        self._done[source] = _Photo(rows, numbers)
        self._uncommitted.append({"source": source, "faces": numbers})

    def fail(self, source: str, reason: str) -> None:
        """Put a photo that gave no crop into the ledger."""
        assert source in self._listing
        assert source not in self._done
        self._begin()
        self._done[source] = _Photo(range(0), [], reason)
        self._uncommitted.append({"source": source, "reason": reason})

    def commit(self) -> None:
        """Bring all that was added to the disk, crops before journal."""
        if not self._uncommitted:
            return
        assert self._crops_file is not None
        assert self._journal_file is not None
        with _writing(self._folder):
            self._crops_file.flush()
            os.fsync(self._crops_file.fileno())
            lines = "".join(json.dumps(line) + "\n" for line in self._uncommitted)
            self._journal_file.write(lines.encode())
            self._journal_file.flush()
            os.fsync(self._journal_file.fileno())
        self._uncommitted.clear()

    def finish(self) -> CropStore:
        """Put the store in place and open it; with nothing new, only open it."""
        self.commit()
        listing = [pair for pair in self._listing.items() if pair[0] in self._done]
        fingerprint = fingerprint_of(listing)
        if not self._begun and self._old and self._old.fingerprint == fingerprint:
            self.close()
            return self._old
        self._begin()
        with _writing(self._folder):
            self._write_final_files(listing, fingerprint)
            self._close_partial()
            os.replace(self._folder / PARTIAL_FOLDER, self._folder / READY_FOLDER)
            _move_into_place(self._folder)
        self.close()
        return CropStore.open(self._folder)

    def _open(self) -> None:
        self._done: dict[str, _Photo] = {}
        self._uncommitted: list[dict[str, Any]] = []
        self._num_grown = 0
        self._begun = False
        with _writing(self._folder):
            _move_into_place(self._folder)
        self._old = self._open_old()
        if (self._folder / PARTIAL_FOLDER).exists():
            self._begin()
        strangers = [source for source in self._done if source not in self._listing]
        if strangers:
            raise DataError(
                f"{self._folder} holds {len(strangers)} photos that are not in the "
                f"source, such as {strangers[0]}: write into a new folder"
            )
        self.missing = [source for source in self._listing if source not in self._done]

    def _open_old(self) -> CropStore | None:
        if not (self._folder / STORE_FILE).exists():
            others = [p.name for p in self._folder.iterdir() if p.name[0] != "."]
            if others:
                raise FileError(
                    f"{self._folder} is not empty and not a crop store (it holds "
                    f"{others[0]}): write into a new folder"
                )
            return None
        store = CropStore.open(self._folder)
        self._check_settings(store.settings)
        for row, source in enumerate(store.sources):
            photo = photo_of(source)
            numbers = [*store.landmarks[row].ravel().tolist(), float(store.scores[row])]
            known = self._done.get(photo, _Photo(range(row, row), []))
            rows = range(known.rows.start, row + 1)
            self._done[photo] = _Photo(rows, [*known.numbers, numbers])
        for source, reason in store.failures.items():
            self._done[source] = _Photo(range(0), [], reason)
        self._old_sources = set(self._done)
        return store

    def _check_settings(self, found: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(self._settings))
        if found == wanted:
            return
        different = [
            f"{key} {found.get(key)!r} there, {wanted.get(key)!r} now"
            for key in sorted({*found, *wanted})
            if found.get(key) != wanted.get(key)
        ]
        raise MismatchError(
            f"{self._folder} holds crops made with other settings "
            f"({'; '.join(different)}): use those settings or write into a new folder"
        )

    def _begin(self) -> None:
        """Start or take up the work in ``.partial``."""
        if self._begun:
            return
        partial = self._folder / PARTIAL_FOLDER
        grown, final = partial / _GROWN_FILE, partial / CROPS_FILE
        with _writing(self._folder):
            partial.mkdir(exist_ok=True)
            if final.exists() and not grown.exists():
                os.replace(final, grown)
            final.unlink(missing_ok=True)
            grown.touch()
            (partial / _JOURNAL_FILE).touch()
            self._read_journal(partial / _JOURNAL_FILE, grown.stat().st_size)
            os.truncate(grown, _HEADER_BYTES + self._num_grown * _CROP_BYTES)
            self._crops_file = grown.open("ab")
            self._journal_file = (partial / _JOURNAL_FILE).open("ab")
            if not self._journal_file.tell():
                first = json.dumps({"settings": self._settings}) + "\n"
                self._journal_file.write(first.encode())
        self._begun = True

    def _read_journal(self, path: Path, grown_bytes: int) -> None:
        good = 0
        room = (grown_bytes - _HEADER_BYTES) // _CROP_BYTES
        with path.open("rb") as file:
            for number, line in enumerate(file):
                entry = _parse_line(line)
                if entry is None:
                    break
                if number == 0:
                    self._check_settings(entry["settings"])
                else:
                    numbers = entry.get("faces", [])
                    rows = range(self._num_grown, self._num_grown + len(numbers))
                    if rows.stop > max(room, 0):
                        break
                    self._num_grown = rows.stop
                    reason = entry.get("reason")
                    self._done[entry["source"]] = _Photo(rows, numbers, reason)
                good += len(line)
        os.truncate(path, good)

    def _write_final_files(
        self, listing: Sequence[tuple[str, str]], fingerprint: str
    ) -> None:
        partial = self._folder / PARTIAL_FOLDER
        kept = [(source, identity, self._done[source]) for source, identity in listing]
        with_crops = [
            (crop_source(source, face), identity, numbers)
            for source, identity, photo in kept
            for face, numbers in enumerate(photo.numbers)
        ]
        _, labels = label_identities([identity for _, identity, _ in with_crops])
        write_rows(
            partial / RECORDS_FILE,
            RECORD_COLUMNS,
            (
                [row, identity, labels[row], source, *map(repr, numbers)]
                for row, (source, identity, numbers) in enumerate(with_crops)
            ),
        )
        failures = [(source, p.reason) for source, _, p in kept if p.reason is not None]
        write_rows(partial / FAILURES_FILE, FAILURE_COLUMNS, failures)
        about = {
            "settings": self._settings,
            "fingerprint": fingerprint,
            "num_crops": len(with_crops),
            "num_failures": len(failures),
        }
        (partial / STORE_FILE).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        self._write_crops([(source, photo.rows) for source, _, photo in kept])

    def _write_crops(self, kept: Sequence[tuple[str, range]]) -> None:
        old = self._old_sources if self._old else set()
        rows = [(source in old, row) for source, rows in kept for row in rows]
        partial = self._folder / PARTIAL_FOLDER
        grown, final = partial / _GROWN_FILE, partial / CROPS_FILE
        if rows == [(False, row) for row in range(self._num_grown)]:
            with grown.open("r+b") as file:
                file.write(_header(len(rows)))
                _sync(file)
            os.replace(grown, final)
            return
        new = np.memmap(
            grown, np.uint8, "r", _HEADER_BYTES, (self._num_grown, *CROP_SHAPE)
        )
        with final.open("wb") as file:
            file.write(_header(len(rows)))
            for is_old, row in rows:
                crops = self._old.crops if is_old and self._old else new
                file.write(crops[row].tobytes())
            _sync(file)

    def _close_partial(self) -> None:
        assert self._crops_file is not None
        assert self._journal_file is not None
        self._crops_file.close()
        self._journal_file.close()


def fingerprint_of(listing: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of a list of sources and identities, in its order."""
    digest = hashlib.sha256()
    for pair in listing:
        digest.update(json.dumps(pair).encode())
    return digest.hexdigest()


def crop_source(photo: str, face: int) -> str:
    """The source of a photo's crop: the photo itself, then ``photo#2`` and so on."""
    return photo if face == 0 else f"{photo}#{face + 1}"


def photo_of(source: str) -> str:
    """The photo that a crop was cut from."""
    photo, mark, number = source.rpartition("#")
    return photo if mark and number.isascii() and number.isdigit() else source


def _header(num_crops: int) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": "|u1", "fortran_order": False, "shape": (num_crops, *CROP_SHAPE)},
    )
    header = file.getvalue()
    assert len(header) == _HEADER_BYTES
    return header


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """One journal line, or None where the journal is torn."""
    try:
        return dict(json.loads(line)) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _move_into_place(folder: Path) -> None:
    ready = folder / READY_FOLDER
    if not ready.exists():
        return
    for name in _STORE_FILES:
        if (ready / name).exists():
            os.replace(ready / name, folder / name)
    shutil.rmtree(ready)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _lock(folder: Path) -> int:
    """Hold the folder for this process; the system lets go of it at any end."""
    if sys.platform == "win32":
        return -1
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FileError(f"another process is writing to {folder}") from None
    return handle


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"cannot write to {folder}: {error.strerror or error}; what was done "
            "before is kept, run the same command again"
        ) from error
