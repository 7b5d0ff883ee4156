"""Exact nearest neighbours by cosine: rows are scanned, multiplied or screened.

A full block of rows gets an 8-bit copy, its screen: rough cosines, and a bound on their
error, say which few rows can be among the nearest, and these are compared in float32.
Nothing is missed, and a fourth of the memory is read.
"""

from typing import TYPE_CHECKING

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.gallery.index import Found

if TYPE_CHECKING:
    from facever.gallery.screening import Screen

# Scores held at once: 4 MiB, which the next block finds warm.
_BLOCK_ROWS = 2**14
_BLOCK_QUERIES = 64

# faiss compares so few queries row by row faster than BLAS multiplies: 3.3 ms beside
# 4.9 for one, 6.9 beside 9.9 for two, 18 beside 9.8 for four (50,000 rows of 256).
_SCANNED_QUERIES = 2

# Where fewer than a fourth of the rows may be found, they alone are multiplied.
_FEW_ALLOWED = 0.25

# A screen takes 0.15 s to make, sixty times what it saves a search for one query: each
# search but the first makes one, and one more for so many queries, so that none waits
# for all of them.
_QUERIES_A_SCREEN = 64

# To find more than that, too many rows of each block would have to be compared.
_MOST_SCREENED = 1024


class ExactIndex:
    """Unit embeddings in memory, searched without approximation."""

    kind = "exact"
    exact = True
    compressed = False

    def __init__(self, embedding_size: int) -> None:
        self._units = np.empty((0, embedding_size), np.float32)
        self._count = 0
        # Of the first blocks, which are full and do not change any more.
        self._screens: list[Screen] = []
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
        self._make_screens(len(embeddings) // _QUERIES_A_SCREEN + self._was_searched)
        self._was_searched = True
        cosine = np.full((len(embeddings), k), -np.inf, np.float32)
        rows = np.full((len(embeddings), k), -1, np.int64)
        for first in range(0, len(embeddings), _BLOCK_QUERIES):
            some = slice(first, first + _BLOCK_QUERIES)
            best = cosine[some], rows[some]
            num_screened = 0
            if self._screens and k <= _MOST_SCREENED:
                num_screened = self._screen(embeddings[some], allowed, *best)
            self._compare(embeddings[some], num_screened, allowed, *best)
        return np.clip(cosine, -1.0, 1.0, where=rows >= 0, out=cosine), rows

    def _make_screens(self, at_most: int) -> None:
        num_full = self._count // _BLOCK_ROWS
        if at_most == 0 or len(self._screens) == num_full:
            return
        # To import torch takes a second, which small galleries are spared.
        from facever.gallery.screening import Screen, can_screen

        if can_screen():
            first = len(self._screens)
            for number in range(first, min(first + at_most, num_full)):
                start = number * _BLOCK_ROWS
                block = self._units[start : start + _BLOCK_ROWS]
                self._screens.append(Screen(block))

    def _screen(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        allowed: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> int:
        """Find the best of the rows that have screens, and say how many these are."""
        for number, screen in enumerate(self._screens):
            start = number * _BLOCK_ROWS
            keep = None if allowed is None else allowed[start : start + _BLOCK_ROWS]
            if keep is not None and keep.mean() < _FEW_ALLOWED:
                self._multiply(queries, start, keep, cosine, rows)
                continue
            rough, slack = screen.cosines(queries)
            if keep is not None:
                rough[:, ~keep] = -np.inf
            for query, unit in enumerate(queries):
                near = start + _candidates(rough[query], slack[query], cosine[query])
                _merge(cosine[query], rows[query], self._units[near] @ unit, near)
        return len(self._screens) * _BLOCK_ROWS

    def _compare(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        first: int,
        allowed: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> None:
        """Find the best of the rows from ``first`` on, too."""
        if allowed is None and len(queries) <= _SCANNED_QUERIES:
            found = self._scan(queries, first, cosine.shape[1])
            for query, (scores, near) in enumerate(zip(*found, strict=True)):
                _merge(cosine[query], rows[query], scores, near)
            return
        for start in range(first, self._count, _BLOCK_ROWS):
            keep = None if allowed is None else allowed[start : start + _BLOCK_ROWS]
            self._multiply(queries, start, keep, cosine, rows)

    def _multiply(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        start: int,
        keep: Bool[np.ndarray, " rows"] | None,
        cosine: Float32[np.ndarray, "queries k"],
        rows: Int64[np.ndarray, "queries k"],
    ) -> None:
        """Find the best of the block that begins at a row, too."""
        places = np.arange(start, min(start + _BLOCK_ROWS, self._count))
        units = self._units[start : start + len(places)]
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


def _candidates(
    rough: Float32[np.ndarray, " rows"],
    slack: np.floating,
    best: Float32[np.ndarray, " k"],
) -> Int64[np.ndarray, " some"]:
    """The rows that may belong among the ``k`` best: all that do, and some more.

    Args:
        rough: Cosines, -inf for a row that must not be found.
        slack: By which they may be wrong.
        best: Exact cosines of the best so far, highest first.
    """
    places = np.flatnonzero(rough > best[-1] - slack)
    k = len(best)
    if len(places) > k:
        # So many rows of this block have at least this cosine.
        reached = np.partition(rough[places], -k)[-k] - slack
        places = places[rough[places] >= reached - slack]
    return places


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
