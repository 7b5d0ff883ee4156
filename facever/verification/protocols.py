"""Pair lists: which photos are compared, what is true, and in which fold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from facever.errors import DataError, FileError
from facever.faces.sources import PHOTO_SUFFIXES

_MATCHED_FORM = "a pair of one person: name, number, number"
_MISMATCHED_FORM = "a pair of two people: name, number, name, number"


@dataclass(frozen=True)
class PairList:
    """Pairs of photos with their truth and their fold.

    Attributes:
        left: First photo of each pair, as a source such as ``"A_B/A_B_0001.jpg"``.
        right: Second photo of each pair.
        same: True where both photos show one person (a genuine pair), False where
            they show two (an impostor pair).
        fold: Fold of each pair, ``0 .. num_folds - 1``.

    Raises:
        DataError: If the lengths differ, there is no pair, there are fewer than two
            folds, or a fold is without genuine or without impostor pairs.
    """

    left: list[str]
    right: list[str]
    same: Bool[np.ndarray, " pairs"]
    fold: Int64[np.ndarray, " pairs"]

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


def read_lfw_pairs(path: Path) -> PairList:
    """Read the official pairs file of LFW's View 2.

    The header says the number of folds and the number of pairs of each kind in a fold
    (``10<TAB>300``). Then, fold by fold, come the pairs of one person
    (``name n1 n2``) and as many pairs of two people (``name1 n1 name2 n2``). Fields are
    parted by tabs, or by spaces in a line that has no tab. Blank lines are skipped.

    Args:
        path: The file, such as ``pairs.txt``.

    Returns:
        The pairs in the order of the file; photo 4 of ``A_B`` is
        ``"A_B/A_B_0004.jpg"``.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is not what its place asks for, a pair is listed twice, or
            there are too few or too many lines. The message names file and line.

    References:
        Huang et al., Labeled Faces in the Wild, 2007, and the README of View 2.
    """
    lines = [
        (number, line.strip())
        for number, line in enumerate(_read_text(path).splitlines(), start=1)
        if line.strip()
    ]
    if not lines:
        raise DataError(f"{path} is empty; expected LFW's pairs file")
    num_folds, pairs_per_kind = _read_header(path, *lines[0])
    expected = num_folds * 2 * pairs_per_kind
    left: list[str] = []
    right: list[str] = []
    seen: dict[frozenset[str], int] = {}
    for place, (number, line) in enumerate(lines[1:]):
        where = f"{path} line {number}"
        if place == expected:
            raise DataError(
                f"{where}: expected the end of the file after {expected} pairs "
                f"({num_folds} folds of {pairs_per_kind} + {pairs_per_kind}, as the "
                f"header says), got {line!r}"
            )
        matched = place // pairs_per_kind % 2 == 0
        first, second = _read_pair(where, line, matched)
        earlier = seen.setdefault(frozenset((first, second)), number)
        if earlier != number:
            raise DataError(
                f"{where}: expected a new pair, got the pair of line {earlier} again: "
                f"{line!r}"
            )
        left.append(first)
        right.append(second)
    if len(left) < expected:
        raise DataError(
            f"{path} line {lines[-1][0]}: the file ends after {len(left)} pairs; "
            f"expected {expected} ({num_folds} folds of {pairs_per_kind} + "
            f"{pairs_per_kind}, as the header says)"
        )
    place_of_pair = np.arange(expected, dtype=np.int64)
    return PairList(
        left=left,
        right=right,
        same=place_of_pair // pairs_per_kind % 2 == 0,
        fold=place_of_pair // (2 * pairs_per_kind),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not a text file in UTF-8 (byte {error.start}); expected LFW's "
            "pairs file"
        ) from None
    except OSError as error:
        raise FileError(
            f"cannot read the pairs file {path}: {error.strerror}"
        ) from None


def _split(line: str) -> list[str]:
    return [field.strip() for field in line.split("\t" if "\t" in line else None)]


def _read_header(path: Path, number: int, line: str) -> tuple[int, int]:
    fields = _split(line)
    if len(fields) != 2 or not all(_is_count(field) for field in fields):
        raise DataError(
            f"{path} line {number}: expected the header of View 2, the number of folds "
            f"and of pairs of each kind in a fold, such as '10<TAB>300'; got {line!r}"
        )
    num_folds, pairs_per_kind = int(fields[0]), int(fields[1])
    if num_folds < 2:
        raise DataError(
            f"{path} line {number}: expected at least 2 folds, got {num_folds}"
        )
    return num_folds, pairs_per_kind


def _is_count(field: str) -> bool:
    return field.isascii() and field.isdigit() and int(field) > 0


def _read_pair(where: str, line: str, matched: bool) -> tuple[str, str]:
    fields = _split(line)
    form = _MATCHED_FORM if matched else _MISMATCHED_FORM
    if matched and len(fields) == 3:
        names, numbers = (fields[0], fields[0]), (fields[1], fields[2])
    elif not matched and len(fields) == 4:
        names, numbers = (fields[0], fields[2]), (fields[1], fields[3])
    else:
        raise DataError(f"{where}: expected {form}; got {len(fields)} fields: {line!r}")
    for name in names:
        if not name or "/" in name or "\\" in name:
            raise DataError(f"{where}: expected {form}; got the name {name!r}")
    for field in numbers:
        if not _is_count(field):
            raise DataError(
                f"{where}: expected {form}, with numbers from 1; got {field!r}"
            )
    first, second = (
        f"{name}/{name}_{int(field):04d}.jpg"
        for name, field in zip(names, numbers, strict=True)
    )
    if matched and first == second:
        raise DataError(f"{where}: expected two photos, got one twice: {line!r}")
    if not matched and names[0] == names[1]:
        raise DataError(f"{where}: expected two people, got one twice: {line!r}")
    return first, second


def photo_key(source: str) -> str:
    """A photo's source without the extension of an image file.

    Pairs say ``A/A_0001.jpg`` whatever the photo is stored as, so sources are compared
    by this key. ``A/Mr._X_0001`` has no such extension and stays whole.
    """
    stem, dot, extension = source.rpartition(".")
    return stem if dot + extension.lower() in PHOTO_SUFFIXES else source
