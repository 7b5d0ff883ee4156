"""Search an index for photos, or for people by their best or mean photo."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.choices import By
from facever.gallery.entries import Filter
from facever.gallery.folder.indexed_rows import IndexedRows
from facever.gallery.folder.store import GalleryStore
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.index import Found, Index

# So few are compared one by one, whatever the index: a search for these alone among
# many others would miss some.
_FEW = 4096

# People by their mean: so many times as many as asked for are looked at, by their best.
_PEOPLE = 4

# Rough cosines: so many times as many photos as asked for, and at least so many, are
# compared exactly.
_OVERSAMPLING = 8
_LEAST_CANDIDATES = 64


@dataclass(frozen=True)
class Hit:
    """A row of the database that was found.

    Attributes:
        number: The row's; for a person, that of the photo most similar to the query.
        cosine: Its own, or the person's best or mean.
    """

    number: int
    cosine: float


class Searcher:
    """An index and its rows, searched for photos or people.

    All methods are called within ``store.reading``.

    Attributes:
        index: Of the embeddings.
        rows: What it holds.
        num_saved: Rows of the index that are in the gallery's index file.
        num_learned: Rows that there were when the index learned from them.
    """

    def __init__(self, store: GalleryStore, index: Index) -> None:
        """Begin with nothing in memory; ``refresh`` reads.

        Args:
            store: To read from.
            index: Empty, or with the rows that ``take`` is going to be told of.
        """
        self.index = index
        self.rows = IndexedRows(store)
        self._store = store
        self.num_saved = 0
        self.num_learned = 0

    def take(self, numbers: Int64[np.ndarray, " rows"]) -> None:
        """Say which rows, ascending, an index that was read from a file holds."""
        self.rows.take(numbers)
        self.num_saved = self.num_learned = len(numbers)

    def refresh(self) -> None:
        """Bring memory up to what the database holds now, whoever changed it."""
        self.rows.refresh(self.index)

    def search(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The photos or people most similar to each query, most similar first.

        Args:
            units: Queries of unit length.
            k: At least 1.
            by: ``photo``; or one hit a person, whose cosine is the ``best`` or the
                ``mean`` of their photos'. With an approximate index the mean is taken
                of people with a photo among the nearest.
            where: Search these alone.
        """
        allowed = self._allowed(where)
        num_left = len(self.rows.numbers) if allowed is None else int(allowed.sum())
        if num_left == 0 or len(units) == 0:
            return [[] for _ in units]
        if by == "photo":
            return self._photos(units, min(k, num_left), allowed)
        if by == "mean" and isinstance(self.index, ExactIndex):
            return [
                self._means(self.index.scores(query[None])[0], k, allowed)
                for query in units
            ]
        if by == "best":
            return self._people(units, k, num_left, allowed)
        found = self._people(units, _PEOPLE * k, num_left, allowed)
        return [
            self._mean_of(query, hits, allowed)[:k]
            for query, hits in zip(units, found, strict=True)
        ]

    def _allowed(self, where: Filter | None) -> Bool[np.ndarray, " rows"] | None:
        if where is None or not (where.names or where.fields):
            return None if self.rows.alive.all() else self.rows.alive
        allowed = np.zeros(len(self.rows.numbers), bool)
        allowed[self.rows.places(self._store.chosen(where))] = True
        return allowed

    def _photos(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> list[list[Hit]]:
        if not self.index.exact:
            cosine, rows = self._search_roughly(units, k, allowed)
        else:
            cosine, rows = self.index.search(units, k, allowed)
        return [
            [
                Hit(int(self.rows.numbers[row]), float(score))
                for score, row in zip(scores, found, strict=True)
                if row >= 0
            ]
            for scores, found in zip(cosine, rows, strict=True)
        ]

    def _search_roughly(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> Found:
        """Candidates from the index, compared exactly where its cosines are rough."""
        num_left = len(self.rows.numbers) if allowed is None else int(allowed.sum())
        if num_left <= _FEW:
            left = np.arange(num_left) if allowed is None else np.flatnonzero(allowed)
            few = np.broadcast_to(left, (len(units), num_left))
            return self._compare(units, few, k)
        wide = k
        if self.index.compressed:
            wide = min(num_left, max(_LEAST_CANDIDATES, _OVERSAMPLING * k))
        cosine, rows = self.index.search(units, wide, allowed)
        if self.index.compressed:
            return self._compare(units, rows, k)
        return cosine, rows

    def _compare(
        self,
        units: Float32[np.ndarray, "queries dim"],
        candidates: Int64[np.ndarray, "queries some"],
        k: int,
    ) -> Found:
        """The best ``k`` of each query's candidates, -1 for none, compared exactly."""
        places = np.unique(candidates[candidates >= 0])
        _, stored = self._store.embeddings(self.rows.numbers[places])
        where = np.searchsorted(places, candidates).clip(max=max(0, len(places) - 1))
        scores = np.full(candidates.shape, -np.inf, np.float32)
        for query, unit in enumerate(units):
            if len(places):
                scores[query] = np.clip(stored[where[query]] @ unit, -1.0, 1.0)
        scores[candidates < 0] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(scores, best, axis=1),
            np.take_along_axis(candidates, best, axis=1),
        )

    def _people(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        num_left: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> list[list[Hit]]:
        """The best photo of each of the ``k`` nearest people.

        The nearest photos hold them if these photos are of ``k`` people; if not, more
        photos are looked at.
        """
        results: list[list[Hit]] = [[] for _ in units]
        waiting = np.arange(len(units))
        num_photos = 4 * k
        while len(waiting):
            num_photos = min(8 * num_photos, num_left)
            found = self._photos(units[waiting], num_photos, allowed)
            short = []
            for query, hits in zip(waiting, found, strict=True):
                places = self.rows.places(
                    np.array([hit.number for hit in hits], np.int64)
                )
                first = np.unique(self.rows.codes[places], return_index=True)[1]
                results[query] = [hits[place] for place in np.sort(first)[:k]]
                if len(first) < k and num_photos < num_left:
                    short.append(query)
            waiting = np.array(short, np.int64)
        return results

    def _means(
        self,
        scores: Float32[np.ndarray, " rows"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> list[Hit]:
        """The ``k`` people whose photos' cosines have the highest mean."""
        rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
        codes, scores = self.rows.codes[rows], np.clip(scores[rows], -1.0, 1.0)
        counts = np.bincount(codes, minlength=self.rows.num_people)
        sums = np.bincount(codes, weights=scores, minlength=self.rows.num_people)
        means = np.full(len(counts), -np.inf)
        np.divide(sums, counts, out=means, where=counts > 0)
        hits = []
        for code in np.argsort(-means, kind="stable")[:k]:
            if counts[code]:
                own = np.flatnonzero(codes == code)
                nearest = rows[own[scores[own].argmax()]]
                hits.append(Hit(int(self.rows.numbers[nearest]), float(means[code])))
        return hits

    def _mean_of(
        self,
        query: Float32[np.ndarray, " dim"],
        hits: list[Hit],
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> list[Hit]:
        """The same people with the exact mean over all of their photos."""
        means = []
        for hit in hits:
            code = self.rows.codes[self.rows.places(np.array([hit.number]))[0]]
            own = self.rows.codes == code
            rows = np.flatnonzero(
                own & (self.rows.alive if allowed is None else allowed)
            )
            _, units = self._store.embeddings(self.rows.numbers[rows])
            scores = np.clip(units @ query, -1.0, 1.0)
            nearest = int(self.rows.numbers[rows[scores.argmax()]])
            means.append(Hit(nearest, float(scores.mean(dtype=np.float64))))
        return sorted(means, key=lambda hit: -hit.cosine)
