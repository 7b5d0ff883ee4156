"""Search an index for photos, or for people by their best or mean photo."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.choices import By
from facever.gallery.entries import Filter
from facever.gallery.folder.index_rows import IndexRows
from facever.gallery.folder.store import GalleryStore
from facever.gallery.indexes.index import Found, Index
from facever.gallery.people import people_by_best, people_by_mean

# Up to this many photos are compared one by one, whatever the index: a search for a
# few among many others would miss some.
_FEW = 4096

# If cosines are rough, this many times the number of photos asked for, and at least
# this many, are compared exactly.
_OVERSAMPLING = 8
_LEAST_CANDIDATES = 64


@dataclass(frozen=True)
class Hit:
    """A row of the database that was found.

    Attributes:
        number: The row's number; where a hit is a person, that of their photo most
            similar to the query.
        cosine: The photo's cosine, or the person's best or mean.
        person: Number that stands for the person on the photo, one for each name.
    """

    number: int
    cosine: float
    person: int


class Searcher:
    """An index and its rows, searched for photos or people.

    All methods are called within ``store.reading``.

    Attributes:
        index: The index of the embeddings.
        rows: Which photos its rows are.
        num_saved: Number of rows that are in the gallery's index file.
        num_learned: Number of rows when the index learned from them.
    """

    def __init__(self, store: GalleryStore, index: Index) -> None:
        """Begin with nothing in memory; ``refresh`` reads.

        Args:
            store: The store to read from.
            index: An empty index, or one with the rows that ``take`` is told of next.
        """
        self.index = index
        self.rows = IndexRows(store)
        self._store = store
        self.num_saved = 0
        self.num_learned = 0

    def take(self, numbers: Int64[np.ndarray, " rows"]) -> None:
        """Say which rows, ascending, an index that was read from a file holds."""
        self.rows.take(numbers)
        self.num_saved = self.num_learned = len(numbers)

    def refresh(self) -> None:
        """Follow all changes of the database, whoever made them."""
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
            k: Number of hits to find for each, at least 1.
            by: ``photo``: each photo is a hit. ``best`` and ``mean``: each person is a
                hit, with the best or the mean of their photos' cosines. With an
                approximate index the mean is taken of people with a photo among the
                nearest.
            where: Search only these.
        """
        allowed = self._allowed(where)
        num_left = len(self.rows.numbers) if allowed is None else int(allowed.sum())
        if num_left == 0 or len(units) == 0:
            return [[] for _ in units]
        if by == "photo":
            return self._photos(units, min(k, num_left), allowed)
        if by == "mean" and self.index.exact:
            return [
                self._all_means(self.index.scores(query[None])[0], k, allowed)
                for query in units
            ]

        def photos(queries: Sequence[int], num_photos: int) -> list[list[Hit]]:
            return self._photos(units[list(queries)], num_photos, allowed)

        def means_of(query: int, best: list[Hit]) -> list[Hit]:
            return [self._mean_of(units[query], hit, allowed) for hit in best]

        def person_of(hit: Hit) -> int:
            return hit.person

        sizes = len(units), k, num_left
        if by == "best":
            return people_by_best(photos, person_of, *sizes)
        return people_by_mean(photos, person_of, means_of, *sizes)

    def _allowed(self, where: Filter | None) -> Bool[np.ndarray, " rows"] | None:
        if where is None or where.is_everything:
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
                Hit(
                    int(self.rows.numbers[row]), float(score), int(self.rows.codes[row])
                )
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

    def _all_means(
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
                number = int(self.rows.numbers[nearest])
                hits.append(Hit(number, float(means[code]), int(code)))
        return hits

    def _mean_of(
        self,
        query: Float32[np.ndarray, " dim"],
        hit: Hit,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> Hit:
        """The same person with the exact mean over all of their photos."""
        present = self.rows.alive if allowed is None else allowed
        rows = np.flatnonzero((self.rows.codes == hit.person) & present)
        _, units = self._store.embeddings(self.rows.numbers[rows])
        scores = np.clip(units @ query, -1.0, 1.0)
        nearest = int(self.rows.numbers[rows[scores.argmax()]])
        mean = float(scores.mean(dtype=np.float64))
        return replace(hit, number=nearest, cosine=mean)
