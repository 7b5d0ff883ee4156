"""What an index misses: its answers beside those of exact search."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from facever.gallery.entries import Filter
from facever.gallery.indexes.index import EXACT
from facever.gallery.meta import Audit
from facever.gallery.postgres.graphs import CANDIDATES
from facever.gallery.postgres.rows import EMBEDDING, as_units
from facever.gallery.postgres.searching import nearest_photos
from facever.gallery.postgres.server import Server, literal
from facever.gallery.postgres.tables import Located

# How many candidates a graph needs is measured on photos of the gallery: as many as can
# tell that share.
_NUM_LOOKED_UP = 1_000
_WANTED_RECALL = 0.999

_SEED = 0
# Scores that differ by rounding alone are taken as equal.
_ROUNDING = 1e-5


def audit_index(server: Server, located: Located, num_queries: int, k: int) -> Audit:
    """Search for some of the enrolled photos, and compare with exact search.

    Args:
        server: The server, within ``reading``.
        located: The gallery.
        num_queries: Number of photos to look up, which are drawn with a fixed seed.
        k: Number of matches of each photo to compare.
    """
    ids, units, num_enrolled = _draw_photos(server, located, num_queries)
    k = min(k, num_enrolled - 1)
    if k < 1:
        return Audit(0, 0, 1.0, 1.0)
    exact, found = (
        _scores_of_others(server, located, ids, units, k, is_exact)
        for is_exact in (True, False)
    )
    hits_in_all = found >= exact[:, -1:] - _ROUNDING
    return Audit(
        len(ids),
        k,
        _recall_at_1(found, exact),
        float(hits_in_all.mean()),
        None if located.meta.index == EXACT else located.candidates,
    )


def enough_candidates(server: Server, located: Located) -> int:
    """The fewest candidates with which a graph misses next to nothing.

    Args:
        server: The server, within ``reading`` or ``writing``.
        located: The gallery; where it has no graph, the number is the lowest.
    """
    if located.meta.index == EXACT:
        return CANDIDATES[0]
    ids, units, num_enrolled = _draw_photos(server, located, _NUM_LOOKED_UP)
    if num_enrolled < 2:
        return CANDIDATES[0]
    exact = _scores_of_others(server, located, ids, units, 1, is_exact=True)
    for candidates in CANDIDATES:
        searched = located._replace(candidates=candidates)
        found = _scores_of_others(server, searched, ids, units, 1, is_exact=False)
        if _recall_at_1(found, exact) >= _WANTED_RECALL:
            break
    return candidates


def _draw_photos(
    server: Server, located: Located, count: int
) -> tuple[list[str], Float32[np.ndarray, "photos dim"], int]:
    """Ids and embeddings of at most so many photos, and the number of all."""
    names = {"entries": located.table}
    query = "SELECT number FROM {entries} ORDER BY number"
    numbers = [number for (number,) in server.ask(literal(names, query))]
    rng = np.random.default_rng(_SEED)
    drawn = rng.choice(numbers, min(count, len(numbers)), replace=False)
    query = f"SELECT id, {EMBEDDING} FROM {{entries}} WHERE number = ANY(%s)"
    rows = server.ask(literal(names, query), [drawn.tolist()])
    units = as_units(rows, located.meta.embedding_size, server)
    return [row[0] for row in rows], units, len(numbers)


def _scores_of_others(
    server: Server,
    located: Located,
    ids: Sequence[str],
    units: Float32[np.ndarray, "photos dim"],
    k: int,
    is_exact: bool,
) -> Float32[np.ndarray, "photos k"]:
    """The highest cosines of each photo with photos other than itself."""
    found = nearest_photos(server, located, units, k + 1, Filter(), is_exact)
    scores = np.full((len(found), k), -np.inf, np.float32)
    for row, (matches, entry_id) in enumerate(zip(found, ids, strict=True)):
        others = [match.cosine for match in matches if match.id != entry_id][:k]
        scores[row, : len(others)] = others
    return scores


def _recall_at_1(
    found: Float32[np.ndarray, "photos k"], exact: Float32[np.ndarray, "photos k"]
) -> float:
    """The share of photos whose nearest other photo was found, or one as near."""
    return float((found[:, 0] >= exact[:, 0] - _ROUNDING).mean())
