"""What every form of a pair list comes down to, and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facever.errors import DataError
from facever.verification.protocols.folds import divide_pairs
from facever.verification.protocols.pairs import PairList, photo_key


@dataclass(frozen=True)
class ListedPair:
    """A pair as a file lists it.

    Attributes:
        where: The place of the line, such as ``"line 12"``; no two have one.
        left: The first photo.
        right: The second photo.
        same: Whether it is a genuine pair.
        fold: Its fold, counted from any number; None where the list names none.
        written: What the line says; pairs are dealt into folds in this order.
    """

    where: str
    left: str
    right: str
    same: bool
    fold: int | None
    written: tuple[str, ...]


def make_pair_list(
    path: Path,
    listed: Sequence[ListedPair],
    unique: bool = False,
    notes: Sequence[str] = (),
) -> PairList:
    """The pairs of a file, with what is to be said of them.

    Args:
        path: The file, for messages.
        listed: Its pairs.
        unique: Drop pairs that were listed before, in either order, and pairs of a
            photo with itself.
        notes: What the reader of the file has to say.

    Raises:
        DataError: If there are fewer than two pairs of a kind.
    """
    odd = _OddPairs(listed)
    if unique:
        listed = [pair for pair in listed if pair.where not in odd.places]
    same = np.array([pair.same for pair in listed], dtype=np.bool_)
    numbers = [pair.fold for pair in listed if pair.fold is not None]
    named = np.unique(numbers, return_inverse=True)[1] if numbers else None
    try:
        folds = divide_pairs(same, named, [pair.written for pair in listed])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return PairList(
        [pair.left for pair in listed],
        [pair.right for pair in listed],
        same,
        folds.fold,
        folds.rule_fold,
        (*notes, *odd.notes(unique), *folds.notes),
    )


class _OddPairs:
    """Pairs that were listed before, and pairs of a photo with itself."""

    def __init__(self, listed: Sequence[ListedPair]) -> None:
        first: dict[frozenset[str], ListedPair] = {}
        self._again: list[tuple[ListedPair, ListedPair]] = []
        self._alone: list[ListedPair] = []
        for pair in listed:
            members = frozenset((photo_key(pair.left), photo_key(pair.right)))
            if len(members) == 1:
                self._alone.append(pair)
            elif (earlier := first.setdefault(members, pair)) is not pair:
                self._again.append((earlier, pair))
        self.places = {
            pair.where for pair in (*self._alone, *(pair for _, pair in self._again))
        }

    def notes(self, dropped: bool) -> list[str]:
        """What is to be said of them."""
        what = "dropped" if dropped else "kept as listed, --unique drops them"
        notes = []
        if self._again:
            earlier, pair = self._again[0]
            swapped = sum(
                photo_key(pair.left) != photo_key(earlier.left)
                for earlier, pair in self._again
            )
            notes.append(
                f"pairs that are listed again: {len(self._again)}, {swapped} of them "
                f"with the members swapped, such as that of {earlier.where} in "
                f"{pair.where}; {what}"
            )
        both = [each for each in self._again if each[0].same != each[1].same]
        if both:
            earlier, pair = both[0]
            notes.append(
                f"pairs that are listed as genuine and as impostor pairs: {len(both)}, "
                f"such as that of {earlier.where} and {pair.where}"
            )
        if self._alone:
            notes.append(
                f"pairs of a photo with itself: {len(self._alone)}, such as that of "
                f"{self._alone[0].where}; {what}"
            )
        return notes
