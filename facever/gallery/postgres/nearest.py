"""The photos nearest to queries, among all whose embeddings pass by once."""

import numpy as np
from jaxtyping import Float32, Int64

# A matrix product rounds otherwise than the cosines that photos are put in order by.
_ROUNDING = 1e-5


class NearestPhotos:
    """The ``k`` photos nearest to each query, of blocks that are not kept.

    Example:
        >>> nearest = NearestPhotos(np.eye(2, dtype=np.float32), k=1)
        >>> nearest.compare(np.array([7, 8]), np.eye(2, dtype=np.float32)[::-1].copy())
        >>> nearest.numbers()
        [[8], [7]]
    """

    def __init__(self, units: Float32[np.ndarray, "queries dim"], k: int) -> None:
        """Begin with no photos.

        Args:
            units: Queries of unit length.
            k: Number of photos to find for each query, at least 1.
        """
        self._units = units
        self._k = k
        self._cosines = [np.empty(0, np.float32) for _ in units]
        self._numbers = [np.empty(0, np.int64) for _ in units]

    def compare(
        self,
        numbers: Int64[np.ndarray, " rows"],
        embeddings: Float32[np.ndarray, "rows dim"],
    ) -> None:
        """Compare more photos with all queries.

        Args:
            numbers: The photos' numbers, by which those equally near are put in order.
            embeddings: Their embeddings, of unit length.
        """
        for query, rough in enumerate(self._units @ embeddings.T):
            cosines, found = self._cosines[query], self._numbers[query]
            lowest = -np.inf
            if len(found) == self._k:
                lowest = cosines[-1]
            elif len(rough) > self._k:
                lowest = np.partition(rough, -self._k)[-self._k]
            near = np.flatnonzero(rough >= lowest - _ROUNDING)
            if len(near):
                theirs = cosines_with(self._units[query], embeddings[near])
                cosines = np.concatenate([cosines, theirs])
                found = np.concatenate([found, numbers[near]])
                best = by_nearness(cosines, found)[: self._k]
                self._cosines[query], self._numbers[query] = cosines[best], found[best]

    def numbers(self) -> list[list[int]]:
        """The numbers of each query's nearest photos, nearest first."""
        return [found.tolist() for found in self._numbers]


def cosines_with(
    unit: Float32[np.ndarray, " dim"], embeddings: Float32[np.ndarray, "rows dim"]
) -> Float32[np.ndarray, " rows"]:
    """The cosine of each embedding with a query, the same whichever others are there.

    A matrix product would round a row otherwise in another place.
    """
    cosines: Float32[np.ndarray, " rows"] = np.einsum("rd,d->r", embeddings, unit)
    return cosines.clip(-1, 1)


def by_nearness(
    cosines: Float32[np.ndarray, " rows"], numbers: Int64[np.ndarray, " rows"]
) -> Int64[np.ndarray, " rows"]:
    """Places of the highest cosines first, and of equal ones of the lowest number."""
    return np.lexsort((numbers, -cosines))
