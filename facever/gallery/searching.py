"""A gallery in memory: kept in step with the database, and searched."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.errors import ParameterError
from facever.gallery.entries import Filter
from facever.gallery.index import ExactIndex, Found, Index
from facever.gallery.store import GalleryStore

By = Literal["photo", "best", "mean"]

_ROWS_A_READ = 8192

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


def check_by(by: str) -> None:
    """Refuse an unknown way to score.

    Raises:
        ParameterError: That names the ways.
    """
    if by not in get_args(By):
        raise ParameterError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")


class Searcher:
    """Numbers, people and embeddings of a gallery's rows.

    All methods are called within ``store.reading``.

    Attributes:
        index: Of the embeddings.
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
        self._store = store
        self._numbers: Int64[np.ndarray, " rows"] = np.empty(0, np.int64)
        self._alive: Bool[np.ndarray, " rows"] = np.empty(0, bool)
        self._codes: Int64[np.ndarray, " rows"] = np.empty(0, np.int64)
        self._code_of: dict[str, int] = {}
        self._sequence = store.last()[1]
        self.num_saved = 0
        self.num_learned = 0

    @property
    def numbers(self) -> Int64[np.ndarray, " rows"]:
        """The number of each row of the index, ascending; removed ones included."""
        return self._numbers

    @property
    def alive_numbers(self) -> Int64[np.ndarray, " rows"]:
        """The numbers of all entries, ascending."""
        return np.asarray(self._numbers[self._alive])

    @property
    def num_removed(self) -> int:
        """Rows of the index whose entry is gone."""
        return int(len(self._alive) - np.count_nonzero(self._alive))

    def take(self, numbers: Int64[np.ndarray, " rows"]) -> None:
        """Say which rows, ascending, an index that was read from a file holds."""
        self._numbers = np.array(numbers)
        self._alive = np.zeros(len(numbers), bool)
        self._codes = np.full(len(numbers), -1, np.int64)
        self._read_names(numbers)
        self.num_saved = self.num_learned = len(numbers)

    def refresh(self) -> None:
        """Bring memory up to what the database holds now, whoever changed it."""
        changed, self._sequence = self._store.changes_after(self._sequence)
        last = int(self._numbers[-1]) if len(self._numbers) else 0
        old = np.unique(np.array([n for n in changed if n <= last], np.int64))
        self._alive[self._places(old)] = False
        self._read_names(old)
        blocks = [self._numbers]
        if isinstance(self.index, ExactIndex) and not len(self.index):
            self.index.reserve(self._store.count())
        try:
            for numbers, embeddings in self._store.read_after(last):
                self.index.add(embeddings)
                blocks.append(numbers)
        finally:
            self._numbers = np.concatenate(blocks)
        new = self._numbers[len(self._alive) :]
        if len(new):
            self._alive = np.append(self._alive, np.zeros(len(new), bool))
            self._codes = np.append(self._codes, np.full(len(new), -1, np.int64))
            self._read_names(new)

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
        num_left = len(self._numbers) if allowed is None else int(allowed.sum())
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
            return None if self._alive.all() else self._alive
        allowed = np.zeros(len(self._numbers), bool)
        allowed[self._places(self._store.chosen(where))] = True
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
                Hit(int(self._numbers[row]), float(score))
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
        num_left = len(self._numbers) if allowed is None else int(allowed.sum())
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
        _, stored = self._store.embeddings(self._numbers[places])
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
                places = self._places(np.array([hit.number for hit in hits], np.int64))
                first = np.unique(self._codes[places], return_index=True)[1]
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
        codes, scores = self._codes[rows], np.clip(scores[rows], -1.0, 1.0)
        counts = np.bincount(codes, minlength=len(self._code_of))
        sums = np.bincount(codes, weights=scores, minlength=len(self._code_of))
        means = np.full(len(counts), -np.inf)
        np.divide(sums, counts, out=means, where=counts > 0)
        hits = []
        for code in np.argsort(-means, kind="stable")[:k]:
            if counts[code]:
                own = np.flatnonzero(codes == code)
                nearest = rows[own[scores[own].argmax()]]
                hits.append(Hit(int(self._numbers[nearest]), float(means[code])))
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
            code = self._codes[self._places(np.array([hit.number]))[0]]
            own = self._codes == code
            rows = np.flatnonzero(own & (self._alive if allowed is None else allowed))
            _, units = self._store.embeddings(self._numbers[rows])
            scores = np.clip(units @ query, -1.0, 1.0)
            nearest = int(self._numbers[rows[scores.argmax()]])
            means.append(Hit(nearest, float(scores.mean(dtype=np.float64))))
        return sorted(means, key=lambda hit: -hit.cosine)

    def _places(
        self, numbers: Int64[np.ndarray, " some"]
    ) -> Int64[np.ndarray, " some"]:
        """The rows of numbers that are in memory."""
        return np.asarray(np.searchsorted(self._numbers, numbers), np.int64)

    def _read_names(self, numbers: Int64[np.ndarray, " some"]) -> None:
        """Note which of these rows are there, and whose they are."""
        # All names at once are read from an index, a few from among the embeddings.
        if len(numbers) > _ROWS_A_READ:
            blocks = self._store.people()
        else:
            blocks = iter([self._store.people_of(numbers)])
        for names in blocks:
            places = self._places(np.array(list(names), np.int64))
            known = places < len(self._numbers)
            codes = [
                self._code_of.setdefault(name, len(self._code_of))
                for name in names.values()
            ]
            self._codes[places[known]] = np.array(codes, np.int64)[known]
            self._alive[places[known]] = True
