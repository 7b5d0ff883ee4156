"""What is enrolled as rows of a PostgreSQL table, and back."""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from psycopg import sql
from psycopg.abc import Buffer

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
from facever.gallery.postgres.server import TAKE_OUT, Server
from facever.progress import Advance

ENTRY = "id, name, source, added, fields, origin, entry_checksum"
"""What is read of an entry, always together: the checksum is of all of it."""

EMBEDDING = "embedding, embedding_checksum"

COPIED = (
    "id, name, source, added, fields, origin, digest, entry_checksum, embedding, "
    "embedding_checksum"
)
"""The columns that ``as_copy`` writes."""

NUMBERED = "number, embedding"
"""The columns that ``read_copied`` reads."""

_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = struct.pack(">h", -1)
_ROWS_A_BLOCK = 256


def as_copy(
    entries: Sequence[Entry],
    units: Float32[np.ndarray, "rows dim"],
    origins: Sequence[Origin | None],
    advance: Advance,
) -> Iterator[bytes]:
    """Entries as ``COPY ... WITH (FORMAT binary)`` takes them, block by block.

    Progress is one unit for each entry that has been taken.
    """
    yield _COPY_HEADER
    block: list[bytes] = []
    rows = zip(entries, units, origins, strict=True)
    for count, (entry, unit, origin) in enumerate(rows, start=1):
        texts = _texts(entry, origin)
        digest = None if origin is None else origin.digest
        block.append(
            _as_copied_row(
                *(None if text is None else text.encode() for text in (*texts, digest)),
                struct.pack(">q", entry_checksum(texts)),
                _as_vector(unit),
                struct.pack(">q", _checksum_of(entry.id, unit)),
            )
        )
        if count % _ROWS_A_BLOCK == 0:
            yield b"".join(block)
            advance(len(block))
            block.clear()
    yield b"".join(block) + _COPY_END
    advance(len(block))


def read_copied(
    content: Iterable[Buffer], size: int, rows_a_block: int, server: Server
) -> Iterator[tuple[Int64[np.ndarray, " rows"], Float32[np.ndarray, "rows dim"]]]:
    """The columns ``NUMBERED`` from a ``COPY ... WITH (FORMAT binary)``.

    Embeddings are not compared with their checksums.

    Args:
        content: What the server sends, in pieces of any length.
        size: Number of values in an embedding.
        rows_a_block: Number of rows to give at once.
        server: The server, for errors.

    Raises:
        FileError: If an embedding is of another size.
    """
    row = np.dtype(
        [
            ("columns", ">i2"),
            *(("number_bytes", ">i4"), ("number", ">i8")),
            *(("embedding_bytes", ">i4"), ("size", ">i2"), ("unused", ">i2")),
            ("embedding", ">f4", (size,)),
        ]
    )
    length = rows_a_block * row.itemsize
    pieces, num_bytes, start = list[Buffer](), 0, len(_COPY_HEADER)

    def as_rows(
        text: bytes, first: int, count: int
    ) -> tuple[Int64[np.ndarray, " rows"], Float32[np.ndarray, "rows dim"]]:
        rows = np.frombuffer(text, row, count, first)
        if (rows["size"] != size).any():
            raise server.damaged(f"an embedding is not {size} numbers long")
        return rows["number"].astype(np.int64), rows["embedding"].astype(np.float32)

    for piece in content:
        pieces.append(piece)
        num_bytes += len(piece)
        if num_bytes >= start + length:
            text = b"".join(pieces)
            yield as_rows(text, start, rows_a_block)
            rest = text[start + length :]
            pieces, num_bytes, start = [rest], len(rest), 0
    text = b"".join(pieces)
    count, more = divmod(len(text) - start - len(_COPY_END), row.itemsize)
    if more:
        raise server.damaged(f"an embedding is not {size} numbers long")
    yield as_rows(text, start, count)


def as_update(entry: Entry, origin: str | None) -> tuple[str, str, int, str]:
    """Name, fields, checksum and id of an entry that gets another name or fields.

    Args:
        entry: The entry from now on.
        origin: Its origin, as the row has it.
    """
    fields = fields_as_json(entry.fields)
    texts = (entry.id, entry.name, entry.source, entry.added, fields, origin)
    return entry.name, fields, entry_checksum(texts), entry.id


def as_entry(row: Sequence[Any], server: Server) -> Entry:
    """The entry of the columns ``ENTRY``.

    Raises:
        FileError: If it is not what was enrolled, by its checksum.
    """
    *texts, checksum = row
    entry_id, name, source, added, fields, _ = texts
    if entry_checksum(texts) == checksum:
        try:
            return Entry(entry_id, name, source, added, fields_from_json(fields))
        except ValueError:
            pass
    raise _changed(server, "entry", entry_id)


def as_origin(row: Sequence[Any], server: Server) -> Origin | None:
    """The origin in the columns ``ENTRY``, None if nobody said."""
    as_entry(row, server)
    text = row[5]
    try:
        return None if text is None else origin_from_json(text)
    except ValueError:
        raise _changed(server, "entry", row[0]) from None


def as_units(
    rows: Sequence[Sequence[Any]], size: int, server: Server
) -> Float32[np.ndarray, "rows dim"]:
    """The embeddings of rows of an id and the columns ``EMBEDDING``.

    Raises:
        FileError: If one is not what was enrolled, by its checksum, or of another size.
    """
    units = np.empty((len(rows), size), np.float32)
    for unit, (entry_id, content, checksum) in zip(units, rows, strict=True):
        if len(content) != 4 + 4 * size:
            reason = f"the embedding of {entry_id!a} is not {size} numbers long"
            raise server.damaged(reason, TAKE_OUT)
        unit[:] = np.frombuffer(content, ">f4", offset=4)
        if _checksum_of(entry_id, unit) != checksum:
            raise _changed(server, "embedding", entry_id)
    return units


def as_query(unit: Float32[np.ndarray, " dim"]) -> str:
    """An embedding as a text that the server reads to the same bits."""
    return "[" + ",".join(map(repr, unit.tolist())) + "]"


def as_condition(where: Filter) -> tuple[sql.Composable, list[Any]]:
    """A filter as SQL, and the values in it."""
    conditions: list[sql.Composable] = [sql.SQL("true")]
    values: list[Any] = []
    if where.names:
        conditions.append(sql.SQL("name = ANY(%s)"))
        values.append(list(filter(_can_be_there, where.names)))
    if where.fields:
        # The index answers this one, to which [1, 2] contains [1]; the next do not.
        conditions.append(sql.SQL("filterable @> %s::jsonb"))
        values.append(fields_as_json(where.fields))
        for name, value in where.fields.items():
            conditions.append(sql.SQL("filterable -> %s = %s::jsonb"))
            values += [name, json.dumps(value)]
    if where.ids:
        conditions.append(sql.SQL("id = ANY(%s)"))
        values.append(list(filter(_can_be_there, where.ids)))
    if where.photos:
        conditions.append(
            sql.SQL("(name, source) IN (SELECT * FROM unnest(%s::text[], %s::text[]))")
        )
        photos = [each for each in where.photos if all(map(_can_be_there, each))]
        values += [[photo[part] for photo in photos] for part in (0, 1)]
    return sql.SQL(" AND ").join(conditions), values


def _can_be_there(text: str) -> bool:
    """Whether PostgreSQL can keep a text; one that it cannot is never found."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _texts(entry: Entry, origin: Origin | None) -> tuple[str | None, ...]:
    return (
        *(entry.id, entry.name, entry.source, entry.added),
        fields_as_json(entry.fields),
        None if origin is None else json.dumps(asdict(origin)),
    )


def _as_copied_row(*values: bytes | None) -> bytes:
    parts = [struct.pack(">h", len(values))]
    for value in values:
        if value is None:
            parts.append(struct.pack(">i", -1))
        else:
            parts += [struct.pack(">i", len(value)), value]
    return b"".join(parts)


def _as_vector(unit: Float32[np.ndarray, " dim"]) -> bytes:
    return struct.pack(">hh", len(unit), 0) + unit.astype(">f4").tobytes()


def _checksum_of(entry_id: str, unit: Float32[np.ndarray, " dim"]) -> int:
    return embedding_checksum(entry_id, unit.astype("<f4").tobytes())


def _changed(server: Server, what: str, entry_id: object) -> FileError:
    return server.damaged(
        f"the {what} of {entry_id!a} is not what was enrolled, by its checksum",
        TAKE_OUT,
    )
