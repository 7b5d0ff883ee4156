"""Pair lists of the user, as CSV."""

import csv
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from facever.errors import DataError
from facever.verification.protocols.pairs import PairList, photo_key
from facever.verification.protocols.text import SeenPairs, is_count, read_text

NUM_DEALT_FOLDS = 10

_COLUMNS = ("left", "right", "same")
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_pair_csv(path: Path) -> PairList:
    """Read a pair list.

    The first row names the columns: ``left``, ``right``, ``same`` and, optionally,
    ``fold``, in any order. ``same`` is 1 or true for a genuine pair, 0 or false for an
    impostor pair; ``fold`` counts from 1. Fields are parted by commas, a field with a
    comma is quoted, and blank rows are skipped.

    Without ``fold`` the pairs of each kind are dealt in turn into 10 folds, in the
    order of the file: the first genuine pair into fold 1, the second into fold 2, the
    eleventh into fold 1 again, and the impostor pairs likewise.

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
    # No newline translation: a quoted field may hold a line end.
    rows = csv.reader(
        io.StringIO(read_text(path, "a pair list (CSV)"), newline=""),
        strict=True,
        skipinitialspace=True,
    )
    seen = SeenPairs()
    left: list[str] = []
    right: list[str] = []
    same: list[bool] = []
    fold: list[int] = []
    columns: list[str] = []
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            where = f"{path} line {rows.line_num}"
            if not any(fields):
                continue
            if not columns:
                columns = _read_columns(where, fields)
                continue
            if len(fields) != len(columns):
                raise DataError(
                    f"{where}: expected {len(columns)} fields ({','.join(columns)}), "
                    f"got {len(fields)}: {','.join(row)!r}"
                )
            value = dict(zip(columns, fields, strict=True))
            keys = _read_photos(where, value["left"], value["right"])
            seen.add(path, rows.line_num, *keys)
            left.append(value["left"])
            right.append(value["right"])
            same.append(_read_truth(where, value["same"]))
            if "fold" in value:
                fold.append(_read_fold(where, value["fold"]))
    except csv.Error as error:
        raise DataError(f"{path} line {rows.line_num}: not CSV: {error}") from None
    truth = np.array(same, dtype=np.bool_)
    folds = np.array(fold, dtype=np.int64) if "fold" in columns else deal_folds(truth)
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


def _read_columns(where: str, fields: list[str]) -> list[str]:
    if sorted(fields) not in (sorted(_COLUMNS), sorted((*_COLUMNS, "fold"))):
        raise DataError(
            f"{where}: expected a first row that names the columns, left,right,same or "
            f"left,right,same,fold; got {','.join(fields)!r}"
        )
    return fields


def _read_photos(where: str, left: str, right: str) -> tuple[str, str]:
    if not left or not right:
        raise DataError(f"{where}: expected two photos, got {left!r} and {right!r}")
    keys = photo_key(left), photo_key(right)
    if keys[0] == keys[1]:
        raise DataError(f"{where}: expected two photos, got {left!r} twice")
    return keys


def _read_truth(where: str, field: str) -> bool:
    truth = _TRUTH.get(field.lower())
    if truth is None:
        raise DataError(f"{where}: same must be 1, 0, true or false, got {field!r}")
    return truth


def _read_fold(where: str, field: str) -> int:
    if not is_count(field):
        raise DataError(f"{where}: fold must be a whole number from 1, got {field!r}")
    return int(field) - 1
