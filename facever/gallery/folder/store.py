"""People's names and embeddings on disk: the source of truth of a gallery."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import FileError
from facever.gallery.checksums import embedding_checksum, entry_checksum
from facever.gallery.entries import (
    Entry,
    Filter,
    Origin,
    fields_as_json,
    fields_from_json,
    origin_from_json,
)
from facever.gallery.folder.database import Database
from facever.gallery.folder.tables import (
    check_schema,
    read_database_meta,
    write_database_meta,
)
from facever.gallery.meta import GalleryMeta

# A megabyte of embeddings of 512 numbers, which the CPU's cache still holds when they
# are checked and copied.
_ROWS_A_READ = 512

Block = tuple[Int64[np.ndarray, " rows"], Float32[np.ndarray, "rows dim"]]

FEW = 8192
"""So many entries are read in the time in which nobody notices."""

# What is read of an entry, always together: the checksum is of all of it.
_ENTRY = "id, name, source, added, fields, origin, entry_checksum"
_EMBEDDING = "number, id, embedding, embedding_checksum"

_OF_PHOTOS = """
    (name, source) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')
                       FROM json_each(:photos))
"""

_WITH_FIELDS = """
    (SELECT COUNT(*) FROM json_each(:fields) AS wanted
     JOIN json_each(entries.fields) AS has ON has.key = wanted.key
     AND has.value IS wanted.value
     AND (has.type IN ('true', 'false')) = (wanted.type IN ('true', 'false'))
    ) = :num_fields
"""

EVERYTHING = Filter()


class GalleryStore:
    """Rows of name, source, fields and embedding, in the order they were added.

    A method that changes something is called within ``writing``.
    """

    def __init__(self, folder: Path) -> None:
        """Open the gallery in a folder.

        Raises:
            FileError: If the folder is missing, not a gallery or damaged.
            GalleryError: If another version of facever made it.
        """
        self._database = Database(folder)
        try:
            check_schema(self._database)
            self.meta()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def meta(self) -> GalleryMeta:
        """What the embeddings have in common, as it is now."""
        return read_database_meta(self._database)

    def set_meta(self, meta: GalleryMeta) -> None:
        """Put other metadata in the place of what there is."""
        write_database_meta(self._database, meta)

    def reading(self) -> AbstractContextManager[None]:
        """See one whole state in all calls of the block, whoever writes meanwhile."""
        return self._database.reading()

    def writing(self) -> AbstractContextManager[None]:
        """Make all changes of the block, on disk when it ends, or none."""
        return self._database.writing()

    def insert(
        self,
        entry: Entry,
        embedding: Float32[np.ndarray, " dim"],
        origin: Origin | None,
    ) -> None:
        """Add an entry whose id, and photo of the person, are new."""
        blob = embedding.astype("<f4").tobytes()
        texts = (
            *(entry.id, entry.name, entry.source, entry.added),
            fields_as_json(entry.fields),
            None if origin is None else json.dumps(asdict(origin)),
        )
        self._database.execute(
            f"INSERT INTO entries ({_ENTRY}, embedding, embedding_checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*texts, entry_checksum(texts), blob, embedding_checksum(entry.id, blob)),
        )

    def replace_all(self, units: Mapping[str, Float32[np.ndarray, " dim"]]) -> None:
        """Give the rows of these ids other embeddings, and new numbers; drop others."""
        every = [entry for block in self.entries(Filter()) for _, entry in block]
        rows = [(entry, self.origin(entry.id)) for entry in every if entry.id in units]
        self._database.execute("DELETE FROM entries")
        for entry, origin in rows:
            self.insert(entry, units[entry.id], origin)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows that are there."""
        self._database.execute(
            "DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )

    def update(self, entry: Entry) -> None:
        """Give an entry that is there another name and other fields."""
        [(added, origin)] = self._database.execute(
            "SELECT added, origin FROM entries WHERE id = ?", (entry.id,)
        )
        fields = fields_as_json(entry.fields)
        checksum = entry_checksum(
            (entry.id, entry.name, entry.source, added, fields, origin)
        )
        self._database.execute(
            "UPDATE entries SET name = ?, fields = ?, entry_checksum = ? WHERE id = ?",
            (entry.name, fields, checksum, entry.id),
        )

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names.

        Of more than ``FEW`` they are read from SQLite's index of the names, which no
        checksum covers; to be called within ``reading``.

        Raises:
            FileError: If they are damaged, or not as many as the gallery has.
        """
        if self.count() <= FEW:
            every = (
                entry.name for block in self.entries(EVERYTHING) for _, entry in block
            )
            return dict(sorted(Counter(every).items()))
        rows = self._database.execute(
            "SELECT name, COUNT(*) FROM entries GROUP BY name ORDER BY name"
        )
        names = dict(rows)
        self.check_all(sum(names.values()))
        return names

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many entries meet a filter."""
        condition, values = _condition(where)
        query = f"SELECT COUNT(*) FROM entries WHERE {condition}"
        return int(self._database.execute(query, values)[0][0])

    def check_all(self, num_found: int, num_there: int | None = None) -> None:
        """Compare the photos that were found with those that must be there.

        A flipped bit can hide a row, which leaves no checksum that differs.

        Args:
            num_found: How many were found.
            num_there: How many there are; None asks SQLite's index of the ids, and is
                for all of the gallery, within the same ``reading``.

        Raises:
            FileError: If it is another number.
        """
        if num_there is None:
            num_there = self.count()
        if num_found != num_there:
            raise self._database.damaged(
                f"{num_found} photos are found where there are {num_there}"
            )

    def read_after(self, number: int) -> Iterator[Block]:
        """Numbers and embeddings of the rows added after a row, block by block.

        Raises:
            FileError: If an embedding has a wrong size or length: it is damaged.
        """
        dim = self.meta().embedding_size
        query = f"SELECT {_EMBEDDING} FROM entries WHERE number > ? ORDER BY number"
        for rows in self._database.read(query, (number,), _ROWS_A_READ):
            yield self._as_block(rows, dim)

    def embeddings(self, numbers: Int64[np.ndarray, " rows"]) -> Block:
        """Numbers, ascending, and embeddings of these rows.

        Raises:
            FileError: If one is damaged, or not there.
        """
        rows = self._database.execute(
            f"SELECT {_EMBEDDING} FROM entries WHERE number IN "
            "(SELECT value FROM json_each(?)) ORDER BY number",
            (json.dumps(numbers.tolist()),),
        )
        self.check_all(len(rows), len(numbers))
        return self._as_block(rows, self.meta().embedding_size)

    def numbers_by_name(self) -> Int64[np.ndarray, " rows"]:
        """The numbers of all rows, in the order of their names.

        The index of names holds both: the embeddings beside them are not read.
        """
        rows = self._database.execute("SELECT number FROM entries ORDER BY name")
        return np.array([row[0] for row in rows], np.int64)

    def newest(self) -> tuple[int, str]:
        """The number and the id of the row that was added last of those there are."""
        [(number, entry_id)] = self._database.execute(
            "SELECT number, id FROM entries ORDER BY number DESC LIMIT 1"
        )
        return int(number), str(entry_id)

    def id_of(self, number: int) -> str | None:
        """The id of a row, None if it is not there."""
        rows = self._database.execute(
            "SELECT id FROM entries WHERE number = ?", (number,)
        )
        return str(rows[0][0]) if rows else None

    def ids_there(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that a row has."""
        rows = self._database.execute(
            "SELECT id FROM entries WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return {row[0] for row in rows}

    def count_after(self, number: int) -> int:
        """How many rows have a higher number."""
        [[count]] = self._database.execute(
            "SELECT COUNT(*) FROM entries WHERE number > ?", (number,)
        )
        return int(count)

    def changes_after(self, sequence: int) -> tuple[list[int], int]:
        """The numbers removed or renamed since, and the new place in that list."""
        rows = self._database.execute(
            "SELECT number, sequence FROM changes WHERE sequence > ? ORDER BY sequence",
            (sequence,),
        )
        return [row[0] for row in rows], rows[-1][1] if rows else sequence

    def last(self) -> tuple[int, int]:
        """The highest number and the highest place in the changes ever given."""
        given = dict(self._database.execute("SELECT name, seq FROM sqlite_sequence"))
        return int(given.get("entries", 0)), int(given.get("changes", 0))

    def chosen(self, where: Filter) -> Int64[np.ndarray, " rows"]:
        """The numbers, ascending, of the rows that meet a filter."""
        condition, values = _condition(where)
        rows = self._database.execute(
            f"SELECT number FROM entries WHERE {condition} ORDER BY number", values
        )
        return np.array([row[0] for row in rows], np.int64)

    def entries(self, where: Filter) -> Iterator[list[tuple[int, Entry]]]:
        """Numbers and entries that meet a filter, block by block, as added.

        To be called within ``reading``.

        Raises:
            FileError: If one is damaged, or all are asked for and some are not there.
        """
        condition, values = _condition(where)
        query = (
            f"SELECT number, {_ENTRY} FROM entries WHERE {condition} ORDER BY number"
        )
        num_found = 0
        for rows in self._database.read(query, values, _ROWS_A_READ):
            num_found += len(rows)
            yield [(row[0], self._as_entry(row[1:])) for row in rows]
        if where.is_everything:
            self.check_all(num_found)

    def entries_of(self, numbers: Int64[np.ndarray, " rows"]) -> dict[int, Entry]:
        """Those of the rows with these numbers that are there, without embeddings."""
        rows = self._database.execute(
            f"SELECT number, {_ENTRY} FROM entries "
            "WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers.tolist()),),
        )
        return {row[0]: self._as_entry(row[1:]) for row in rows}

    def origin(self, entry_id: str) -> Origin | None:
        """Where a row's face can be read from again, None if nobody said."""
        rows = self._database.execute(
            f"SELECT {_ENTRY} FROM entries WHERE id = ?", (entry_id,)
        )
        for row in rows:
            self._as_entry(row)  # compares the row with its checksum
        text = rows[0][5] if rows else None
        try:
            return None if text is None else origin_from_json(text)
        except ValueError:
            raise self._changed("entry", entry_id) from None

    def photos_of(self, digests: Set[str]) -> dict[str, list[tuple[str, str]]]:
        """Name and source of the rows whose origin has one of these digests."""
        rows = self._database.execute(
            "SELECT json_extract(origin, '$.digest') AS digest, name, source "
            "FROM entries WHERE digest IN (SELECT value FROM json_each(?)) "
            "ORDER BY number",
            (json.dumps(list(digests)),),
        )
        found: dict[str, list[tuple[str, str]]] = {}
        for digest, name, source in rows:
            found.setdefault(digest, []).append((name, source))
        return found

    def check(self) -> None:
        """Let SQLite check the database's pages, indexes and tables.

        Raises:
            FileError: If it finds something wrong.
        """
        [(found,), *_] = self._database.execute("PRAGMA integrity_check")
        if found != "ok":
            raise self._database.damaged(str(found))

    def _as_entry(self, row: Sequence[Any]) -> Entry:
        *texts, checksum = row
        typed = all(text is None or isinstance(text, str) for text in texts)
        if not typed or entry_checksum(texts) != checksum:
            raise self._changed("entry", row[0])
        entry_id, name, source, added, fields, _ = texts
        try:
            return Entry(entry_id, name, source, added, fields_from_json(fields))
        except ValueError:
            raise self._changed("entry", entry_id) from None

    def _as_block(self, rows: list[Any], dim: int) -> Block:
        # There may be a million rows: as little in Python as can be.
        for _, entry_id, blob, checksum in rows:
            if not _is_intact(entry_id, blob, checksum):
                raise self._changed("embedding", entry_id)
        if {len(row[2]) for row in rows} - {4 * dim}:
            raise self._database.damaged(f"an embedding is not {dim} numbers long")
        embeddings = np.frombuffer(b"".join(row[2] for row in rows), "<f4")
        embeddings = embeddings.reshape(-1, dim).astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("rd,rd->r", embeddings, embeddings))
        if not (abs(lengths - 1) < 1e-3).all():
            raise self._database.damaged("an embedding is not of unit length")
        return np.array([row[0] for row in rows], np.int64), embeddings

    def _changed(self, what: str, entry_id: object) -> FileError:
        return self._database.damaged(
            f"the {what} of {entry_id!a} is not what was enrolled, by its checksum",
            f"remove it with gallery remove {self._database.folder} {entry_id}",
        )


def _is_intact(entry_id: Any, blob: Any, checksum: Any) -> bool:
    # A flipped bit can change the type of a value, too.
    typed = isinstance(entry_id, str) and isinstance(blob, bytes)
    return typed and embedding_checksum(entry_id, blob) == checksum


def _condition(where: Filter) -> tuple[str, dict[str, Any]]:
    """A filter as SQL, without conditions that are not asked for, and its values."""
    values: dict[str, Any] = {}
    conditions = ["TRUE"]
    if where.names:
        values["names"] = json.dumps(list(where.names))
        conditions.append("name IN (SELECT value FROM json_each(:names))")
    if where.ids:
        values["ids"] = json.dumps(list(where.ids))
        conditions.append("id IN (SELECT value FROM json_each(:ids))")
    if where.photos:
        values["photos"] = json.dumps(list(where.photos))
        conditions.append(_OF_PHOTOS)
    if where.fields:
        values["fields"] = fields_as_json(where.fields)
        values["num_fields"] = len(where.fields)
        conditions.append(_WITH_FIELDS)
    return " AND ".join(conditions), values
