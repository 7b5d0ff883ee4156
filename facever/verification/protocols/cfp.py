"""Celebrities in Frontal-Profile (CFP): frontal-frontal (FF) and frontal-profile (FP).

The folder ``Protocol`` of the data set has ``Pair_list_F.txt`` and ``Pair_list_P.txt``,
which number the frontal and the profile photos, and ``Split/FF`` and ``Split/FP``, in
which each of ten folders (a fold) has the pairs of one person and of two as pairs of
these numbers: ``same.txt`` and ``diff.txt``. The second number of an FP pair is of a
profile photo.

References:
    Sengupta et al., Frontal to profile face verification in the wild, 2016.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from facever.errors import DataError, FileError
from facever.verification.protocols.listed_pairs import ListedPair, make_pair_list
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import is_count, read_lines

_KIND = "a file of CFP's folder Protocol"
_Side = Literal["F", "P"]


def read_cfp_ff(path: Path, columns: str = "", unique: bool = False) -> PairList:
    """Read the frontal-frontal pairs: 10 folds of 350 pairs of each kind.

    The official list has 130 pairs twice, with the members swapped; they count twice,
    as published numbers have it, and are counted in the notes.

    Args:
        path: The folder ``Protocol``.
        columns: Not taken: the files have no columns.
        unique: Drop pairs that were listed before, in either order.

    Returns:
        The pairs, fold by fold; a photo is ``"001/frontal/01.jpg"``, its place below
        the folder ``Data/Images``.

    Raises:
        FileError: If a file cannot be read.
        DataError: If a line is not of its form, or names a number that is not listed
            (the message names file and line).
    """
    return _read_cfp(path, "FF", "F", columns, unique)


def read_cfp_fp(path: Path, columns: str = "", unique: bool = False) -> PairList:
    """Read the frontal-profile pairs; otherwise as ``read_cfp_ff``."""
    return _read_cfp(path, "FP", "P", columns, unique)


def _read_cfp(
    path: Path, split: str, second: _Side, columns: str, unique: bool
) -> PairList:
    if columns:
        raise DataError("CFP's lists have no columns: leave out --columns")
    photos = {side: _read_photos(path, side) for side in {"F", second}}
    folder = path / "Split" / split
    folds = sorted(each for each in folder.glob("*") if each.is_dir())
    if not folds:
        raise FileError(
            f"{folder} has no folders of folds; give the folder Protocol of CFP"
        )
    listed = chain.from_iterable(
        _read_fold(fold, number, photos["F"], photos[second])
        for number, fold in enumerate(folds)
    )
    return make_pair_list(folder, list(listed), unique)


def _read_photos(path: Path, side: _Side) -> dict[str, str]:
    """The photos of one side by their number, as a pair names it."""
    listing = path / f"Pair_list_{side}.txt"
    photos: dict[str, str] = {}
    for number, line in read_lines(listing, _KIND):
        fields = line.split()
        parts = fields[-1].replace("\\", "/").split("/")
        if len(fields) != 2 or not is_count(fields[0]) or len(parts) < 3:
            raise DataError(
                f"{listing}, line {number}: expected a number and a photo, such as "
                f"'1 ../Data/Images/001/frontal/01.jpg', got {line!r}"
            )
        if photos.setdefault(fields[0], "/".join(parts[-3:])) != "/".join(parts[-3:]):
            raise DataError(f"{listing}, line {number}: number {fields[0]} again")
    return photos


def _read_fold(
    folder: Path, fold: int, first: dict[str, str], second: dict[str, str]
) -> Iterator[ListedPair]:
    for name, same in (("same.txt", True), ("diff.txt", False)):
        path = folder / name
        for number, line in read_lines(path, _KIND):
            fields = tuple(field.strip() for field in line.split(","))
            if len(fields) != 2:
                raise DataError(
                    f"{path}, line {number}: expected two numbers of photos, such as "
                    f"'5,1', got {line!r}"
                )
            for field, photos in zip(fields, (first, second), strict=True):
                if field not in photos:
                    raise DataError(
                        f"{path}, line {number}: no photo has the number {field!r}"
                    )
            yield ListedPair(
                where=f"line {number} of {folder.name}/{name}",
                left=first[fields[0]],
                right=second[fields[1]],
                same=same,
                fold=fold,
                written=(name, *fields),
            )
