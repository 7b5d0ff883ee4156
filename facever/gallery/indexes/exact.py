"""Exact nearest neighbours by cosine: rows are screened, scanned or multiplied.

For a few queries, rows that have been searched before have 8-bit copies, their screen:
rough cosines, and a bound on their error, say which few rows can be among the nearest,
and these are compared in float32. Nothing is missed, and a fourth of the memory is
read. For many queries BLAS is as fast.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from facever.gallery.indexes.index import EXACT, Found, Index

if TYPE_CHECKING:
    from facever.gallery.indexes.screening import Screen

# Most rows of a block, except for one that is given as a whole.
_MOST_ROWS = 2**18

# Scores that are held at once: 16 MiB, so that the cache still holds their memory for
# the next block.
_BLOCK_ROWS = 2**16
_BLOCK_QUERIES = 64

# For few queries blocks are larger: each takes a dozen calls of torch, or one of faiss.
_LARGE_BLOCK_ROWS = 2**18

# Milliseconds for 200,000 rows of 512 on two cores with AVX2:
#     queries        1     2     4     8    16
#     screen         9    13    21    30    60
#     BLAS          18    52    55    50    60
#     faiss, rows   36    31    65   125   240
_SCREENED_QUERIES = 8
_SCANNED_QUERIES = 2

# To screen this many rows takes 0.1 s, fifty times what it saves in a search. Each
# search but the first screens this many more, so that none waits for all of them.
_SCREENED_A_SEARCH = 2**14

# To import torch takes seconds; fewer numbers than this are compared in 30 ms without.
_WORTH_TORCH = 2**26

# To find more rows than this, too many would have to be compared exactly.
_MOST_SCREENED = 1024

# If fewer than a fourth of the rows may be found, only these are multiplied.
_FEW_ALLOWED = 0.25


class GrowingRows:
    """Rows of float32; those of an index file are mapped, the others in memory."""

    def __init__(self, rows: Float32[np.ndarray, "rows dim"]) -> None:
        """Begin with rows, which are not copied, or with none of the right size."""
        self._blocks = [rows]
        self._last = np.empty((0, rows.shape[1]), np.float32)
        self._num_last = 0
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Number of values in a row."""
        return self._last.shape[1]

    def add(self, rows: Float32[np.ndarray, "rows dim"]) -> None:
        """Append rows."""
        while len(rows):
            if self._num_last == len(self._last):
                self._make_room(len(rows))
            some = rows[: len(self._last) - self._num_last]
            end = self._num_last + len(some)
            self._last[self._num_last : end] = some
            self._num_last = end
            self._count += len(some)
            rows = rows[len(some) :]

    def blocks(
        self, first: int, end: int, most: int
    ) -> Iterator[tuple[int, Float32[np.ndarray, "rows dim"]]]:
        """The rows of a range in order, in blocks of limited size.

        Yields:
            The place of the first one, and the rows, which are not copied.
        """
        start = 0
        for block in (*self._blocks, self._last[: self._num_last]):
            stop = start + len(block)
            for place in range(max(first, start), min(end, stop), most):
                upto = min(place + most, end, stop)
                yield place, block[place - start : upto - start]
            start = stop

    def _make_room(self, num_rows: int) -> None:
        """Let the last block grow, or begin another one."""
        if self._num_last >= _MOST_ROWS:
            self._blocks.append(self._last)
            self._last = self._last[:0]
            self._num_last = 0
        room = min(_MOST_ROWS, max(2 * self._num_last, num_rows))
        grown = np.empty((room, self.size), np.float32)
        grown[: self._num_last] = self._last
        self._last = grown


class Nearest:
    """The ``k`` highest cosines of each query, highest first, and their rows.

    Attributes:
        cosine: The cosines; -inf fills up if fewer rows were compared.
        rows: The rows; -1 fills up.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self.cosine: Float32[np.ndarray, "queries k"] = np.full(
            (num_queries, k), -np.inf, np.float32
        )
        self.rows: Int64[np.ndarray, "queries k"] = np.full(
            (num_queries, k), -1, np.int64
        )

    def take(
        self,
        query: int,
        cosine: Float32[np.ndarray, " some"],
        rows: Int64[np.ndarray, " some"],
    ) -> None:
        """Compare more rows with a query."""
        best, best_rows = self.cosine[query], self.rows[query]
        # After the first blocks, hardly any cosine is above the lowest of the best.
        higher = np.flatnonzero(cosine > best[-1])
        k = len(best)
        if len(higher) > k:
            higher = higher[np.argpartition(cosine[higher], -k)[-k:]]
        if len(higher):
            all_cosines = np.concatenate([best, cosine[higher]])
            all_rows = np.concatenate([best_rows, rows[higher]])
            order = np.argsort(-all_cosines, kind="stable")[:k]
            best[:], best_rows[:] = all_cosines[order], all_rows[order]

    def found(self) -> Found:
        """Cosines, which rounding may have left beyond 1, and rows."""
        return np.where(self.rows >= 0, self.cosine.clip(-1, 1), -np.inf), self.rows


class ExactIndex(Index):
    """Unit embeddings in memory or in a mapped file, searched without approximation."""

    kind = EXACT
    exact = True

    def __init__(self, rows: Float32[np.ndarray, "rows dim"]) -> None:
        """Begin with unit embeddings, which are not copied, or none of that size."""
        self._rows = GrowingRows(rows)
        self._screen: Screen | None = None
        self._was_searched = False

    @classmethod
    def train(
        cls, sample: Float32[np.ndarray, "rows dim"], num_rows: int
    ) -> "ExactIndex":
        """An empty index: there is nothing to learn."""
        return cls(sample[:0])

    @classmethod
    def from_parts(
        cls, content: UInt8[np.ndarray, " bytes"], embedding_size: int
    ) -> "ExactIndex":
        """The index that gave these ``parts``, which are not copied."""
        return cls(content.view("<f4").reshape(-1, embedding_size))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        self._rows.add(embeddings)

    def parts(self) -> Iterator[Float32[np.ndarray, "rows dim"]]:
        """The whole index, part by part, for a file."""
        for _, units in self._rows.blocks(0, len(self), _BLOCK_ROWS):
            yield units.astype("<f4", copy=False)

    def scores(
        self, embeddings: Float32[np.ndarray, "queries dim"]
    ) -> Float32[np.ndarray, "queries rows"]:
        """The cosines of each query with all rows."""
        scores = np.empty((len(embeddings), len(self)), np.float32)
        for start, units in self._rows.blocks(0, len(self), _BLOCK_ROWS):
            scores[:, start : start + len(units)] = embeddings @ units.T
        return scores

    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query; see ``Index``."""
        num_screened = 0
        if len(embeddings) <= _SCREENED_QUERIES and k <= _MOST_SCREENED:
            num_screened = self._screen_more()
        found = []
        for first in range(0, len(embeddings), _BLOCK_QUERIES):
            queries = embeddings[first : first + _BLOCK_QUERIES]
            nearest = Nearest(len(queries), k)
            self._compare_screened(queries, num_screened, allowed, nearest)
            self._compare(queries, num_screened, allowed, nearest)
            found.append(nearest.found())
        cosine, rows = zip(*found, strict=True)
        return np.concatenate(cosine), np.concatenate(rows)

    def _screen_more(self) -> int:
        """Screen some more rows, and say how many have been."""
        if len(self) < _SCREENED_A_SEARCH or not self._was_searched:
            self._was_searched = True
            return 0
        if len(self) * self._rows.size < _WORTH_TORCH and "torch" not in sys.modules:
            return 0
        from facever.gallery.indexes.screening import Screen, can_screen

        if not can_screen():
            return 0
        if self._screen is None:
            self._screen = Screen(self._rows.size)
        start = len(self._screen)
        end = min(start + _SCREENED_A_SEARCH, len(self))
        for _, units in self._rows.blocks(start, end, _SCREENED_A_SEARCH):
            self._screen.add(units)
        return end

    def _compare_screened(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        end: int,
        allowed: Bool[np.ndarray, " rows"] | None,
        nearest: Nearest,
    ) -> None:
        """Find the best of the rows up to ``end``, which have been screened."""
        for start, units in self._rows.blocks(0, end, _LARGE_BLOCK_ROWS):
            block = slice(start, start + len(units))
            keep = None if allowed is None else allowed[block]
            near = None
            if self._screen and (keep is None or keep.mean() >= _FEW_ALLOWED):
                near = self._screen.candidates(queries, block, keep, nearest.cosine)
            if near is None:
                _multiply(queries, start, units, keep, nearest)
                continue
            for query, some in enumerate(near):
                # einsum leaves BLAS's threads asleep, which would disturb torch's.
                cosine = np.einsum("rd,d->r", units[some - start], queries[query])
                nearest.take(query, cosine, some)

    def _compare(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        first: int,
        allowed: Bool[np.ndarray, " rows"] | None,
        nearest: Nearest,
    ) -> None:
        """Find the best of the rows from ``first`` on, too."""
        if allowed is None and len(queries) <= _SCANNED_QUERIES:
            for start, units in self._rows.blocks(first, len(self), _LARGE_BLOCK_ROWS):
                _scan(queries, start, units, nearest)
            return
        for start, units in self._rows.blocks(first, len(self), _BLOCK_ROWS):
            keep = None if allowed is None else allowed[start : start + len(units)]
            _multiply(queries, start, units, keep, nearest)


def _multiply(
    queries: Float32[np.ndarray, "queries dim"],
    start: int,
    units: Float32[np.ndarray, "rows dim"],
    keep: Bool[np.ndarray, " rows"] | None,
    nearest: Nearest,
) -> None:
    """Find the best of a block by BLAS."""
    places = np.arange(start, start + len(units))
    if keep is not None and keep.mean() < _FEW_ALLOWED:
        units, places, keep = units[keep], places[keep], None
    cosine = queries @ units.T
    if keep is not None:
        cosine[:, ~keep] = -np.inf
    for query, of_query in enumerate(cosine):
        nearest.take(query, of_query, places)


def _scan(
    queries: Float32[np.ndarray, "queries dim"],
    start: int,
    units: Float32[np.ndarray, "rows dim"],
    nearest: Nearest,
) -> None:
    """Find the best of a block, row by row."""
    k = min(nearest.rows.shape[1], len(units))
    cosine, rows = faiss.knn(
        np.ascontiguousarray(queries), units, k, metric=faiss.METRIC_INNER_PRODUCT
    )
    for query, (of_query, near) in enumerate(zip(cosine, rows, strict=True)):
        nearest.take(query, of_query, near + start)
