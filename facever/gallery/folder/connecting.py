"""Connect to a gallery's database, also where nothing may be written.

SQLite keeps a write-ahead log and its shared memory beside the database, and even a
reader has to make them. Where it may not (a read-only disk, another user's folder), it
still reads them if they are there, since somebody is writing. If nobody is, the
database alone holds everything, and is read as a file that does not change, until it
does. A log without its shared memory, left by a process that was killed, is read from a
copy: nothing that was acknowledged is missing.
"""

import logging
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Connected:
    """A connection to a database, and what it has frozen.

    Attributes:
        connection: The connection; it is for one thread.
        path: The database.
        frozen: Times and sizes of the database and its log, if they are read as files
            that do not change; None if SQLite follows the changes.
        copy: The folder that holds a copy, if that is what is read.
    """

    connection: sqlite3.Connection
    path: Path
    frozen: Stamp | None = None
    copy: "tempfile.TemporaryDirectory[str] | None" = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self.connection.in_transaction

    def is_stale(self) -> bool:
        """Whether what was read as unchanging has changed."""
        return self.frozen is not None and self.frozen != _stamp(self.path)

    def close(self) -> None:
        """Close the connection and take a copy away."""
        self.connection.close()
        if self.copy is not None:
            self.copy.cleanup()


def connect(path: Path, timeout: float) -> Connected:
    """Connect to a database, for reading alone where it cannot be written.

    Args:
        path: The database; it exists.
        timeout: How long to wait for another writer, in seconds.

    Raises:
        sqlite3.Error: If it cannot be read.
    """
    try:
        return Connected(_open(path, "mode=rw", timeout), path)
    except sqlite3.OperationalError as error:
        cannot_log = error.sqlite_errorcode in (
            sqlite3.SQLITE_READONLY_DIRECTORY,
            sqlite3.SQLITE_CANTOPEN,
        )
        if not cannot_log or not os.access(path, os.R_OK):
            raise
    stamp = _stamp(path)
    log = _log_of(path)
    if not log.exists() or not log.stat().st_size:
        return Connected(_open(path, "mode=ro&immutable=1", timeout), path, stamp)
    _log.warning(
        "%s: a writer was killed here and nothing can be written, so the gallery is "
        "read from a copy; open it once where it can be written",
        path.parent,
    )
    copy = tempfile.TemporaryDirectory(prefix="facever-gallery-")
    try:
        for part in (path, log):
            shutil.copyfile(part, Path(copy.name) / part.name)
        copied = _open(Path(copy.name) / path.name, "mode=ro", timeout)
    except BaseException:
        copy.cleanup()
        raise
    return Connected(copied, path, stamp, copy)


def _open(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # Nothing that a schema from elsewhere defines may call functions of its own.
        connection.execute("PRAGMA trusted_schema = OFF")
        # Only the first look into the database tells whether it can be read.
        connection.execute("PRAGMA application_id").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _stamp(path: Path) -> Stamp:
    return tuple(
        (found.stat().st_mtime_ns, found.stat().st_size) if found.exists() else None
        for found in (path, _log_of(path))
    )
