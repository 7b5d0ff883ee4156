"""Exact nearest neighbours by cosine: rows are screened, scanned or multiplied.

For a few queries, rows that have been searched before have 8-bit copies, their screen:
rough cosines, and a bound on their error, say which few rows can be among the nearest,
and these are compared in float32. Nothing is missed, and a fourth of the memory is
read. For many queries BLAS is as fast.
"""

from typing import TYPE_CHECKING

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.gallery.index import Found

if TYPE_CHECKING:
    from facever.gallery.screening import Screen

# Scores held at once: 16 MiB, which the next block finds warm.
_BLOCK_ROWS = 2**16
_BLOCK_QUERIES = 64

# Of a screen, for few queries: each block takes a dozen calls of torch.
_SCREENED_BLOCK_ROWS = 2**18

# Milliseconds for 200,000 rows of 512 on two cores with AVX2:
#     queries        1     2     4     8    16
#     screen         9    13    21    30    60
#     BLAS          18    52    55    50    60
#     faiss, rows   36    31    65   125   240
_SCREENED_QUERIES = 8
_SCANNED_QUERIES = 2

# To screen so many rows takes 0.1 s, fifty times what it saves a search: each search
# but the first screens as many, so that none waits for all of them.
_SCREENED_A_SEARCH = 2**14

# To find more than that, too many rows would have to be compared.
_MOST_SCREENED = 1024

# Where fewer than a fourth of the rows may be found, they alone are multiplied.
_FEW_ALLOWED = 0.25


class ExactIndex:
    """Unit embeddings in memory, searched without approximation."""

    kind = "exact"
    exact = True
    compressed = False

    def __init__(self, embedding_size: int) -> None:
        self._units = np.empty((0, embedding_size), np.float32)
        self._count = 0
        self._screen: Screen | None = None
        self._was_searched = False

    def __len__(self) -> int:
        return self._count

    def reserve(self, num_rows: int) -> None:
        """Make room for that many embeddings in all, so that none is copied later."""
        if num_rows > len(self._units):
            grown = np.empty((num_rows, self._units.shape[1]), np.float32)
            grown[: self._count] = self._units[: self._count]
            self._units = grown

    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        end = self._count + len(embeddings)
        if end > len(self._units):
            self.reserve(max(end, 2 * self._count))
        self._units[self._count : end] = embeddings
        self._count = end

    def scores(
        self, embeddings: Float32[np.ndarray, "queries dim"]
    ) -> Float32[np.ndarray, "queries rows"]:
        """The cosines of each query with all rows."""
        scores: Float32[np.ndarray, "queries rows"] = (
            embeddings @ self._units[: self._count].T
        )
        return scores

    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query; see ``Index``."""
        num_screened = 0
        if 0 < len(embeddings) <= _SCREENED_QUERIES and k <= _MOST_SCREENED:
            num_screened = self._screen_more()
        cosine = np.full((len(embeddings), k), -np.inf, np.float32)
        rows = np.full((len(embeddings), k), -1, np.int64)
        for first in range(0, len(embeddings), _BLOCK_QUERIES):
            some = slice(first, first + _BLOCK_QUERIES)
            best = cosine[some], rows[some]
            self._compare_screened(embeddings[some], num_screened, allowed, *best)
            self._compare(embeddings[some], num_screened, allowed, *best)
        return np.clip(cosine, -1.0, 1.0, where=rows >= 0, out=cosine), rows

    def _screen_more(self) -> int:
        """Screen some more rows, and say how many have been."""
        if self._count < _SCREENED_A_SEARCH or not self._was_searched:
            self._was_searched = True
            return 0
        # To import torch takes a second, which small galleries are spared.
        from facever.gallery.screening import Screen, can_screen

        if not can_screen():
            return 0
        if self._screen is None:
            self._screen = Screen(self._units.shape[1])
        start = len(self._screen)
        if start < self._count:
            end = min(start + _SCREENED_A_SEARCH, self._count)
            self._screen.add(self._units[start:end])
        return len(self._screen)

    def _compare_screened(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        num_screened: int,
        allowed: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> None:
        """Find the best of the rows that have been screened."""
        for start in range(0, num_screened, _SCREENED_BLOCK_ROWS):
            block = slice(start, min(start + _SCREENED_BLOCK_ROWS, num_screened))
            keep = None if allowed is None else allowed[block]
            near = None
            if self._screen and (keep is None or keep.mean() >= _FEW_ALLOWED):
                near = self._screen.candidates(queries, block, keep, cosine)
            if near is None:
                self._multiply(queries, block, keep, cosine, rows)
                continue
            for query, some in enumerate(near):
                # einsum leaves BLAS's threads asleep, which would disturb torch's.
                exact = np.einsum("rd,d->r", self._units[some], queries[query])
                _merge(cosine[query], rows[query], exact, some)

    def _compare(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        first: int,
        allowed: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> None:
        """Find the best of the rows from ``first`` on, too."""
        if first == self._count:
            return
        if allowed is None and len(queries) <= _SCANNED_QUERIES:
            found = self._scan(queries, first, cosine.shape[1])
            for query, (scores, near) in enumerate(zip(*found, strict=True)):
                _merge(cosine[query], rows[query], scores, near)
            return
        for start in range(first, self._count, _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, self._count))
            keep = None if allowed is None else allowed[block]
            self._multiply(queries, block, keep, cosine, rows)

    def _multiply(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        block: slice,
        keep: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> None:
        """Find the best of a block, too."""
        units, places = self._units[block], np.arange(block.start, block.stop)
        if keep is not None and keep.mean() < _FEW_ALLOWED:
            units, places, keep = units[keep], places[keep], None
        scores = queries @ units.T
        if keep is not None:
            scores[:, ~keep] = -np.inf
        for query, of_query in enumerate(scores):
            _merge(cosine[query], rows[query], of_query, places)

    def _scan(
        self, queries: Float32[np.ndarray, "queries dim"], first: int, k: int
    ) -> Found:
        """All rows from ``first`` on, one by one."""
        cosine, rows = faiss.knn(
            np.ascontiguousarray(queries),
            self._units[first : self._count],
            k,
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        return np.where(rows >= 0, cosine, -np.inf), np.where(
            rows >= 0, rows + first, -1
        )


def _merge(
    cosine: Float32[np.ndarray, " k"],
    rows: Int64[np.ndarray, " k"],
    scores: Float32[np.ndarray, " some"],
    places: Int64[np.ndarray, " some"],
) -> None:
    """Put the scores that belong among the ``k`` best, highest first, in there."""
    # After the first blocks hardly any score is above the lowest of the best.
    higher = np.flatnonzero(scores > cosine[-1])
    k = len(cosine)
    if len(higher) > k:
        higher = higher[np.argpartition(scores[higher], -k)[-k:]]
    if len(higher):
        all_scores = np.concatenate([cosine, scores[higher]])
        all_rows = np.concatenate([rows, places[higher]])
        best = np.argsort(-all_scores, kind="stable")[:k]
        cosine[:], rows[:] = all_scores[best], all_rows[best]
