"""Photos and people most similar to a query, by exact search in Qdrant."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from facever.choices import By
from facever.gallery.entries import Filter, Match
from facever.gallery.qdrant.collection import Collection
from facever.gallery.qdrant.points import as_condition, as_match

# People by their mean: so many times as many as asked for are looked at, by their best.
_PEOPLE = 4


def search_collection(
    collection: Collection,
    units: Float32[np.ndarray, "queries dim"],
    k: int,
    by: By,
    where: Filter | None,
) -> list[list[Match]]:
    """The photos or people most similar to each query, most similar first.

    Args:
        collection: To search.
        units: Queries of unit length.
        k: At least 1.
        by: ``photo``; or one match a person, whose cosine is the ``best`` or the
            ``mean`` of their photos'. The mean is taken of the ``4 k`` people with the
            most similar photos.
        where: Search these alone.
    """
    num_left = collection.count(as_condition(where))
    if num_left == 0 or len(units) == 0:
        return [[] for _ in units]
    if by == "photo":
        return _photos(collection, units, min(k, num_left), where)
    if by == "best":
        return _people(collection, units, k, num_left, where)
    found = _people(collection, units, _PEOPLE * k, num_left, where)
    return [
        _means(collection, unit, matches, where)[:k]
        for unit, matches in zip(units, found, strict=True)
    ]


def _photos(
    collection: Collection,
    units: Float32[np.ndarray, "queries dim"],
    limit: int,
    where: Filter | None,
) -> list[list[Match]]:
    found = collection.search(units.tolist(), limit, as_condition(where))
    return [
        [as_match(point, collection.damaged) for point in points] for points in found
    ]


def _people(
    collection: Collection,
    units: Float32[np.ndarray, "queries dim"],
    k: int,
    num_left: int,
    where: Filter | None,
) -> list[list[Match]]:
    """The best photo of each of the ``k`` nearest people.

    Qdrant's own groups are filled from a limited number of photos; here more photos are
    looked at until there are ``k`` people, or no photos left.
    """
    results: list[list[Match]] = [[] for _ in units]
    waiting = list(range(len(units)))
    num_photos = 4 * k
    while waiting:
        num_photos = min(8 * num_photos, num_left)
        found = _photos(collection, units[waiting], num_photos, where)
        short = []
        for query, matches in zip(waiting, found, strict=True):
            results[query] = _first_of_each(matches)[:k]
            if len(results[query]) < k and num_photos < num_left:
                short.append(query)
        waiting = short
    return results


def _first_of_each(matches: Iterable[Match]) -> list[Match]:
    first: dict[str, Match] = {}
    for match in matches:
        first.setdefault(match.name, match)
    return list(first.values())


def _means(
    collection: Collection,
    unit: Float32[np.ndarray, " dim"],
    people: list[Match],
    where: Filter | None,
) -> list[Match]:
    """The same people with the exact mean over all of their photos."""
    names = [match.name for match in people]
    theirs = Filter(names, where.fields if where else {})
    num_photos = collection.count(as_condition(theirs))
    [photos] = _photos(collection, unit[None], num_photos, theirs)
    cosines: dict[str, list[float]] = {name: [] for name in names}
    for photo in photos:
        cosines[photo.name].append(photo.cosine)
    means = [
        Match(m.name, float(np.mean(cosines[m.name])), m.source, m.id, m.fields)
        for m in people
        if cosines[m.name]
    ]
    return sorted(means, key=lambda match: -match.cosine)
