"""What all embeddings of a gallery have in common, and the tables of its database."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facever.errors import GalleryError
from facever.gallery.database import Database, create_database

FORMAT = 2

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


@dataclass(frozen=True)
class Threshold:
    """Above which cosine a match is the same person, else nobody.

    Attributes:
        cosine: Accept above it.
        rule: ``far``: for a false accept rate over pairs; ``fpir``: for the share of
            unknown people who are taken for somebody.
        rate: The rate that was allowed, in (0, 1).
        num_embeddings: Embeddings in the gallery when it was set: more people bring
            more false answers.
    """

    cosine: float
    rule: str
    rate: float
    num_embeddings: int


@dataclass(frozen=True)
class GalleryMeta:
    """What all embeddings of a gallery have in common.

    Attributes:
        format: Version of the database's layout.
        gallery_id: Its own, so that no other gallery's index is taken for its.
        embedding_size: Numbers in an embedding.
        model_fingerprint: Of the model that made the embeddings, None if unbound.
        model_details: What is worth knowing of that model: network, mirror rule,
            preprocessing. For people; the fingerprint is what is compared.
        created: UTC, ISO 8601.
        index: Kind of index to search with.
        threshold: None if none was set.
    """

    format: int
    gallery_id: str
    embedding_size: int
    model_fingerprint: str | None
    model_details: dict[str, Any]
    created: str
    index: str
    threshold: Threshold | None


def create_tables(
    folder: Path,
    embedding_size: int,
    model_fingerprint: str | None,
    model_details: Mapping[str, Any],
    index: str,
) -> None:
    """Make an empty gallery in a folder that is not there yet, or is empty.

    Raises:
        GalleryError: If there is a gallery already.
        FileError: If the folder holds something else, or cannot be written.
    """
    meta = GalleryMeta(
        format=FORMAT,
        gallery_id=uuid.uuid4().hex,
        embedding_size=embedding_size,
        model_fingerprint=model_fingerprint,
        model_details=dict(model_details),
        created=now(),
        index=index,
        threshold=None,
    )
    rows = ", ".join(
        f"({_quoted(key)}, {_quoted(json.dumps(value))})"
        for key, value in asdict(meta).items()
    )
    create_database(folder, f"{_SCHEMA} INSERT INTO meta VALUES {rows};")


def read_meta(database: Database) -> GalleryMeta:
    """Read the meta table.

    Raises:
        FileError: If it is damaged.
        GalleryError: If another version of facever made it.
    """
    rows = database.execute("SELECT key, value FROM meta")
    try:
        meta = {key: json.loads(value) for key, value in rows}
        number = int(meta["format"])
        if number == FORMAT:
            threshold = meta.pop("threshold")
            return GalleryMeta(
                **meta, threshold=None if threshold is None else Threshold(**threshold)
            )
    except (KeyError, TypeError, ValueError) as error:
        raise database.damaged("its meta table is unreadable") from error
    raise GalleryError(
        f"{database.folder}: this gallery has format {number}, this facever reads "
        f"format {FORMAT}; use the facever that made it, or enroll the photos anew"
    )


def write_meta(database: Database, **values: Any) -> None:
    """Change some of the meta table's values, within a transaction."""
    for key, value in values.items():
        database.execute(
            "UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key)
        )


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
