"""Pair lists: which photos are compared, what is true, and in which fold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from facever.errors import DataError
from facever.faces.photo_source import PHOTO_SUFFIXES

_COMMON_SUFFIXES = frozenset({".jpg", ".png"})


@dataclass(frozen=True)
class PairList:
    """Pairs of photos with their truth and their fold.

    Folds may differ in size, and in their numbers of genuine and impostor pairs.

    Attributes:
        left: First photo of each pair, as a source such as ``"A_B/A_B_0001.jpg"``; in
            a protocol of videos the first video, such as ``"A_B/0"``.
        right: Second photo of each pair.
        same: True where both photos show one person (a genuine pair), False where
            they show two (an impostor pair).
        fold: Fold of each pair, ``0 .. num_folds - 1``.
        rule_fold: Fold of each pair under other projects' rules, which keep the list's
            own folds even where one has pairs of one kind; None where it is ``fold``.
        notes: What a reader of the numbers must know of the list, a line each.

    Raises:
        DataError: If the lengths differ, there is no pair, there are fewer than two
            folds, or a fold is without genuine or without impostor pairs.
    """

    left: list[str]
    right: list[str]
    same: Bool[np.ndarray, " pairs"]
    fold: Int64[np.ndarray, " pairs"]
    rule_fold: Int64[np.ndarray, " pairs"] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = len(self.left), len(self.right), len(self.same), len(self.fold)
        if len(set(lengths)) != 1:
            raise DataError(
                "left, right, same and fold of a pair list must have one length, "
                f"got {lengths}"
            )
        if not self.left:
            raise DataError("a pair list must hold at least one pair, got none")
        if self.fold.min() < 0:
            raise DataError(f"folds count from 0, got fold {self.fold.min()}")
        if self.num_folds < 2:
            raise DataError(
                "a pair list must have at least 2 folds, so that thresholds are chosen "
                "on other folds than the tested one; got 1"
            )
        genuine = np.bincount(self.fold[self.same], minlength=self.num_folds)
        impostor = np.bincount(self.fold[~self.same], minlength=self.num_folds)
        lacking = np.flatnonzero((genuine == 0) | (impostor == 0))
        if lacking.size:
            fold = int(lacking[0])
            raise DataError(
                "every fold needs a genuine and an impostor pair; fold "
                f"{fold + 1} of {self.num_folds} has {genuine[fold]} genuine and "
                f"{impostor[fold]} impostor pairs"
            )

    def __len__(self) -> int:
        return len(self.left)

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def sources(self) -> list[str]:
        """Every photo that a pair names, once, in alphabetical order."""
        return sorted({*self.left, *self.right})


def photo_key(source: str) -> str:
    """A photo's source without the extension of an image file.

    Pairs say ``A/A_0001.jpg`` whatever the photo is stored as, so sources are compared
    by this key. ``A/Mr._X_0001`` has no such extension and stays whole. Backslashes, as
    Windows writes paths, become slashes.
    """
    source = source.replace("\\", "/")
    stem, dot, extension = source.rpartition(".")
    return stem if dot + extension.lower() in PHOTO_SUFFIXES else source


def photo_keys(sources: Sequence[str]) -> list[str]:
    """``photo_key`` of many sources, several times as fast where most are JPEG or PNG.

    Without this, a fifth of the time of LFW's 6,000 pairs with a PCA goes into names.
    """
    return [
        source[:-4]
        if source[-4:] in _COMMON_SUFFIXES and "\\" not in source
        else photo_key(source)
        for source in sources
    ]
