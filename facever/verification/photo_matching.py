"""Which row of the embeddings belongs to a photo that a protocol names.

Photos are matched by ``photo_key``: the extension does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from facever.errors import DataError
from facever.verification.protocols import PairList, photo_keys


@dataclass(frozen=True)
class MatchedPairs:
    """The embeddings that a pair list needs, and where each pair finds its two.

    Attributes:
        vectors: One row for each photo that the pairs name and that has an embedding,
            in alphabetical order of the photos; every row is finite and none is zero.
        left: Row in ``vectors`` of each pair's first photo, -1 where it is missing.
        right: Row in ``vectors`` of each pair's second photo, -1 where it is missing.
        missing: Photos that the pairs name and that have no embedding.
    """

    vectors: Float64[np.ndarray, "photos dim"]
    left: Int64[np.ndarray, " pairs"]
    right: Int64[np.ndarray, " pairs"]
    missing: list[str]


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
    rows = find_rows(embeddings, images, sources)
    found = rows >= 0
    place_of = dict(
        zip(sources, np.where(found, np.cumsum(found) - 1, -1).tolist(), strict=True)
    )
    left, right = (
        np.array([place_of[source] for source in side], np.int64)
        for side in (pairs.left, pairs.right)
    )
    if not ((left >= 0) & (right >= 0)).any():
        raise DataError(
            "no pair has embeddings of both its photos; pairs name photos such as "
            f"{pairs.left[0]!r}, the embeddings are of "
            + (f"photos such as {images[0]!r}" if len(images) else "no photo at all")
        )
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
    return MatchedPairs(vectors, left, right, missing)


def find_rows(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    wanted: Sequence[str],
) -> Int64[np.ndarray, " wanted"]:
    """Row of each wanted photo's embedding, -1 where it has none.

    Raises:
        DataError: If ``images`` does not fit ``embeddings`` or lists one twice.
    """
    if len(embeddings) != len(images):
        raise DataError(
            "embeddings and images must have one length, got "
            f"{len(embeddings)} embeddings and {len(images)} images"
        )
    row_of = row_of_key(images)
    return np.array([row_of.get(key, -1) for key in photo_keys(wanted)], np.int64)


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
