"""People's names and embeddings on disk: the source of truth of a gallery."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import GalleryError
from facever.gallery.database import Database, create_database

FORMAT = 1
_ROWS_A_READ = 8192

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    added TEXT NOT NULL,
    embedding BLOB NOT NULL,
    UNIQUE (name, source)
);
"""


@dataclass(frozen=True)
class StoreMeta:
    """What all embeddings of a gallery have in common.

    Attributes:
        format: Version of the database's layout.
        embedding_size: Numbers in an embedding.
        model_fingerprint: Of the model that made the embeddings, None if unbound.
        model_details: What is worth knowing of that model: network, mirror rule,
            preprocessing. For people; the hash is what is compared.
        created: UTC, ISO 8601.
    """

    format: int
    embedding_size: int
    model_fingerprint: str | None
    model_details: dict[str, Any]
    created: str


@dataclass(frozen=True)
class Entry:
    """One enrolled photo, without its embedding."""

    id: str
    name: str
    source: str


class GalleryStore:
    """Rows of name, source, time and embedding, in the order they were added.

    Attributes:
        meta: What the embeddings have in common.
    """

    def __init__(self, folder: Path) -> None:
        """Open the gallery in a folder.

        Raises:
            FileError: If the folder is missing, not a gallery or damaged.
            GalleryError: If a newer facever made it.
        """
        self._database = Database(folder)
        try:
            self.meta = self._read_meta(folder)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        folder: Path,
        embedding_size: int,
        model_fingerprint: str | None,
        model_details: Mapping[str, Any],
    ) -> "GalleryStore":
        """Make an empty gallery in a folder that is not there yet, or is empty.

        Raises:
            GalleryError: If there is a gallery already.
            FileError: If the folder holds something else, or cannot be written.
        """
        meta = {
            "format": FORMAT,
            "embedding_size": embedding_size,
            "model_fingerprint": model_fingerprint,
            "model_details": dict(model_details),
            "created": _now(),
        }
        rows = ", ".join(
            f"({_quoted(k)}, {_quoted(json.dumps(meta[k]))})" for k in meta
        )
        create_database(folder, f"{_SCHEMA} INSERT INTO meta VALUES {rows};")
        return cls(folder)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def add(
        self,
        names: Sequence[str],
        embeddings: Float32[np.ndarray, "rows dim"],
        sources: Sequence[str],
    ) -> list[str]:
        """Add rows in one transaction: all of them, on disk, or none.

        Returns:
            The id of each row; a name and source that are there already keep theirs,
            and their embedding.
        """
        now = _now()
        ids = []
        with self._database.writing():
            for name, embedding, source in zip(names, embeddings, sources, strict=True):
                known = self.find(name, source)
                ids.append(known or uuid.uuid4().hex)
                if known is None:
                    self._database.execute(
                        "INSERT INTO entries (id, name, source, added, embedding) "
                        "VALUES (?, ?, ?, ?, ?)",
                        (ids[-1], name, source, now, embedding.astype("<f4").tobytes()),
                    )
        return ids

    def find(self, name: str, source: str) -> str | None:
        """The id of this source under this name, None if it is not enrolled."""
        rows = self._database.execute(
            "SELECT id FROM entries WHERE name = ? AND source = ?", (name, source)
        )
        return str(rows[0][0]) if rows else None

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return dict(
            self._database.execute(
                "SELECT name, COUNT(*) FROM entries GROUP BY name ORDER BY name"
            )
        )

    def count(self) -> int:
        """How many embeddings there are."""
        return int(self._database.execute("SELECT COUNT(*) FROM entries")[0][0])

    def reading(self) -> AbstractContextManager[None]:
        """See one whole state in all calls of the block, whoever writes meanwhile."""
        return self._database.reading()

    def read_after(
        self, number: int
    ) -> Iterator[tuple[Int64[np.ndarray, " rows"], Float32[np.ndarray, "rows dim"]]]:
        """Numbers and embeddings of the rows added after a row, block by block.

        Raises:
            FileError: If an embedding is not one: the database is damaged.
        """
        dim = self.meta.embedding_size
        query = "SELECT number, embedding FROM entries WHERE number > ? ORDER BY number"
        for rows in self._database.read(query, (number,), _ROWS_A_READ):
            if any(type(row[1]) is not bytes or len(row[1]) != 4 * dim for row in rows):
                raise self._database.damaged(f"an embedding is not {dim} numbers long")
            embeddings = np.frombuffer(b"".join(row[1] for row in rows), "<f4")
            embeddings = embeddings.astype(np.float32).reshape(-1, dim)
            with np.errstate(over="ignore", invalid="ignore"):
                lengths = np.linalg.norm(embeddings, axis=1)
            if not (abs(lengths - 1) < 1e-3).all():
                raise self._database.damaged("an embedding is not of unit length")
            yield np.array([row[0] for row in rows], np.int64), embeddings

    def entries(self, numbers: Int64[np.ndarray, " rows"]) -> dict[int, Entry]:
        """The rows with these numbers, without their embeddings."""
        rows = self._database.execute(
            "SELECT number, id, name, source FROM entries "
            "WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers.tolist()),),
        )
        return {row[0]: Entry(*row[1:]) for row in rows}

    def _read_meta(self, folder: Path) -> StoreMeta:
        rows = self._database.execute("SELECT key, value FROM meta")
        try:
            meta = {key: json.loads(value) for key, value in rows}
            number = int(meta["format"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._database.damaged("its meta table is unreadable") from error
        if number != FORMAT:
            raise GalleryError(
                f"{folder}: this gallery has format {number}, this facever reads "
                f"format {FORMAT}; use the facever that made it, or a newer one"
            )
        return StoreMeta(**meta)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
