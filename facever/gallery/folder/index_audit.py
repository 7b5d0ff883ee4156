"""What an index misses: its answers beside those of an exact search."""

import numpy as np
from jaxtyping import Float32, Int64

from facever.gallery.folder.searching import Searcher
from facever.gallery.folder.store import GalleryStore
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.meta import Audit

_SEED = 0

# Scores that differ by rounding alone are taken as equal.
_ROUNDING = 1e-5


def audit_index(
    store: GalleryStore, searcher: Searcher, num_queries: int, k: int
) -> Audit:
    """Search for some of the enrolled photos, and compare with exact search.

    Args:
        store: The gallery's store, within ``reading``.
        searcher: The gallery's searcher, refreshed.
        num_queries: Number of photos to look up, which are drawn with a fixed seed.
        k: Number of matches of each photo to compare.
    """
    alive = searcher.rows.alive_numbers
    k = min(k, len(alive) - 1)
    if k < 1:
        return Audit(0, 0, 1.0, 1.0)
    rng = np.random.default_rng(_SEED)
    count = min(num_queries, len(alive))
    numbers = np.sort(rng.choice(alive, count, replace=False))
    _, units = store.embeddings(numbers)
    exact = _exact_scores(store, numbers, units, k)
    found = np.full((count, k), -np.inf, np.float32)
    for query, hits in enumerate(searcher.search(units, k + 1)):
        others = [hit.cosine for hit in hits if hit.number != numbers[query]][:k]
        found[query, : len(others)] = others
    hit_first = found[:, 0] >= exact[:, 0] - _ROUNDING
    hits_in_all = found >= exact[:, -1:] - _ROUNDING
    return Audit(count, k, float(hit_first.mean()), float(hits_in_all.mean()))


def _exact_scores(
    store: GalleryStore,
    numbers: Int64[np.ndarray, " queries"],
    units: Float32[np.ndarray, "queries dim"],
    k: int,
) -> Float32[np.ndarray, "queries k"]:
    """The ``k`` highest cosines of each photo with others, highest first."""
    best = np.full((len(units), k), -np.inf, np.float32)
    for block_numbers, block in store.read_after(0):
        index = ExactIndex(block)
        cosine, rows = index.search(units, min(k + 1, len(block)))
        cosine[block_numbers[rows] == numbers[:, None]] = -np.inf
        best = -np.sort(-np.concatenate([best, cosine], axis=1), axis=1)[:, :k]
    return best
