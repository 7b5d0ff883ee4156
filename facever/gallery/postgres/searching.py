"""Search for the nearest photos: exact, or among the candidates of a graph."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from jaxtyping import Float32
from psycopg import sql

from facever.gallery.entries import Entry, Filter, Match
from facever.gallery.indexes.index import EXACT
from facever.gallery.postgres.graphs import CANDIDATES
from facever.gallery.postgres.nearest import NearestPhotos, by_nearness, cosines_with
from facever.gallery.postgres.rows import (
    EMBEDDING,
    ENTRY,
    NUMBERED,
    as_condition,
    as_entry,
    as_query,
    as_units,
    read_copied,
)
from facever.gallery.postgres.server import Query, Server, literal
from facever.gallery.postgres.tables import Located, select_entries

# Of as many queries exact search reads all embeddings once and compares them here: by
# then that is quicker than the server, even over a network of 1 Gbit/s.
_COMPARED_HERE_FROM = 16
_QUERIES_A_SEARCH = 1024
# Of the embeddings that one question of a search brings, and of a block of all.
_BYTES_A_SEARCH = 2**27
_BYTES_A_BLOCK = 2**23
_ROWS_A_BLOCK = 4096

# The server's own cosines differ by rounding from those that photos are put in order
# by: it is asked for a few photos more.
_ROUNDED_OTHERWISE = 16
# A graph has to give several candidates for each photo that is wanted.
_CANDIDATES_A_PHOTO = 4


def nearest_photos(
    server: Server,
    located: Located,
    units: Float32[np.ndarray, "queries dim"],
    k: int,
    where: Filter,
    is_exact: bool = False,
) -> list[list[Match]]:
    """The photos nearest to each query, nearest first, by cosines in float32.

    Args:
        server: The server, within ``reading`` or ``writing``.
        located: The gallery.
        units: Queries of unit length.
        k: Number of photos to find for each.
        where: Only photos that meet this; with a filter, search is exact.
        is_exact: Whether to leave a graph aside.
    """
    kind = located.meta.index
    is_exact = is_exact or kind == EXACT or not where.is_everything
    num_asked = k + _ROUNDED_OTHERWISE
    candidates = max(located.candidates, _CANDIDATES_A_PHOTO * k)
    is_exact = is_exact or candidates > CANDIDATES[-1]
    # The planner would guess which of the two is meant. A graph keeps photos that
    # were removed until the server cleans it up: it is searched on past these.
    server.ask(
        sql.SQL(
            "SELECT set_config('enable_indexscan', %s, true), "
            "set_config('enable_seqscan', %s, true), "
            "set_config('jit', 'off', true), "
            "set_config('hnsw.ef_search', %s, true), "
            "set_config('hnsw.iterative_scan', 'relaxed_order', true)"
        ),
        (
            "off" if is_exact else "on",
            "on" if is_exact else "off",
            str(min(candidates, CANDIDATES[-1])),
        ),
    )
    found: list[list[Match]] = []
    photos_at_once = _BYTES_A_SEARCH // (4 * located.meta.embedding_size)
    at_once = min(_QUERIES_A_SEARCH, max(1, photos_at_once // num_asked))
    for start in range(0, len(units), at_once):
        some = units[start : start + at_once]
        if is_exact and len(some) >= _COMPARED_HERE_FROM:
            numbers = _compare_here(server, located, some, k, where)
        else:
            condition, values = as_condition(where)
            asked = [as_query(unit) for unit in some]
            if is_exact:
                query = nearest_query(located, condition)
                rows = server.ask(query, [asked, *values, num_asked])
            else:
                query = graph_query(located)
                rows = server.ask(query, [asked, candidates, num_asked])
            numbers = [[] for _ in some]
            for place, number in rows:
                numbers[place - 1].append(number)
        found += _as_matches(server, located, some, numbers, k)
    short = [row for row, matches in enumerate(found) if len(matches) < k]
    if short and not is_exact:
        # So many were removed that the graph led to too few.
        exact = nearest_photos(server, located, units[short], k, where, True)
        for row, matches in zip(short, exact, strict=True):
            found[row] = matches
    return found


def _compare_here(
    server: Server,
    located: Located,
    units: Float32[np.ndarray, "queries dim"],
    k: int,
    where: Filter,
) -> list[list[int]]:
    """The numbers of each query's nearest photos, all of which are read once.

    The server would visit them again for each query, which takes it longer than
    the comparison.
    """
    condition, values = as_condition(where)
    query = sql.SQL("COPY ({select}) TO STDOUT WITH (FORMAT binary)").format(
        select=select_entries(
            located, f"SELECT {NUMBERED} FROM {{entries}}", condition, ""
        )
    )
    size = located.meta.embedding_size
    rows_a_block = max(1, min(_ROWS_A_BLOCK, _BYTES_A_BLOCK // (4 * size)))
    nearest = NearestPhotos(units, k)
    with closing(server.copy_out(query, values)) as content:
        for block in read_copied(content, size, rows_a_block, server):
            nearest.compare(*block)
    return nearest.numbers()


def _as_matches(
    server: Server,
    located: Located,
    units: Float32[np.ndarray, "queries dim"],
    numbers: Sequence[Sequence[int]],
    k: int,
) -> list[list[Match]]:
    """Each query's nearest photos among some, by embeddings in float32."""
    query = f"SELECT number, {ENTRY}, {EMBEDDING} FROM {{entries}}"
    wanted = {number for each in numbers for number in each}
    condition = sql.SQL("number = ANY(%s)")
    rows = server.ask(select_entries(located, query, condition, ""), [sorted(wanted)])
    place_of = {row[0]: place for place, row in enumerate(rows)}
    embeddings = as_units(
        [(row[1], *row[8:]) for row in rows],
        located.meta.embedding_size,
        server,
    )
    entries: dict[int, Entry] = {}
    found = []
    for unit, theirs in zip(units, numbers, strict=True):
        cosines = cosines_with(unit, embeddings[[place_of[each] for each in theirs]])
        matches = []
        for best in by_nearness(cosines, np.array(theirs, np.int64))[:k].tolist():
            number = theirs[best]
            if number not in entries:
                row = rows[place_of[number]]
                entries[number] = as_entry(row[1:8], server)
            entry = entries[number]
            matches.append(
                Match(
                    entry.name,
                    float(cosines[best]),
                    entry.source,
                    entry.id,
                    entry.fields,
                )
            )
        found.append(matches)
    return found


def nearest_query(located: Located, condition: sql.Composable) -> Query:
    """Place of a query, from 1, and numbers of the photos nearest to it, for many."""
    # Numbers alone, or it would copy every photo's row to put it in order.
    return select_entries(
        located,
        f"{_asked(located)} LATERAL (SELECT number FROM {{entries}}",
        condition,
        "ORDER BY embedding <#> asked.query, number LIMIT %s) AS near",
    )


def graph_query(located: Located) -> Query:
    """As ``nearest_query``, among the candidates that a graph gives."""
    size = located.meta.embedding_size
    cast = f"::halfvec({size})" if located.meta.index == "halfvec" else ""
    return literal(
        {"entries": located.table},
        f"{_asked(located)} LATERAL (SELECT number FROM (SELECT number, embedding "
        f"FROM {{entries}} ORDER BY embedding{cast} <#> asked.query{cast} LIMIT %s) "
        "AS candidates ORDER BY embedding <#> asked.query, number LIMIT %s) AS near",
    )


def _asked(located: Located) -> str:
    # Materialized, or the server would read a query's text anew for every photo.
    return (
        "WITH asked AS MATERIALIZED (SELECT place, "
        f"query::vector({located.meta.embedding_size}) AS query "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS texts (query, place)) "
        "SELECT asked.place, near.number FROM asked,"
    )
