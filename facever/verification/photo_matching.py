"""Which photo of those that are there belongs to a name in a protocol.

Photos are matched by ``photo_key``: the extension does not matter. Where a list and the
photos lie in different folders (``/data/lfw/Ann/Ann_1.jpg`` is ``Ann/Ann_1.png``, or
``Ann_1.png`` in a folder of photos alone), the common end of the paths tells. As many
parts of every path are compared as find at least half of what any number of parts
finds, as long as no name means two photos and what stands before the ends is the same
for all on one side: else ``Ann/1.jpg`` would be found as ``Bob/1.jpg``.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from facever.errors import DataError
from facever.verification.protocols import PairList, photo_keys

_NUM_SHOWN = 3
# Names that have less in common are not called similar.
_SIMILAR = 0.5


@dataclass(frozen=True)
class MatchedPairs:
    """The embeddings that a pair list needs, and where each pair finds its two.

    Attributes:
        vectors: One row for each photo that the pairs name and that has an embedding,
            in alphabetical order of the photos; every row is finite and none is zero.
        left: Row in ``vectors`` of each pair's first photo, -1 where it is missing.
        right: Row in ``vectors`` of each pair's second photo, -1 where it is missing.
        missing: Photos that the pairs name and that have no embedding.
        notes: How photos were matched, see ``PhotoMatches``.
    """

    vectors: Float64[np.ndarray, "photos dim"]
    left: Int64[np.ndarray, " pairs"]
    right: Int64[np.ndarray, " pairs"]
    missing: list[str]
    notes: tuple[str, ...]


class PhotoMatches(NamedTuple):
    """Where the photos are that a protocol names.

    Attributes:
        rows: Row of each wanted photo among those that are there, -1 where it is not.
        num_parts: How many parts of the paths, from their ends, were compared; None
            for whole paths.
        notes: What a reader must know, a line each: how names were matched, and which
            names are not there, each beside a similar one that is.
    """

    rows: Int64[np.ndarray, " wanted"]
    num_parts: int | None
    notes: tuple[str, ...]


def match_photos(wanted: Sequence[str], there: Sequence[str]) -> PhotoMatches:
    """Find the photos that a protocol names among those that are there.

    Args:
        wanted: The photos, as the protocol spells them, each once.
        there: The photos, as their source spells them.

    Raises:
        DataError: If one is there twice, as two kinds of image file.

    Examples:
        >>> wanted = ["/data/Ann/1.jpg", "/data/Bob/1.jpg", "/data/Bob/2.jpg"]
        >>> found = match_photos(wanted, ["Ann/1.png", "Bob/1.png"])
        >>> found.rows.tolist(), found.num_parts
        ([0, 1, -1], 2)
    """
    keys, keys_there = photo_keys(wanted), photo_keys(there)
    row_of = dict(zip(keys_there, range(len(there)), strict=True))
    if len(row_of) < len(there):
        named = set(keys)
        row_of_key(
            [name for name, key in zip(there, keys_there, strict=True) if key in named]
        )
    rows, num_parts = [row_of.get(key, -1) for key in keys], None
    if -1 in rows and row_of:
        rows, num_parts = _match_ends(keys, row_of, rows)
    notes = _say_how(wanted, there, rows, num_parts)
    return PhotoMatches(np.array(rows, np.int64), num_parts, tuple(notes))


def _say_how(
    wanted: Sequence[str],
    there: Sequence[str],
    rows: Sequence[int],
    num_parts: int | None,
) -> Iterator[str]:
    if num_parts is not None:
        place = next(place for place, row in enumerate(rows) if row >= 0)
        ends = f"last {num_parts} parts" if num_parts > 1 else "last part"
        yield (
            f"photos are matched by the {ends} of their paths: {wanted[place]} in the "
            f"list is {there[rows[place]]}"
        )
    missing = [wanted[place] for place, row in enumerate(rows) if row < 0]
    if not missing or not there:
        return
    by_beginning, by_end = sorted(there), sorted(name[::-1] for name in there)
    for name in missing[:_NUM_SHOWN]:
        near = _neighbours(by_beginning, name)
        near += [other[::-1] for other in _neighbours(by_end, name[::-1])]
        similar = max(near, key=partial(_num_common, name))
        is_similar = SequenceMatcher(None, name, similar).ratio() >= _SIMILAR
        what = "a similar name there" if is_similar else "names there are such as"
        yield f"not there: {name}; {what}{':' * is_similar} {similar}"


def _neighbours(ordered: Sequence[str], name: str) -> list[str]:
    place = bisect(ordered, name)
    return list(ordered[max(place - 1, 0) : place + 1])


def _num_common(name: str, other: str) -> int:
    """Number of letters that two names begin and end with in common."""
    both_ways = (
        zip(name, other, strict=False),
        zip(name[::-1], other[::-1], strict=False),
    )
    return sum(
        sum(1 for _ in takewhile(lambda letters: letters[0] == letters[1], pairs))
        for pairs in both_ways
    )


def _match_ends(
    keys: Sequence[str], row_of: dict[str, int], whole: list[int]
) -> tuple[list[int], int | None]:
    """The rows by the longest ends that find enough, and the length of these ends."""
    split_keys = [_parts(key) for key in keys]
    split_there = {row: _parts(key) for key, row in row_of.items()}
    longest = max(map(len, (*split_keys, *split_there.values())))
    tried: list[tuple[list[int], int | None]] = [(whole, None)]
    for length in range(longest, 0, -1):
        rows_of: dict[tuple[str, ...], list[int]] = {}
        for row, parts in split_there.items():
            rows_of.setdefault(parts[-length:], []).append(row)
        found = [rows_of.get(parts[-length:], []) for parts in split_keys]
        hits = [row for rows in found for row in rows]
        if not len(set(hits)) == sum(map(bool, found)) == len(hits):
            continue
        before = {
            p[:-length] for p, rows in zip(split_keys, found, strict=True) if rows
        }
        before_there = {split_there[row][:-length] for row in hits}
        if len(before) <= 1 or len(before_there) <= 1:
            tried.append(([rows[0] if rows else -1 for rows in found], length))
    counts = [sum(row >= 0 for row in rows) for rows, _ in tried]
    enough = next(place for place, n in enumerate(counts) if 2 * n >= max(counts))
    return tried[enough]


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part for part in key.split("/") if part not in ("", "."))


def match_pairs(
    embeddings: Float[np.ndarray, "images dim"], images: Sequence[str], pairs: PairList
) -> MatchedPairs:
    """Find the embeddings of the photos that pairs name.

    Args:
        embeddings: The embeddings, one row for each image. Rows that no pair names are
            ignored.
        images: Source of each embedding.
        pairs: The pairs.

    Returns:
        The embeddings in use.

    Raises:
        DataError: If ``images`` does not fit ``embeddings`` or lists one twice, no pair
            has both its photos, or a used embedding is not finite or all zero.
    """
    sources = pairs.sources
    matches = _match_embeddings(embeddings, images, sources)
    rows, found = matches.rows, matches.rows >= 0
    place_of = dict(
        zip(sources, np.where(found, np.cumsum(found) - 1, -1).tolist(), strict=True)
    )
    left, right = (
        np.array([place_of[source] for source in side], np.int64)
        for side in (pairs.left, pairs.right)
    )
    if not ((left >= 0) & (right >= 0)).any():
        said = "; ".join(matches.notes) or (
            f"pairs name photos such as {pairs.left[0]!r}, the embeddings are of no "
            "photo at all"
        )
        raise DataError(f"no pair has embeddings of both its photos; {said}")
    vectors = embeddings[rows[found]].astype(np.float64)
    for wrong, what in (
        (~np.isfinite(vectors).all(axis=1), "NaN or infinity"),
        (~vectors.any(axis=1), "nothing but zeros"),
    ):
        if wrong.any():
            first = np.flatnonzero(found)[wrong.argmax()]
            raise DataError(
                f"{np.count_nonzero(wrong)} embeddings hold {what}, the first is that "
                f"of {sources[first]!r}; leave out photos without an embedding, their "
                "pairs are counted as missing"
            )
    missing = [sources[place] for place in np.flatnonzero(~found)]
    return MatchedPairs(vectors, left, right, missing, matches.notes)


def find_rows(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    wanted: Sequence[str],
) -> Int64[np.ndarray, " wanted"]:
    """Row of each wanted photo's embedding, -1 where it has none.

    Raises:
        DataError: If ``images`` does not fit ``embeddings`` or lists one twice.
    """
    return _match_embeddings(embeddings, images, wanted).rows


def _match_embeddings(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    wanted: Sequence[str],
) -> PhotoMatches:
    if len(embeddings) != len(images):
        raise DataError(
            "embeddings and images must have one length, got "
            f"{len(embeddings)} embeddings and {len(images)} images"
        )
    row_of_key(images)
    return match_photos(wanted, images)


def row_of_key(images: Sequence[str]) -> dict[str, int]:
    """Row of each photo by its key.

    Raises:
        DataError: If a photo is listed twice.
    """
    keys = photo_keys(images)
    row_of = dict(zip(keys, range(len(keys)), strict=True))
    if len(row_of) < len(keys):
        earlier: dict[str, int] = {}
        for row, key in enumerate(keys):
            if earlier.setdefault(key, row) != row:
                raise DataError(
                    "each photo must be listed once (the extension does not count); "
                    f"rows {earlier[key] + 1} and {row + 1} are "
                    f"{images[earlier[key]]!r} and {images[row]!r}"
                )
    return row_of
