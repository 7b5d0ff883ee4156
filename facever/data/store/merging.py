"""Join crop stores: shards of one alignment, or photos that came later."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.data.store.copying import Contents, Part
from facever.data.store.crop_bytes import read_checked_bytes, row_blocks
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.unfinished import check_settings
from facever.errors import DataError


def join_stores(stores: Sequence[CropStore]) -> Contents:
    """What the stores hold together: the crops of the first, then of the second...

    A photo may be in several stores if they hold the same of it: the same crops byte
    for byte, landmarks, scores and identity. It is taken once, from the first. A photo
    that failed in one store and gave crops in another leaves the ledger; one that
    failed in several keeps its first reason.

    Contiguous shards of one list of photos, joined in their order, give what one run
    over the whole list gives, byte for byte.

    Args:
        stores: At least one store, in the order of the new rows.

    Raises:
        MismatchError: If their crops were made with different settings.
        DataError: If the stores differ in what they hold of one photo, or a crop is
            damaged.
    """
    first = stores[0]
    parts: list[Part] = []
    failures: dict[str, str] = {}
    known = _Known()
    for store in stores:
        check_settings(store.folder, store.settings, first.settings)
        parts.append(Part(store, known.add(store)))
        for source, reason in store.failures.items():
            failures.setdefault(source, reason)
    kept = {photo: why for photo, why in failures.items() if photo not in known.faces}
    return Contents(parts, kept, first.settings)


class _Known:
    """The photos of the stores so far.

    Attributes:
        faces: Number of crops of each photo, by its source.
    """

    def __init__(self) -> None:
        self.faces: Counter[str] = Counter()
        self._stores: list[CropStore] = []
        self._place: dict[str, tuple[int, int]] = {}

    def add(self, store: CropStore) -> Int64[np.ndarray, " rows"]:
        """The rows of photos that are new; the others are checked to be the same."""
        photos = [photo_of(source) for source in store.sources]
        is_new = np.array([photo not in self.faces for photo in photos], bool)
        repeats, rows = np.flatnonzero(~is_new), np.flatnonzero(is_new)
        again = Counter(photos[row] for row in repeats)
        for photo, num_faces in again.items():
            if num_faces != self.faces[photo]:
                raise _different(store, photo)
        for block in row_blocks(repeats):
            self._compare(store, block)
        self._place |= {
            store.sources[row]: (len(self._stores), row) for row in rows.tolist()
        }
        self._stores.append(store)
        self.faces.update(photos[row] for row in rows)
        return rows

    def _compare(self, store: CropStore, rows: Int64[np.ndarray, " block"]) -> None:
        places = [self._place.get(store.sources[row], (-1, 0)) for row in rows]
        which, others = np.array(places, np.int64).T
        if (which < 0).any():
            raise _different(store, store.sources[rows[which < 0][0]])
        for index in np.unique(which):
            here, there = rows[which == index], others[which == index]
            changed = here[~_are_same(store, here, self._stores[index], there)]
            if len(changed):
                raise _different(store, store.sources[changed[0]])


def _are_same(
    one: CropStore,
    one_rows: Int64[np.ndarray, " rows"],
    other: CropStore,
    other_rows: Int64[np.ndarray, " rows"],
) -> Bool[np.ndarray, " rows"]:
    pairs = zip(
        read_checked_bytes(one, one_rows),
        read_checked_bytes(other, other_rows),
        strict=True,
    )
    same_bytes = [left == right for left, right in pairs]
    same_names = [
        one.identity_of(left) == other.identity_of(right)
        for left, right in zip(one_rows.tolist(), other_rows.tolist(), strict=True)
    ]
    same_numbers = _equal(one.landmarks[one_rows], other.landmarks[other_rows])
    same_scores = _equal(one.scores[one_rows], other.scores[other_rows])
    all_same = np.array([same_bytes, same_names]).all(axis=0)
    same: Bool[np.ndarray, " rows"] = all_same & same_numbers & same_scores
    return same


def _equal(
    left: Float64[np.ndarray, "rows *rest"], right: Float64[np.ndarray, "rows *rest"]
) -> Bool[np.ndarray, " rows"]:
    """Where all numbers of a row are equal; what is unknown in both is."""
    equal = (left == right) | (np.isnan(left) & np.isnan(right))
    same: Bool[np.ndarray, " rows"] = equal.reshape(len(left), -1).all(axis=1)
    return same


def _different(store: CropStore, source: str) -> DataError:
    return DataError(
        f"{store.folder} and an earlier store hold different crops, landmarks, scores "
        f"or identities of {photo_of(source)}: leave it out of one of them with "
        "facever data subset --exclude"
    )
