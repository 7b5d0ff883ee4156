"""LFW's own files: pairs.txt of View 2, and the development pairs of View 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facever.errors import DataError
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import SeenPairs, is_count, read_lines

DEV_TRAIN_FOLD = 0
DEV_TEST_FOLD = 1

_KIND = "LFW's pairs file"
_MATCHED_FORM = "a pair of one person: name, number, number"
_MISMATCHED_FORM = "a pair of two people: name, number, name, number"


@dataclass(frozen=True)
class _Layout:
    """In every fold some pairs of one person, then the same number of two people."""

    num_folds: int
    pairs_per_kind: int
    stated_by: str

    @property
    def num_pairs(self) -> int:
        return self.num_folds * 2 * self.pairs_per_kind

    def __str__(self) -> str:
        return (
            f"{self.num_pairs} pairs ({self.num_folds} folds of {self.pairs_per_kind} "
            f"+ {self.pairs_per_kind}, as {self.stated_by})"
        )


def read_lfw_pairs(path: Path) -> PairList:
    """Read the official pairs file of LFW's View 2, or a file of its form.

    The header says the number of folds and the number of pairs of each kind in a fold
    (``10<TAB>300``). Then, fold by fold, come the pairs of one person
    (``name n1 n2``) and then the same number of pairs of two people
    (``name1 n1 name2 n2``). Fields are separated by tabs, or by spaces in a line that
    has no tab. Blank lines are skipped.
    Without the header, the pairs of one person before the first pair of two people say
    how many pairs of each kind a fold has.

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
    lines = read_lines(path, _KIND)
    number, first = lines[0]
    if len(_split(first)) <= 2:
        layout = _read_header(f"{path}, line {number}", first)
        lines = lines[1:]
    else:
        layout = _infer_layout(path, lines)
    return _pair_list(
        _read_pairs(path, lines, layout, SeenPairs()), layout.pairs_per_kind
    )


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
    layout = _Layout(1, int(header), "the header says")
    return _read_pairs(path, lines, layout, seen)


def _pair_list(pairs: Sequence[tuple[str, str]], pairs_per_kind: int) -> PairList:
    place = np.arange(len(pairs), dtype=np.int64)
    return PairList(
        left=[first for first, _ in pairs],
        right=[second for _, second in pairs],
        same=place // pairs_per_kind % 2 == 0,
        fold=place // (2 * pairs_per_kind),
    )


def _split(line: str) -> list[str]:
    return [field.strip() for field in line.split("\t" if "\t" in line else None)]


def _read_header(where: str, line: str) -> _Layout:
    fields = _split(line)
    if len(fields) != 2 or not all(is_count(field) for field in fields):
        raise DataError(
            f"{where}: expected the header of View 2, the number of folds and of pairs "
            f"of each kind in a fold, such as '10<TAB>300', or {_MATCHED_FORM}; got "
            f"{line!r}" + "; one number heads a file of View 1, of which give both, "
            "DevTrain and DevTest" * (len(fields) == 1)
        )
    layout = _Layout(int(fields[0]), int(fields[1]), "the header says")
    if layout.num_folds < 2:
        raise DataError(
            f"{where}: expected at least 2 folds, got {layout.num_folds}; a header of "
            "one number is View 1's"
        )
    return layout


def _infer_layout(path: Path, lines: Sequence[tuple[int, str]]) -> _Layout:
    matched = 0
    while matched < len(lines) and len(_split(lines[matched][1])) == 3:
        matched += 1
    if not matched:
        number, line = lines[0]
        raise DataError(
            f"{path}, line {number}: expected {_MATCHED_FORM}, as a file without a "
            f"header begins; got {line!r}"
        )
    num_folds = max(2, -(-len(lines) // (2 * matched)))
    return _Layout(
        num_folds, matched, "the pairs of one person at its beginning say, no header"
    )


def _read_pairs(
    path: Path, lines: Sequence[tuple[int, str]], layout: _Layout, seen: SeenPairs
) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for place, (number, line) in enumerate(lines):
        where = f"{path}, line {number}"
        if place == layout.num_pairs:
            raise DataError(
                f"{where}: expected the end of the file after {layout}, got {line!r}"
            )
        pair = _read_pair(where, line, place // layout.pairs_per_kind % 2 == 0)
        seen.add(path, number, *pair)
        pairs.append(pair)
    if len(pairs) < layout.num_pairs:
        last = f", line {lines[-1][0]}" if lines else ""
        raise DataError(
            f"{path}{last}: the file ends after {len(pairs)} pairs; expected {layout}"
        )
    return pairs


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
        if not is_count(field):
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
