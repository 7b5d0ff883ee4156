"""An SQLite database in a folder of its own, whose changes survive a kill.

Each change is one transaction in a write-ahead log that is synced at every commit: what
was acknowledged is on disk, and what was not leaves no trace. Readers see the last
whole state while a writer writes; a second writer waits for the first. The write-ahead
log needs shared memory, so the folder must be on a disk of the machine that uses it,
not on a network share.

Whoever may not write in the folder can still read it: see ``connecting``.
"""

import secrets
import shutil
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from facever.errors import FileError, GalleryError
from facever.files import put_in_place
from facever.gallery.folder.connecting import connect

DATABASE_NAME = "gallery.sqlite"
_APPLICATION_ID = 0x66637667  # "fcvg": tells a gallery from any other SQLite file
_BUSY_SECONDS = 30.0
_LONGEST_REASON = 120

Values = Sequence[Any] | Mapping[str, Any]


class Database:
    """A connection to a gallery's database; for one thread."""

    def __init__(self, folder: Path) -> None:
        """Open the database in a folder.

        Raises:
            FileError: If the folder is missing, not a gallery, damaged or unreadable.
        """
        path = folder / DATABASE_NAME
        if not folder.exists():
            raise FileError(f"{folder}: no such gallery; make one with gallery create")
        if not path.is_file():
            raise FileError(
                f"{folder}: not a gallery (no {DATABASE_NAME} in it); name the folder "
                "that was given to gallery add"
            )
        self.folder = folder
        self._path = path
        with self._as_facever_errors():
            self._connected = connect(path, _BUSY_SECONDS)
        try:
            if self.execute("PRAGMA application_id") != [(_APPLICATION_ID,)]:
                raise FileError(
                    f"{folder}: {DATABASE_NAME} is not a gallery's database; name a "
                    "folder that gallery add made"
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._connected.close()

    def execute(self, statement: str, values: Values = ()) -> list[Any]:
        """Run one statement and give all its rows.

        Raises:
            FileError: If the database is damaged, or its disk full or read-only.
            GalleryError: If another process has kept on writing for too long.
        """
        with self._as_facever_errors():
            return self._connection().execute(statement, values).fetchall()

    def read(
        self, statement: str, values: Values, num_rows: int
    ) -> Iterator[list[Any]]:
        """Run a query and give its rows in blocks of at most ``num_rows``."""
        with self._as_facever_errors():
            cursor = self._connection().execute(statement, values)
        while True:
            with self._as_facever_errors():
                rows = cursor.fetchmany(num_rows)
            if not rows:
                return
            yield rows

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make all changes of the block in one transaction, on disk when it ends."""
        with self._transaction("IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one whole state throughout the block, whoever writes meanwhile.

        Within another block, it is that block's state.
        """
        if self._connected.in_transaction:
            yield
            return
        with self._transaction("DEFERRED"):
            yield

    def damaged(self, reason: str, remedy: str = "") -> FileError:
        """The error to raise for content that no gallery would have written.

        Args:
            reason: What is wrong.
            remedy: What helps, beside a copy or a new gallery.
        """
        # SQLite may quote a whole table, with its line breaks.
        reason = textwrap.shorten(reason, _LONGEST_REASON, placeholder="...")
        return FileError(
            f"{self.folder}: {DATABASE_NAME} is damaged ({reason}); this changed "
            f"nothing; {remedy}{', ' if remedy else ''}restore the gallery from a copy "
            "or enroll the photos into a new one"
        )

    def _connection(self) -> sqlite3.Connection:
        """The connection; a new one if a state that was frozen is no more."""
        if not self._connected.in_transaction and self._connected.is_stale():
            self._connected.close()
            self._connected = connect(self._path, _BUSY_SECONDS)
        return self._connected.connection

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self.execute(f"BEGIN {kind}")
        try:
            yield
            self.execute("COMMIT")
        finally:
            if self._connected.in_transaction:
                self.execute("ROLLBACK")

    @contextmanager
    def _as_facever_errors(self) -> Iterator[None]:
        """Turn what SQLite says of the disk and of other processes into our errors."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # Text that is not UTF-8 is reported by Python, without a code.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise GalleryError(
                    f"{self.folder}: another process has been writing for over "
                    f"{_BUSY_SECONDS:g} s; try again when it is done"
                ) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self.damaged(str(error)) from error
            if code == sqlite3.SQLITE_READONLY:
                raise FileError(
                    f"{self.folder}: this gallery can be read, but not changed: the "
                    "folder and what is in it cannot be written by this user, or are "
                    "on a read-only disk"
                ) from error
            raise FileError(
                f"{self.folder}: {DATABASE_NAME} cannot be used ({error}); check the "
                "disk and its permissions"
            ) from error


def create_database(folder: Path, schema: str) -> None:
    """Make a folder with a database of this schema, as a whole or not at all.

    Args:
        folder: A folder that does not exist yet, or is empty. If two processes make the
            same one, one of them is refused.
        schema: SQL statements that make the tables.

    Raises:
        GalleryError: If there is a gallery already.
        FileError: If the folder holds something else, or cannot be written.
    """
    building = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        building.mkdir(parents=True)
        connection = sqlite3.connect(building / DATABASE_NAME, isolation_level=None)
        with closing(connection):
            # A page of 16 KiB holds seven embeddings of 512 floats; the default of
            # 4 KiB holds one and leaves almost half of itself empty.
            connection.executescript(
                f"PRAGMA page_size = 16384; PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA journal_mode = WAL; BEGIN; {schema} COMMIT;"
            )
        # Takes the place of an empty folder, but never of one with something in it.
        put_in_place(building, folder)
    except (OSError, sqlite3.OperationalError) as error:
        shutil.rmtree(building, ignore_errors=True)
        if (folder / DATABASE_NAME).exists():
            raise GalleryError(f"{folder}: there is a gallery already") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise FileError(
            f"{folder}: cannot make a gallery here ({reason}); name a folder that is "
            "not there yet"
        ) from error
