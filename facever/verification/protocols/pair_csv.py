"""Pair lists of your own, as CSV files."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from facever.csv_tables import CsvRow, read_csv
from facever.errors import DataError
from facever.verification.protocols.pairs import PairList, photo_key
from facever.verification.protocols.text import SeenPairs, is_count

NUM_DEALT_FOLDS = 10

_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_pair_csv(path: Path) -> PairList:
    """Read a pair list.

    The first row names the columns: ``left``, ``right``, ``same`` and, optionally,
    ``fold``, in any order. ``same`` is 1 or true for a genuine pair, 0 or false for an
    impostor pair; ``fold`` counts from 1. Commas separate the fields, a field with a
    comma is quoted, and blank rows are skipped.

    Without ``fold`` the pairs of each kind are dealt in turn into 10 folds, in the
    order of the file: the first genuine pair into fold 1, the second into fold 2, the
    eleventh into fold 1 again, and the impostor pairs in the same way.

    Args:
        path: The file, in UTF-8.

    Returns:
        The pairs in the order of the file.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a row is malformed, compares a photo with itself or lists a pair
            again (the message names file and line), or the folds are not fit; see
            ``PairList``.
    """
    seen = SeenPairs()
    left: list[str] = []
    right: list[str] = []
    same: list[bool] = []
    fold: list[int] = []
    for row in read_csv(path, ["left", "right", "same"], ["fold"]):
        seen.add(path, row.line, *_read_photos(row))
        left.append(row["left"])
        right.append(row["right"])
        same.append(_read_truth(row))
        if "fold" in row:
            fold.append(_read_fold(row))
    truth = np.array(same, dtype=np.bool_)
    folds = np.array(fold, dtype=np.int64) if fold else deal_folds(truth)
    try:
        return PairList(left, right, truth, folds)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def deal_folds(
    same: Bool[np.ndarray, " pairs"], num_folds: int = NUM_DEALT_FOLDS
) -> Int64[np.ndarray, " pairs"]:
    """Deal the pairs of each kind in turn into folds.

    Args:
        same: True for genuine pairs.
        num_folds: Number of folds.

    Returns:
        Fold of each pair: how many pairs of its kind stand before it, modulo the number
        of folds.
    """
    turn = np.where(same, np.cumsum(same), np.cumsum(~same)) - 1
    folds: Int64[np.ndarray, " pairs"] = turn.astype(np.int64) % num_folds
    return folds


def _read_photos(row: CsvRow) -> tuple[str, str]:
    for column in ("left", "right"):
        if not row[column]:
            raise row.wrong(column, "a photo")
    keys = photo_key(row["left"]), photo_key(row["right"])
    if keys[0] == keys[1]:
        raise DataError(f"{row.place}: expected two photos, got {row['left']!r} twice")
    return keys


def _read_truth(row: CsvRow) -> bool:
    truth = _TRUTH.get(row["same"].lower())
    if truth is None:
        raise row.wrong("same", "1, 0, true or false")
    return truth


def _read_fold(row: CsvRow) -> int:
    if not is_count(row["fold"]):
        raise row.wrong("fold", "a whole number from 1")
    return int(row["fold"]) - 1
