"""Lists of pairs as people have them: ``read_pair_list`` takes any of their forms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facever.errors import DataError, ParameterError
from facever.verification.protocols.lfw import is_lfw_row, pairs_of_lfw_rows
from facever.verification.protocols.listed_pairs import ListedPair, make_pair_list
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import Row, is_count, read_rows
from facever.verification.protocols.two_lines import are_two_lines, pairs_of_two_lines

_KIND = "a list of pairs"
_REMEDY = (
    "say which columns are the first photo, the second photo, the truth and, if there "
    "is one, the fold, by name or by number from 1, such as --columns img1,img2,label"
)
_PARTS = ("left", "right", "same", "fold")
_SIDES = (("left", "right"), ("1", "2"), ("0", "1"), ("a", "b"), ("first", "second"))
# What a column of photos may be called beside its side, in small letters and digits.
_PHOTO_WORDS = frozenset(
    "face faceimage file filename filepath fname im image imagefile imagename "
    "imagepath img imgfile imgname imgpath input path photo photopath pic picture "
    "sample source src".split()
) | {""}
_TRUTH_WORDS = frozenset(
    "genuine groundtruth gt isgenuine ismatch issame issameperson label labels match "
    "same sameperson target truth".split()
)
_FOLD_WORDS = frozenset("fold foldid foldno foldnumber folds split splitid".split())
_TRUTHS = {"true": 1, "false": 0}


@dataclass(frozen=True)
class _Columns:
    """Where in a row the parts of a pair stand, from 0.

    Attributes:
        left: The first photo.
        right: The second photo.
        same: The truth.
        fold: The fold; None where the list names none.
        names: What each column of the row is called.
    """

    left: int
    right: int
    same: int
    fold: int | None
    names: Sequence[str]

    @property
    def used(self) -> list[int]:
        """The columns that are read."""
        of_pair = [self.left, self.right, self.same]
        return of_pair if self.fold is None else [*of_pair, self.fold]

    @property
    def unused(self) -> list[str]:
        """The names of those that are not read."""
        names = enumerate(self.names)
        return [name for column, name in names if name and column not in self.used]

    @property
    def are_plain(self) -> bool:
        """Whether there is nothing to be said of them."""
        names = [self.names[column] for column in self.used]
        return not self.unused and names == list(_PARTS[: len(names)])

    def __str__(self) -> str:
        parts = zip(_PARTS, self.used, strict=False)
        said = ", ".join(f"{part} is {self.names[column]}" for part, column in parts)
        return said + f"; not used: {', '.join(self.unused)}" * bool(self.unused)


def read_pair_list(path: Path, columns: str = "", unique: bool = False) -> PairList:
    """Read a list of pairs in any of these forms.

    - LFW's: ``name n1 n2`` or ``name1 n1 name2 n2``, see ``read_lfw_pairs``; Kaggle's
      CSV of LFW is of this form.
    - CALFW's and CPLFW's: two lines a pair, see ``pairs_of_two_lines``.
    - ``photo photo truth``, and perhaps the fold, in rows without a header.
    - Rows under column names, in any order. Columns are known by their name
      (``left,right,same,fold``, ``img1,img2,label``...) or given; others are not read.

    The truth is 1 or true for a genuine pair and 0, -1 or false for an impostor pair.
    Folds are counted from any number. Without folds that serve, see ``divide_pairs``.
    Lines at the top that begin with ``#`` are comments, unless they name the columns.
    What is concluded about the list stands in the notes of the result.

    Args:
        path: The file, in UTF-8; see ``read_rows`` for its separators.
        columns: The columns of the first photo, the second photo, the truth and, if
            there is one, the fold, by name or by number from 1, with commas between;
            empty to find them.
        unique: Drop pairs that were listed before, in either order, and pairs of a
            photo with itself.

    Returns:
        The pairs in the order of the file. Backslashes in paths have become slashes.

    Raises:
        FileError: If the file cannot be read.
        ParameterError: If ``columns`` names a column that is not there.
        DataError: If it has none of these forms, a row is not like the others (the
            message names file and line), or there are too few pairs.
    """
    rows, notes = _skip_comments(path, read_rows(path, _KIND))
    if not columns and _is_lfw(rows):
        return pairs_of_lfw_rows(path, rows, unique, notes)
    if not columns and are_two_lines(rows):
        return pairs_of_two_lines(path, rows, unique, notes)
    if len(rows[0].fields) < 3 and len(rows) > 1:
        notes.append(
            f"{path}, line {rows[0].line}: {' '.join(rows[0].fields)!r} is no pair and "
            "is not followed"
        )
        rows = rows[1:]
    where, names = f"{path}, line {rows[0].line}", rows[0].fields
    has_names = False
    if columns:
        found = _given_columns(where, names, columns)
        has_names = _read_truth(names[found.same]) is None
        if not has_names:
            found = replace(found, names=_numbers_as_names(names))
    elif (named := _named_columns(names)) is not None:
        found, has_names = named, True
    else:
        found = _columns_of_pair(where, rows)
    if not found.are_plain:
        notes.append(f"columns of {path.name}: {found}")
    listed = [_list_pair(path, row, found) for row in rows[has_names:]]
    kinds = {_truth_in(row, found.same) for row in rows[has_names:]}
    if kinds >= {0, -1}:
        raise DataError(
            f"{path}: impostor pairs are 0 or -1, got both, so that one of them may "
            "say something else"
        )
    return make_pair_list(path, listed, unique, notes)


def _skip_comments(path: Path, rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows behind the comments at the top, and what is to be said of those."""

    def is_comment(fields: Sequence[str]) -> bool:
        # A photo's name may begin so, and column names do where NumPy wrote them.
        is_pair = len(fields) > 2 and _read_truth(fields[2]) is not None
        may_be_other = is_pair or is_lfw_row(fields) or bool(_named_columns(fields))
        return fields[0] == "#" or (fields[0].startswith("#") and not may_be_other)

    start = next(
        (place for place, row in enumerate(rows) if not is_comment(row.fields)), 0
    )
    notes = [
        f"{path}, line {row.line}: {' '.join(row.fields)!r} is taken for a comment"
        for row in rows[:start]
    ]
    return rows[start:], notes


def _is_lfw(rows: Sequence[Row]) -> bool:
    """Whether most rows are LFW's, and not photos with numbers for names."""
    num_lfw = sum(is_lfw_row(row.fields) for row in rows)
    as_truth = all(
        len(row.fields) == 3 and _read_truth(row.fields[2]) is not None for row in rows
    )
    return 2 * num_lfw > len(rows) and not as_truth


def _given_columns(where: str, names: Sequence[str], columns: str) -> _Columns:
    given = [column.strip() for column in columns.split(",")]
    if len(given) not in (3, 4):
        raise ParameterError(
            f"columns must be 3 or 4 columns with commas between, got {columns!r}; "
            f"{_REMEDY}"
        )
    places: list[int] = []
    # In a row without names a 1 is more likely a value.
    are_names = all(column in names for column in given)
    for column in given:
        if is_count(column) and int(column) <= len(names) and not are_names:
            places.append(int(column) - 1)
        elif column in names:
            places.append(names.index(column))
        else:
            raise ParameterError(
                f"columns must be columns of {where}, which are {', '.join(names)}; "
                f"got {column!r}"
            )
    left, right, same, *fold = places
    return _Columns(left, right, same, fold[0] if fold else None, names)


def _named_columns(names: Sequence[str]) -> _Columns | None:
    """The columns that their names tell without a doubt."""
    words = [re.sub("[^a-z0-9]", "", name.lower()) for name in names]
    photos = [
        (left, right)
        for sides in _SIDES
        for left, one in enumerate(words)
        for right, other in enumerate(words)
        if _photo_words(one, sides[0]) & _photo_words(other, sides[1])
    ]
    truths = [column for column, word in enumerate(words) if word in _TRUTH_WORDS]
    folds = [column for column, word in enumerate(words) if word in _FOLD_WORDS]
    if len(photos) != 1 or len(truths) != 1 or len(folds) > 1:
        return None
    return _Columns(*photos[0], truths[0], folds[0] if folds else None, names)


def _photo_words(name: str, side: str) -> set[str]:
    """What a name may be a photo's name of, on one side: ``img1path`` on side 1."""
    rests = {
        name[: found.start()] + name[found.end() :] for found in re.finditer(side, name)
    }
    return rests & _PHOTO_WORDS


def _columns_of_pair(where: str, rows: Sequence[Row]) -> _Columns:
    """The columns of rows without names: the truth stands third or, alone, first."""
    fields = rows[0].fields
    truths = {
        column
        for column in range(len(fields))
        if 2 * sum(_truth_in(row, column) is not None for row in rows) > len(rows)
    }
    if len(fields) >= 3 and 2 in truths:
        has_fold = all(len(row.fields) > 3 and _is_whole(row.fields[3]) for row in rows)
        left, right, same, fold = 0, 1, 2, 3 if has_fold else None
    elif len(fields) >= 3 and truths == {0}:
        left, right, same, fold = 1, 2, 0, None
    else:
        same = -1
    if same < 0 or _truth_in(rows[0], same) is None:
        raise DataError(
            f"{where}: expected a pair (photo, photo, 1 or 0; or LFW's name, number, "
            "number; or name, number, name, number) or column names that tell photos "
            f"and truth, got {', '.join(fields)}; {_REMEDY}"
        )
    return _Columns(left, right, same, fold, _numbers_as_names(fields))


def _numbers_as_names(fields: Sequence[str]) -> list[str]:
    return [f"column {number}" for number in range(1, len(fields) + 1)]


def _list_pair(path: Path, row: Row, columns: _Columns) -> ListedPair:
    where, names = f"{path}, line {row.line}", columns.names
    # Fields at the end that hold nothing are not among those of a row.
    if not max(columns.used) < len(row.fields) <= len(names):
        raise DataError(
            f"{where}: expected {len(names)} values ({', '.join(names)}), got "
            f"{len(row.fields)}: {', '.join(row.fields)!r}"
        )

    def wrong(column: int, expected: str) -> DataError:
        return DataError(
            f"{where}, {names[column]}: expected {expected}, got {row.fields[column]!r}"
        )

    for column in (columns.left, columns.right):
        if not row.fields[column]:
            raise wrong(column, "a photo")
    truth = _read_truth(row.fields[columns.same])
    if truth is None:
        raise wrong(columns.same, "1 or true, or 0, -1 or false")
    fold = None
    if columns.fold is not None:
        if not _is_whole(row.fields[columns.fold]):
            raise wrong(
                columns.fold,
                "a fold's number (--columns with three columns reads no fold)",
            )
        fold = int(float(row.fields[columns.fold]))
    left, right = (
        row.fields[column].replace("\\", "/")
        for column in (columns.left, columns.right)
    )
    written = left, right
    return ListedPair(f"line {row.line}", *written, truth == 1, fold, written)


def _truth_in(row: Row, column: int) -> int | None:
    return _read_truth(row.fields[column]) if column < len(row.fields) else None


def _read_truth(text: str) -> int | None:
    """1, 0 or -1 as the text says; None where it says something else."""
    if text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    return int(float(text)) if _is_whole(text) and float(text) in (1, 0, -1) else None


def _is_whole(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[0-9]{1,9}(\.0*)?", text))
