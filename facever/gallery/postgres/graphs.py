"""Graphs of a gallery's embeddings, which find the nearest without looking at all.

A graph gives as many photos as it is asked for, the candidates, of which the nearest
are taken: the more, the fewer are missed and the longer a search takes.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from psycopg import sql

from facever.choices import PostgresIndexKind
from facever.errors import FaceverError, ParameterError
from facever.gallery.postgres.server import Server, literal
from facever.progress import Advance

_WATCHED_EVERY_SECONDS = 1.0

# With twice pgvector's default as many photos are found among half the candidates, for
# twice the time of building and, of 128 numbers in float16, a third more of memory.
_LINKS = 32
# In memory while a graph is built, measured as 1,420 bytes a photo with 264 of its own.
_BYTES_OF_LINKS = 1_200

INDEXES: dict[PostgresIndexKind, int] = {
    "exact": 16_000,
    "hnsw": 2_000,
    "halfvec": 4_000,
}
"""The kinds of index, and how many numbers an embedding may have with each."""

CANDIDATES = (200, 400, 700, 1_000)
"""Numbers of candidates to choose from; pgvector's graphs give no more than the last.

A graph has the first until it is built over enrolled photos and measured.
"""


def check_index(index: str, embedding_size: int) -> None:
    """Refuse an index that is unknown or cannot hold such embeddings.

    Raises:
        ParameterError: If it is; the message names what there is.
    """
    most = {str(kind): most for kind, most in INDEXES.items()}.get(index)
    if most is None:
        kinds = ", ".join(INDEXES)
        raise ParameterError(
            f"index must be one of {kinds} for a gallery in PostgreSQL (--index), got "
            f"{index!r}"
        )
    if embedding_size > most:
        raise ParameterError(
            f"with index={index} an embedding may have {most:,} numbers, got "
            f"{embedding_size:,}"
        )


def make_index(server: Server, table: str, index: str, size: int) -> None:
    """Make the index of a kind for the embeddings; ``exact`` has none."""
    names: dict[str, str | int] = {"entries": table, "size": size}
    if index == "hnsw":
        server.do(
            literal(
                names,
                "CREATE INDEX ON {entries} USING hnsw (embedding vector_ip_ops) "
                f"WITH (m = {_LINKS})",
            )
        )
    elif index == "halfvec":
        server.do(
            literal(
                names,
                "CREATE INDEX ON {entries} USING hnsw "
                "((embedding::halfvec({size})) halfvec_ip_ops) "
                f"WITH (m = {_LINKS})",
            )
        )


def indexes_of(server: Server, table: str) -> list[str]:
    """The names of the indexes of the embeddings, of whatever kind."""
    rows = server.ask(
        sql.SQL(
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'facever' "
            "AND tablename = %s AND indexdef LIKE '%% USING hnsw %%'"
        ),
        (table,),
    )
    return [name for (name,) in rows]


def replace_index(
    server: Server, table: str, index: str, size: int, advance: Advance
) -> None:
    """Build the index of a kind, and take away what there was.

    Others search with that until the new one is there.

    Args:
        server: The server, within ``writing``.
        table: The table of the entries.
        index: Kind of index.
        size: Number of values in an embedding.
        advance: Gets the number of entries that have just been taken in.
    """
    old = indexes_of(server, table)
    # A graph that does not fit is built many times slower.
    [(count, _)] = server.ask(
        literal(
            {"entries": table, "bytes": 4 * size + _BYTES_OF_LINKS},
            "SELECT count(*), set_config('maintenance_work_mem', greatest("
            "pg_size_bytes(current_setting('maintenance_work_mem')), least("
            "count(*) * {bytes}, pg_size_bytes(current_setting('effective_cache_size'))"
            " / 4)) / 1024 || 'kB', true) FROM {entries}",
        )
    )
    with _watched(server, table, count, advance):
        make_index(server, table, index, size)
    for name in old:
        server.do(literal({"index": name}, "DROP INDEX {index}"))


@contextmanager
def _watched(
    server: Server, table: str, count: int, advance: Advance
) -> Iterator[None]:
    """Report how far the server is with an index, which another connection can see."""
    query = sql.SQL(
        "SELECT blocks_done, blocks_total FROM pg_stat_progress_create_index p "
        "JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = 'facever' AND c.relname = %s "
        "AND blocks_total > 0"
    )
    is_built = threading.Event()
    done = 0

    def watch() -> None:
        nonlocal done
        # Without a second connection there is no progress to show, but an index.
        with suppress(FaceverError), closing(Server(server.address)) as second:
            while not is_built.wait(_WATCHED_EVERY_SECONDS):
                for blocks, all_blocks in second.ask(query, (table,)):
                    now = count * blocks // all_blocks
                    advance(max(0, now - done))
                    done = max(done, now)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_built.set()
        watcher.join()
    advance(count - done)
