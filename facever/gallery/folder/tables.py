"""The tables of a gallery's SQLite database, and its metadata in one of them."""

import json
from dataclasses import asdict
from pathlib import Path

from facever.gallery.folder.database import Database, create_database
from facever.gallery.meta import GalleryMeta, meta_from_json

FORMAT = 1

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


def create_tables(folder: Path, meta: GalleryMeta) -> None:
    """Make an empty gallery in a folder that does not exist yet, or is empty.

    Raises:
        GalleryError: If there is a gallery already.
        FileError: If the folder holds something else, or cannot be written.
    """
    rows = ", ".join(
        f"({_quoted(key)}, {_quoted(json.dumps(value))})"
        for key, value in asdict(meta).items()
    )
    create_database(folder, f"{_SCHEMA} INSERT INTO meta VALUES {rows};")


def read_database_meta(database: Database) -> GalleryMeta:
    """Read the meta table.

    Raises:
        FileError: If it is damaged.
        GalleryError: If another version of facever made it.
    """
    rows = database.execute("SELECT key, value FROM meta")
    return meta_from_json(
        lambda: {key: json.loads(value) for key, value in rows},
        FORMAT,
        database.folder,
        database.damaged,
    )


def write_database_meta(database: Database, meta: GalleryMeta) -> None:
    """Write the meta table, within a transaction."""
    for key, value in asdict(meta).items():
        database.execute(
            "UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key)
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
