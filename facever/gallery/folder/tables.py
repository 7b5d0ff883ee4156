"""The tables of a gallery's SQLite database, and its metadata in one of them."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from facever.errors import FileError
from facever.gallery.checksums import meta_checksum
from facever.gallery.folder.database import Database, create_database
from facever.gallery.meta import GalleryMeta, meta_from_json

FORMAT = 3

# A number stands for one embedding for good: it is never given twice, and an embedding
# that takes another's place gets a new one. What is in memory or in an index file is
# brought up to date by the numbers above its last and by the changes since.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    origin TEXT,
    added TEXT NOT NULL,
    fields TEXT NOT NULL,
    embedding BLOB NOT NULL,
    entry_checksum INTEGER NOT NULL,
    embedding_checksum INTEGER NOT NULL,
    UNIQUE (name, source)
);
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL
);
CREATE TRIGGER removed AFTER DELETE ON entries BEGIN
    INSERT INTO changes (number) VALUES (old.number);
END;
CREATE TRIGGER renamed AFTER UPDATE OF name ON entries BEGIN
    INSERT INTO changes (number) VALUES (old.number);
END;
"""

_CHECKSUM = "checksum"


def create_tables(folder: Path, meta: GalleryMeta) -> None:
    """Make an empty gallery in a folder that does not exist yet, or is empty.

    Raises:
        GalleryError: If there is a gallery already.
        FileError: If the folder holds something else, or cannot be written.
    """
    rows = ", ".join(
        f"({_quoted(key)}, {_quoted(value)})" for key, value in _meta_rows(meta)
    )
    create_database(folder, f"{_SCHEMA} INSERT INTO meta VALUES {rows};")


def check_schema(database: Database) -> None:
    """Refuse a database whose tables are not exactly those that facever makes.

    A trigger or a view that somebody added would act for whoever opens the gallery.
    This must be the first thing that is read from a database.

    Raises:
        FileError: If anything is added, missing or changed; the message names it.
        GalleryError: If another version of facever made it.
    """
    rows = database.execute("SELECT type || ' ' || name, sql FROM sqlite_schema")
    found, ours = dict(rows), _schema()
    if found == ours and len(rows) == len(ours):
        return
    added = sorted(found.keys() - ours)
    # This table is the same in all formats, so the format can be looked up in it.
    if not added and found.get("table meta") == ours["table meta"]:
        read_database_meta(database)
    raise FileError(
        f"{database.folder}: not opened, since facever makes no database like this "
        f"one: {_difference(found, ours, added)}, and what somebody adds to a database "
        "can act on its own; take the gallery from somebody whom you trust, or enroll "
        "the photos into a new one"
    )


def read_database_meta(database: Database) -> GalleryMeta:
    """Read the meta table.

    Raises:
        FileError: If it is damaged.
        GalleryError: If another version of facever made it.
    """

    def values() -> dict[str, Any]:
        rows = database.execute("SELECT key, value FROM meta")
        found = {key: json.loads(value) for key, value in rows}
        if found["format"] == FORMAT and found.pop(_CHECKSUM) != meta_checksum(found):
            raise ValueError
        return found

    return meta_from_json(values, FORMAT, database.folder, database.damaged)


def write_database_meta(database: Database, meta: GalleryMeta) -> None:
    """Write the meta table, within a transaction."""
    for key, value in _meta_rows(meta):
        database.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def _meta_rows(meta: GalleryMeta) -> list[tuple[str, str]]:
    values = asdict(meta)
    values[_CHECKSUM] = meta_checksum(values)
    return [(key, json.dumps(value)) for key, value in values.items()]


@cache
def _schema() -> dict[str, str | None]:
    """What SQLite says of a database that was made just now, by type and name."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return dict(
            connection.execute("SELECT type || ' ' || name, sql FROM sqlite_schema")
        )


def _difference(
    found: Mapping[str, Any], ours: Mapping[str, Any], added: Sequence[str]
) -> str:
    """The first thing that is added, missing or changed, in words."""
    if added:
        return f"its {added[0]!a} is not facever's"
    for name, sql in ours.items():
        if name not in found:
            return f"its {name!a} is missing"
        if found[name] != sql:
            return f"its {name!a} is changed"
    return "it holds one thing twice"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
