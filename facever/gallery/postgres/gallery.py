"""A gallery in PostgreSQL: many write and search at once, past one machine."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float, Float32
from psycopg import sql

from facever.errors import FileError, GalleryError
from facever.gallery.base import Ability, AnyGallery, NamedPhoto, Place
from facever.gallery.checking import nobody_to_migrate, unit_embeddings
from facever.gallery.entries import Entry, Filter, Match, Origin
from facever.gallery.indexes.index import EXACT
from facever.gallery.meta import Audit, GalleryMeta, new_meta
from facever.gallery.postgres.graphs import (
    CANDIDATES,
    check_index,
    indexes_of,
    replace_index,
)
from facever.gallery.postgres.index_audit import audit_index, enough_candidates
from facever.gallery.postgres.rows import (
    COPIED,
    EMBEDDING,
    ENTRY,
    as_condition,
    as_copy,
    as_entry,
    as_origin,
    as_units,
    as_update,
)
from facever.gallery.postgres.searching import nearest_photos
from facever.gallery.postgres.server import (
    TAKE_OUT,
    Rows,
    Server,
    literal,
    parse_address,
)
from facever.gallery.postgres.tables import (
    FORMAT,
    Located,
    check_tables,
    create_gallery,
    find,
    give_as,
    locate,
    make_entries,
    next_table,
    one_state,
    select_entries,
    write_meta,
)
from facever.progress import Advance, ignore_progress

_ROWS_A_READ = 1024

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _once_more_if_lost(
    ask: Callable[Concatenate[Any, Given], Answer],
) -> Callable[Concatenate[Any, Given], Answer]:
    """A method that changes nothing, asked again if the connection is lost."""

    @wraps(ask)
    def asked(self: Any, /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        server: Server = self._server
        return server.once_more_if_lost(lambda: ask(self, *args, **kwargs))

    return asked


def _of_readers(
    ask: Callable[Concatenate[Any, Given], Answer],
) -> Callable[Concatenate[Any, Given], Answer]:
    """A method that asks the readers, where there are some."""

    @wraps(ask)
    def asked(self: Any, /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return ask(self._searched(), *args, **kwargs)

    return asked


class PostgresGallery(AnyGallery):
    """People in a PostgreSQL database that can be searched by embedding.

    It does what ``Gallery`` does, with what a database server promises:

    - A change has been carried out, as a whole, when the call returns, and outlives an
      end of this process and of the server. If the server is lost in the midst of a
      change, nothing was changed.
    - Several processes change a gallery at once; each waits for the others. Those who
      search wait for nobody and see whole changes.
    - Search is exact unless the gallery has an index, ``hnsw`` or ``halfvec``; what an
      index finds is compared again in float32. With a filter, search is always exact.
    - Searches that are lost with the connection are made once more.
    - Where the URL names ``readers``, replicas are searched in the server's place, and
      the threshold is theirs; they lag behind. All else is asked of the server.

    It needs PostgreSQL 13 and pgvector 0.8.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset({"audit", "migrate", "rebuild"})

    def __init__(self, server: Server, model_fingerprint: str | None = None) -> None:
        """Open a gallery; ``open_gallery`` does it by URL.

        Args:
            server: The connection, which is closed with the gallery.
            model_fingerprint: The model that makes the embeddings, as for ``Gallery``.

        Raises:
            FileError: If there is no such gallery, or its tables are not facever's.
            GalleryError: If another version of facever made it.
            MismatchError: If it was made for another model.
        """
        self._server = server
        self._located: Located | None = None
        self._reader: PostgresGallery | None = None
        check_tables(server, locate(server))
        super().__init__(server.address.place, model_fingerprint)

    @classmethod
    def open(
        cls, place: Place, model_fingerprint: str | None = None
    ) -> "PostgresGallery":
        """Open the gallery that a URL names."""
        server = Server(parse_address(str(place)))
        try:
            return cls(server, model_fingerprint)
        except BaseException:
            server.close()
            raise

    @classmethod
    def create(
        cls,
        place: Place,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
        index: str = "exact",
    ) -> "PostgresGallery":
        """Make an empty gallery and open it.

        Args:
            place: A URL whose database has no gallery of that name yet.
            embedding_size: Number of values in an embedding, at least 1.
            model_fingerprint: The model whose embeddings, and no others, it takes; None
                if it takes any of the right size.
            model_details: What ``info`` says of that model.
            index: ``exact``; ``hnsw``, a graph; or ``halfvec``, a graph of embeddings
                in float16, half as large.

        Raises:
            ParameterError: If ``embedding_size`` is below 1 or too large, or ``index``
                is unknown.
            GalleryError: If there is a gallery already.
            FileError: If no server answers, or it refuses.
        """
        meta = new_meta(
            FORMAT, embedding_size, model_fingerprint, model_details or {}, index
        )
        check_index(index, embedding_size)
        server = Server(parse_address(str(place)))
        try:
            create_gallery(server, meta)
            return cls(server, model_fingerprint)
        except BaseException:
            server.close()
            raise

    @classmethod
    def exists(cls, place: Place) -> bool:
        """Whether there is a gallery of this name."""
        server = Server(parse_address(str(place)))
        try:
            return find(server) is not None
        finally:
            server.close()

    @property
    def title(self) -> str:
        """The gallery's name in its database."""
        return self._server.address.gallery

    def close(self) -> None:
        """Close the connections; the gallery cannot be used after that."""
        self._server.close()
        self._close_reader()

    search = _of_readers(_once_more_if_lost(AnyGallery.search))
    identify = _of_readers(_once_more_if_lost(AnyGallery.identify))
    threshold = _of_readers(AnyGallery.threshold)
    info = _once_more_if_lost(AnyGallery.info)

    @_once_more_if_lost
    def entries(self, where: Filter | None = None) -> list[Entry]:
        """The entries that meet a filter, by default all, in the order of adding."""
        condition, values = as_condition(where or Filter())
        rows = self._ask(f"SELECT {ENTRY} FROM {{entries}}", condition, values)
        return [as_entry(row, self._server) for row in rows]

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings of one whole state, block by block."""
        condition, values = as_condition(where or Filter())
        select = f"SELECT {ENTRY}, {EMBEDDING} FROM {{entries}}"
        for located, rows in self._stream(select, condition, values):
            yield self._as_block(rows, located.meta)

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        return self.origins([entry_id]).get(entry_id)

    @_once_more_if_lost
    def origins(self, ids: Sequence[str]) -> dict[str, Origin | None]:
        """Where enrolled faces can be read from again, by their ids."""
        found: dict[str, Origin | None] = {}
        with self._state():
            for start in range(0, len(ids), _ROWS_A_READ):
                some = Filter(ids=ids[start : start + _ROWS_A_READ])
                condition, values = as_condition(some)
                rows = self._ask(f"SELECT {ENTRY} FROM {{entries}}", condition, values)
                found |= {row[0]: as_origin(row, self._server) for row in rows}
        return found

    @_once_more_if_lost
    def photos_of(self, digests: Set[str]) -> dict[str, list[NamedPhoto]]:
        """The enrolled photos whose origin has one of these digests, by the digest."""
        rows = self._ask(
            "SELECT digest, name, source FROM {entries}",
            sql.SQL("digest = ANY(%s)"),
            [list(digests)],
        )
        found: dict[str, list[NamedPhoto]] = {}
        for digest, name, source in rows:
            found.setdefault(digest, []).append((name, source))
        return found

    @_once_more_if_lost
    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        query = "SELECT name, count(*) FROM {entries} GROUP BY name ORDER BY name"
        with self._state() as located:
            return dict(self._server.ask(literal({"entries": located.table}, query)))

    def _checked_blocks(self) -> Iterator[list[Entry]]:
        """The entries, block by block, all of whose content has been read.

        What photos are found by, their digests and fields, is compared with what the
        checksums are of.
        """
        select = (
            f"SELECT {ENTRY}, {EMBEDDING}, digest, "
            "filterable IS NOT DISTINCT FROM fields::jsonb FROM {entries}"
        )
        for located, rows in self._stream(select, *as_condition(Filter())):
            yield self._as_block([row[:-2] for row in rows], located.meta)[0]
            for *row, digest, is_as_filtered in rows:
                origin = as_origin(row[:7], self._server)
                known = None if origin is None else origin.digest
                if known != digest or not is_as_filtered:
                    raise self._server.damaged(
                        f"what {row[0]!a} is found by is not what was enrolled",
                        TAKE_OUT,
                    )

    def rebuild(
        self, index: str | None = None, advance: Advance = ignore_progress
    ) -> str:
        """Build the index again, or another one, and choose how it is searched.

        A graph gets the fewest candidates with which it finds the nearest of 99.9 % of
        some of the enrolled photos, or the most there are. Others search with the new
        graph meanwhile.

        Args:
            index: Kind of index to search with from now on, as in ``create``; None
                keeps the kind.
            advance: Gets the number of embeddings that have just been taken in.

        Returns:
            The kind that was built.

        Raises:
            ParameterError: If ``index`` is unknown, or the embeddings are too large.
            FileError: If the server is lost; the message says whether the index was
                built.
        """
        with self._changing(), self._state() as located:
            meta = located.meta
            if index is not None:
                check_index(index, meta.embedding_size)
                meta = replace(meta, index=index)
            write_meta(self._server, meta, CANDIDATES[0])
            size = meta.embedding_size
            replace_index(self._server, located.table, meta.index, size, advance)
        # Only now, since a search would take either of two graphs, and to take one away
        # keeps others from searching.
        advance(0, "choosing how many candidates to compare")
        try:
            candidates = self._enough_candidates()
            with self._changing(), self._state() as located:
                write_meta(self._server, located.meta, candidates)
        except FileError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise FileError(
                f"{self.place}: the index is built, but the number of candidates that "
                f"it compares was not chosen and stays {CANDIDATES[0]}; rebuild it "
                f"again ({reason})"
            ) from error
        return meta.index

    @_once_more_if_lost
    def _enough_candidates(self) -> int:
        with self._state() as located:
            return enough_candidates(self._server, located)

    def audit(self, num_queries: int = 200, k: int = 10) -> Audit:
        """Search for some of the enrolled photos, and compare with exact search.

        Args:
            num_queries: Number of photos to look up among the others, which are drawn
                with a fixed seed.
            k: Number of matches of each photo to compare.
        """
        with self._state() as located:
            return audit_index(self._server, located, num_queries, k)

    def replace_model(
        self,
        embeddings: Mapping[str, Float[np.ndarray, " dim"]],
        dropped: Sequence[str],
        model_fingerprint: str,
        model_details: Mapping[str, Any],
    ) -> None:
        """Replace all embeddings by another model's, or change nothing.

        As ``Gallery.replace_model`` does.

        Raises:
            GalleryError: If the two do not name all entries, since somebody has changed
                the gallery meanwhile.
            DataError: If an embedding is zero or not finite.
        """
        with self._changing(), self._state() as located:
            condition, values = as_condition(Filter())
            rows = self._ask(f"SELECT {ENTRY} FROM {{entries}}", condition, values)
            entries = [as_entry(row, self._server) for row in rows]
            if {entry.id for entry in entries} != {*embeddings, *dropped}:
                raise GalleryError(
                    f"{self.place}: somebody has changed the gallery meanwhile; "
                    "nothing was migrated, try again"
                )
            if not embeddings:
                raise nobody_to_migrate(self.place)
            kept = [
                (entry, as_origin(row, self._server))
                for entry, row in zip(entries, rows, strict=True)
                if entry.id in embeddings
            ]
            vectors = np.stack([embeddings[entry.id] for entry, _ in kept])
            units = unit_embeddings(vectors, vectors.shape[1])
            meta = replace(
                located.meta,
                embedding_size=vectors.shape[1],
                model_fingerprint=model_fingerprint,
                model_details=dict(model_details),
                threshold=None,
            )
            check_index(meta.index, meta.embedding_size)
            table = next_table(self._server)
            make_entries(self._server, table, meta)
            self._copy(table, [entry for entry, _ in kept], units, [o for _, o in kept])
            give_as(self._server, table, located.table)
            new = Located(table, meta, CANDIDATES[0])
            write_meta(self._server, meta, enough_candidates(self._server, new))
            # Last, since it waits for all who are reading.
            self._server.do(literal({"entries": located.table}, "DROP TABLE {entries}"))
        self._model_fingerprint = model_fingerprint
        self._close_reader()

    def _searched(self) -> "PostgresGallery":
        """The gallery as the readers have it, or itself where there are none."""
        readers = self._server.address.readers
        if readers is None:
            return self
        self._server.check_open()
        if self._reader is None:
            self._reader = PostgresGallery.open(readers, self._model_fingerprint)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @_once_more_if_lost
    def _count(self, where: Filter) -> int:
        condition, values = as_condition(where)
        with self._state() as located:
            query = select_entries(
                located, "SELECT count(*) FROM {entries}", condition, ""
            )
            return int(self._server.ask(query, values)[0][0])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._server.writing():
            self._located = locate(self._server, for_change=True)
            try:
                yield
            finally:
                self._located = None

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        with self._state():
            yield

    @contextmanager
    def _state(self) -> Iterator[Located]:
        """One state in all questions, or that of the block around this one."""
        if self._located is not None:
            yield self._located
            return
        with one_state(self._server) as located:
            self._located = located
            try:
                yield located
            finally:
                self._located = None

    def _index_in_use(self, index: str, num_embeddings: int) -> str:
        with self._state() as located:
            return index if indexes_of(self._server, located.table) else EXACT

    @_once_more_if_lost
    def _meta(self) -> GalleryMeta:
        with self._state() as located:
            return located.meta

    def _set_meta(self, meta: GalleryMeta) -> None:
        with self._state() as located:
            write_meta(self._server, meta, located.candidates)
            self._located = located._replace(meta=meta)

    def _insert(
        self,
        entries: Sequence[Entry],
        units: Float32[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
        advance: Advance = ignore_progress,
    ) -> None:
        with self._state() as located:
            self._copy(located.table, entries, units, origins, advance)

    def _copy(
        self,
        table: str,
        entries: Sequence[Entry],
        units: Float32[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
        advance: Advance = ignore_progress,
    ) -> None:
        query = f"COPY {{entries}} ({COPIED}) FROM STDIN WITH (FORMAT binary)"
        self._server.copy(
            literal({"entries": table}, query),
            as_copy(entries, units, origins, advance),
        )

    def _ids_there(self, ids: Sequence[str]) -> set[str]:
        # Without a look at the rest of the entry: one that is damaged can be removed.
        condition, values = as_condition(Filter(ids=ids))
        if not ids:
            return set()
        return {
            row[0] for row in self._ask("SELECT id FROM {entries}", condition, values)
        }

    def _remove(self, ids: Sequence[str]) -> None:
        query = "DELETE FROM {entries} WHERE id = ANY(%s)"
        with self._state() as located:
            names = {"entries": located.table}
            self._server.do(literal(names, query), [list(ids)])

    def _update(self, entries: Sequence[Entry]) -> None:
        condition, values = as_condition(Filter(ids=[entry.id for entry in entries]))
        rows = self._ask("SELECT id, origin FROM {entries}", condition, values)
        origins: dict[str, str | None] = dict(rows)
        changes = [as_update(entry, origins[entry.id]) for entry in entries]
        query = (
            "UPDATE {entries} SET name = new.name, fields = new.fields, "
            "entry_checksum = new.checksum FROM unnest(%s::text[], %s::text[], "
            "%s::bigint[], %s::text[]) AS new (name, fields, checksum, id) "
            "WHERE {entries}.id = new.id"
        )
        columns = [list(column) for column in zip(*changes, strict=True)]
        with self._state() as located:
            self._server.do(literal({"entries": located.table}, query), columns)

    def _nearest(
        self, units: Float32[np.ndarray, "queries dim"], k: int, where: Filter
    ) -> list[list[Match]]:
        with self._state() as located:
            return nearest_photos(self._server, located, units, k, where)

    def _as_block(
        self, rows: Rows, meta: GalleryMeta
    ) -> tuple[list[Entry], Float32[np.ndarray, "rows dim"]]:
        """Entries and embeddings of rows of ``ENTRY`` and ``EMBEDDING``."""
        entries = [as_entry(row[:7], self._server) for row in rows]
        vectors = [(row[0], *row[7:]) for row in rows]
        return entries, as_units(vectors, meta.embedding_size, self._server)

    def _ask(
        self, select: str, condition: sql.Composable, values: Sequence[Any]
    ) -> Rows:
        """The rows that meet a condition, in the order of adding."""
        with self._state() as located:
            return self._server.ask(select_entries(located, select, condition), values)

    def _stream(
        self,
        select: str,
        condition: sql.Composable,
        values: Sequence[Any],
    ) -> Iterator[tuple[Located, Rows]]:
        """What ``_ask`` gives, block by block, over a connection of its own.

        So the gallery can be asked and changed while they are read.
        """
        with closing(Server(self._server.address)) as server, one_state(server) as at:
            query = select_entries(at, select, condition)
            for rows in server.stream(query, values, _ROWS_A_READ):
                yield at, rows
