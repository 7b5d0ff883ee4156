"""Search for people by search for photos: each person by their best or mean photo."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

# To find people by their mean, this many times as many are looked at, by their best.
MEAN_CANDIDATES = 4


@runtime_checkable
class HasCosine(Protocol):
    """An enrolled photo, or person, that was found."""

    @property
    def cosine(self) -> float:
        """The similarity to the query."""
        ...


AnyHit = TypeVar("AnyHit", bound=HasCosine)


def people_by_best(
    photos: Callable[[Sequence[int], int], list[list[AnyHit]]],
    person_of: Callable[[AnyHit], Hashable],
    num_queries: int,
    k: int,
    num_photos: int,
) -> list[list[AnyHit]]:
    """The best photo of each of the ``k`` people who are nearest to each query.

    The nearest photos hold them if these photos are of ``k`` people; if not, more
    photos are looked at.

    Args:
        photos: Function that gives the nearest photos of some queries, by the queries'
            places: at most a given number for each, nearest first.
        person_of: Function that gives the person on each photo.
        num_queries: Number of queries.
        k: Number of people to find, at least 1.
        num_photos: Number of photos that can be found.

    Returns:
        For each query, a photo of each person, nearest first.
    """
    results: list[list[AnyHit]] = [[] for _ in range(num_queries)]
    waiting: Sequence[int] = range(num_queries if num_photos else 0)
    num_asked = 4 * k
    while waiting:
        num_asked = min(8 * num_asked, num_photos)
        short = []
        for query, found in zip(waiting, photos(waiting, num_asked), strict=True):
            first: dict[Hashable, AnyHit] = {}
            for photo in found:
                first.setdefault(person_of(photo), photo)
            results[query] = list(first.values())[:k]
            if len(first) < k and num_asked < num_photos:
                short.append(query)
        waiting = short
    return results


def people_by_mean(
    photos: Callable[[Sequence[int], int], list[list[AnyHit]]],
    person_of: Callable[[AnyHit], Hashable],
    means_of: Callable[[int, list[AnyHit]], list[AnyHit]],
    num_queries: int,
    k: int,
    num_photos: int,
) -> list[list[AnyHit]]:
    """The ``k`` people with the highest mean among the ``4 k`` with the best photos.

    Args:
        photos: Function that gives the nearest photos, as for ``people_by_best``.
        person_of: Function that gives the person on each photo.
        means_of: Function that gives the same people, with the means over all of their
            photos.
        num_queries: Number of queries.
        k: Number of people to find, at least 1.
        num_photos: Number of photos that can be found.
    """
    num_people = MEAN_CANDIDATES * k
    best = people_by_best(photos, person_of, num_queries, num_people, num_photos)
    return [
        sorted(means_of(query, people), key=lambda person: -person.cosine)[:k]
        for query, people in enumerate(best)
    ]
