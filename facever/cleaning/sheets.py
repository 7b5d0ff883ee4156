"""The crops that each suggestion of ``facever data clean`` is about, side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from facever.cleaning.alike import AlikePairs
from facever.cleaning.centers import IdentityCenters
from facever.cleaning.lists import (
    DUPLICATES,
    LOOKALIKES,
    OUTLIERS,
    OVERLAP,
    OVERLAP_PHOTOS,
)
from facever.cleaning.suggestions import Overlap, Suggestions
from facever.data.store.crop_store import CropStore

Group = list[tuple[UInt8[np.ndarray, "high wide 3"], str]]


@dataclass(frozen=True)
class EmbeddedStore:
    """A crop store with its embeddings, and the centers of its identities."""

    store: CropStore
    centers: IdentityCenters

    def picture(self, row: int, cosine: float | None = None) -> Group:
        """The crop of a row, with its identity under it."""
        score = "" if cosine is None else f"{cosine:.2f} "
        crop = np.asarray(self.store.crops[row])
        return [(crop, score + self.store.identity_of(row))]

    def typical(self, identity: int, cosine: float | None = None) -> Group:
        """The photo nearest to the center of an identity."""
        return self.picture(self.centers.typical(identity), cosine)


def set_groups(ours: EmbeddedStore, found: Suggestions) -> dict[str, Iterator[Group]]:
    """By the name of the list, a group for each suggestion."""
    worst = found.outliers
    return {
        DUPLICATES: _pair_groups(found.duplicates, ours.picture, ours.picture),
        OUTLIERS: (
            ours.picture(row, own)
            + ours.picture(_typical_other(ours.centers, row))
            + ours.typical(nearest)
            for row, own, nearest in zip(
                worst.rows.tolist(),
                worst.own_cosine.tolist(),
                worst.nearest.tolist(),
                strict=True,
            )
        ),
        LOOKALIKES: _pair_groups(found.lookalikes, ours.typical, ours.typical),
    }


def overlap_groups(
    ours: EmbeddedStore, theirs: EmbeddedStore, found: Overlap
) -> dict[str, Iterator[Group]]:
    """The same for the people of a test set, who are on the right."""
    return {
        OVERLAP: _pair_groups(found.identities, ours.typical, theirs.typical),
        OVERLAP_PHOTOS: _pair_groups(found.duplicates, ours.picture, theirs.picture),
    }


def _pair_groups(
    pairs: AlikePairs, left_of: Callable[..., Group], right_of: Callable[..., Group]
) -> Iterator[Group]:
    for left, right, cosine in pairs.triples():
        yield left_of(left, cosine) + right_of(right)


def _typical_other(found: IdentityCenters, row: int) -> int:
    """The most typical photo of a photo's identity, but not that photo."""
    rows = np.flatnonzero(found.labels == found.labels[row])
    rows = rows[rows != row]
    center = found.centers[found.labels[row]]
    return int(rows[(found.units[rows] @ center).argmax()])
