"""LFW's own files: pairs.txt of View 2, and the development pairs of View 1."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facever.errors import DataError
from facever.verification.protocols.listed_pairs import ListedPair, make_pair_list
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import (
    Row,
    SeenPairs,
    is_count,
    read_lines,
    read_rows,
)

DEV_TRAIN_FOLD = 0
DEV_TEST_FOLD = 1

_KIND = "LFW's pairs file"
_MATCHED_FORM = "a pair of one person: name, number, number"
_MISMATCHED_FORM = "a pair of two people: name, number, name, number"


def read_lfw_pairs(path: Path) -> PairList:
    """Read the official pairs file of LFW's View 2, or a file of its form.

    A line is a pair of one person (``name n1 n2``) or of two (``name1 n1 name2 n2``),
    in any order. A first line of another form is a header. If it says the number of
    folds and of pairs of each kind in a fold (``10<TAB>300``) and the pairs stand so,
    fold by fold and the genuine ones first, as in the official file, then these are the
    folds; else see ``divide_pairs``.

    Args:
        path: The file, such as ``pairs.txt``; see ``read_rows`` for its separators.

    Returns:
        The pairs in the order of the file; photo 4 of ``A_B`` is
        ``"A_B/A_B_0004.jpg"``.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is not of that form (the message names file and line), or
            there are too few pairs.

    References:
        Huang et al., Labeled Faces in the Wild, 2007, and the README of View 2.

    Examples:
        Two folds with a pair of each kind:

        >>> import os
        >>> from tempfile import TemporaryDirectory
        >>> lines = "2 1", "Ann 1 2", "Ann 1 Bob 1", "Bob 1 2", "Ann 2 Bob 2"
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pairs.txt"
        ...     _ = path.write_text(os.linesep.join(lines))
        ...     pairs = read_lfw_pairs(path)
        >>> pairs.left[0], pairs.right[0], pairs.same.tolist(), pairs.num_folds
        ('Ann/Ann_0001.jpg', 'Ann/Ann_0002.jpg', [True, False, True, False], 2)
    """
    return pairs_of_lfw_rows(path, read_rows(path, _KIND))


def is_lfw_row(fields: Sequence[str]) -> bool:
    """Whether a row is a pair in LFW's form."""
    return (len(fields) == 3 and is_count(fields[1]) and is_count(fields[2])) or (
        len(fields) == 4 and is_count(fields[1]) and is_count(fields[3])
    )


def pairs_of_lfw_rows(
    path: Path, rows: Sequence[Row], unique: bool = False, said: Sequence[str] = ()
) -> PairList:
    """The pairs of a file of LFW's form; see ``read_lfw_pairs``.

    Args:
        path: The file, for messages.
        rows: Its rows.
        unique: See ``make_pair_list``.
        said: What is to be said of the file already.
    """
    header = None if _may_be_pair(rows[0].fields) else rows[0]
    listed = [_list_pair(path, row) for row in rows[header is not None :]]
    folds, notes = _follow_header(path, header, [pair.same for pair in listed])
    if folds:
        listed = [
            replace(pair, fold=fold) for pair, fold in zip(listed, folds, strict=True)
        ]
    return make_pair_list(path, listed, unique, [*said, *notes])


def read_lfw_view_1(train: Path, test: Path) -> PairList:
    """Read the development pairs of LFW's View 1.

    Each file has a header with the number of pairs of each kind (``1100`` and ``500``)
    and then the lines of one fold of ``pairs.txt``.

    Args:
        train: The file ``pairsDevTrain.txt``, whose pairs choose thresholds and a PCA.
        test: The file ``pairsDevTest.txt``, whose pairs test them.

    Returns:
        Two folds: ``DEV_TRAIN_FOLD`` and ``DEV_TEST_FOLD``. As a fold's threshold is
        chosen on the others, View 1's accuracy is that of ``DEV_TEST_FOLD`` alone; the
        other fold's number, with the roles swapped, is no part of the protocol.

    Raises:
        FileError: If a file cannot be read.
        DataError: In the same cases as ``read_lfw_pairs``, or if both files list a
            pair.
    """
    seen = SeenPairs()
    of_train, of_test = (_read_view_1_file(path, seen) for path in (train, test))
    pairs = [*of_train, *of_test]
    sizes = [len(of_train) // 2, len(of_test) // 2]
    return PairList(
        left=[first for first, _ in pairs],
        right=[second for _, second in pairs],
        same=np.repeat([True, False] * 2, np.repeat(sizes, 2)),
        fold=np.repeat(np.array([DEV_TRAIN_FOLD, DEV_TEST_FOLD]), np.array(sizes) * 2),
    )


def read_lfw_development_pairs(path: Path) -> PairList:
    """Read one file of LFW's View 1, to choose on its pairs.

    Args:
        path: ``pairsDevTrain.txt`` or ``pairsDevTest.txt``.

    Returns:
        Two folds, the first and the second half of the pairs of each kind, so that a
        threshold can be chosen on one half and tested on the other.

    Raises:
        FileError: If the file cannot be read.
        DataError: In the same cases as ``read_lfw_pairs``, or if the file is no file of
            View 1: on View 2, which is there for the final number, nothing is chosen.

    Examples:
        >>> import os
        >>> from tempfile import TemporaryDirectory
        >>> lines = "2", "Ann 1 2", "Bob 1 2", "Ann 1 Bob 1", "Ann 2 Bob 2"
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pairsDevTrain.txt"
        ...     _ = path.write_text(os.linesep.join(lines))
        ...     pairs = read_lfw_development_pairs(path)
        >>> pairs.same.tolist(), pairs.fold.tolist()
        ([True, True, False, False], [0, 1, 0, 1])
    """
    pairs = _read_view_1_file(path, SeenPairs())
    place = np.arange(len(pairs)) % (len(pairs) // 2)
    return PairList(
        left=[first for first, _ in pairs],
        right=[second for _, second in pairs],
        same=np.arange(len(pairs)) < len(pairs) // 2,
        fold=(place >= len(pairs) // 4).astype(np.int64),
    )


def _read_view_1_file(path: Path, seen: SeenPairs) -> list[tuple[str, str]]:
    (number, header), *lines = read_lines(path, _KIND)
    if not is_count(header):
        raise DataError(
            f"{path}, line {number}: expected the header of View 1, the number of "
            f"pairs of each kind, such as '1100'; got {header!r}; a file of folds is "
            "View 2's, on which nothing is chosen: give pairsDevTrain.txt"
        )
    return _read_pairs(path, lines, int(header), seen)


def _may_be_pair(fields: Sequence[str]) -> bool:
    """Whether a first row is meant as a pair: a header has numbers or words alone."""
    numbers = [is_count(field) for field in fields]
    return len(fields) > 2 and any(numbers)


def _list_pair(path: Path, row: Row) -> ListedPair:
    matched = len(row.fields) == 3
    left, right = _read_pair(f"{path}, line {row.line}", row.fields, matched)
    where = f"line {row.line}"
    return ListedPair(where, left, right, matched, None, tuple(row.fields))


def _follow_header(
    path: Path, header: Row | None, same: Sequence[bool]
) -> tuple[list[int], list[str]]:
    """The fold of each pair, if a header says it, and what is to be said."""
    if header is None:
        return [], []
    said = f"{path}, line {header.line}: {' '.join(header.fields)!r}"
    if not all(map(is_count, header.fields)):
        return [], [f"{said} is taken for a header"]
    if len(header.fields) == 2:
        num_folds, num_pairs = map(int, header.fields)
        of_a_fold = [True] * num_pairs + [False] * num_pairs
        if len(same) == num_folds * len(of_a_fold) and same == of_a_fold * num_folds:
            return [place // len(of_a_fold) for place in range(len(same))], []
    return [], [
        f"{said} is a header that does not describe the {len(same)} pairs below it, "
        "and is not followed"
    ]


def _read_pairs(
    path: Path, lines: Sequence[tuple[int, str]], pairs_per_kind: int, seen: SeenPairs
) -> list[tuple[str, str]]:
    """The pairs of a file of View 1: those of one person first, then as many others."""
    expected = (
        f"{2 * pairs_per_kind} pairs ({pairs_per_kind} + {pairs_per_kind}, as the "
        "header says)"
    )
    pairs: list[tuple[str, str]] = []
    for place, (number, line) in enumerate(lines):
        where = f"{path}, line {number}"
        if place == 2 * pairs_per_kind:
            raise DataError(
                f"{where}: expected the end of the file after {expected}, got {line!r}"
            )
        fields = line.split("\t" if "\t" in line else None)
        pair = _read_pair(where, fields, place < pairs_per_kind)
        seen.add(path, number, *pair)
        pairs.append(pair)
    if len(pairs) < 2 * pairs_per_kind:
        last = f", line {lines[-1][0]}" if lines else ""
        raise DataError(
            f"{path}{last}: the file ends after {len(pairs)} pairs; expected {expected}"
        )
    return pairs


def _read_pair(where: str, fields: Sequence[str], matched: bool) -> tuple[str, str]:
    form = _MATCHED_FORM if matched else _MISMATCHED_FORM
    if matched and len(fields) == 3:
        names, numbers = (fields[0], fields[0]), (fields[1], fields[2])
    elif not matched and len(fields) == 4:
        names, numbers = (fields[0], fields[2]), (fields[1], fields[3])
    else:
        raise DataError(
            f"{where}: expected {form}; got {len(fields)} fields: {' '.join(fields)!r}"
        )
    for name in names:
        if not name or "/" in name or "\\" in name:
            raise DataError(f"{where}: expected {form}; got the name {name!r}")
    for field in numbers:
        if not is_count(field):
            raise DataError(
                f"{where}: expected {form}, with numbers from 1; got {field!r}"
            )
    if not matched and names[0] == names[1]:
        raise DataError(
            f"{where}: expected two people, got one twice: {' '.join(fields)!r}"
        )
    first, second = (
        f"{name}/{name}_{int(field):04d}.jpg"
        for name, field in zip(names, numbers, strict=True)
    )
    return first, second
