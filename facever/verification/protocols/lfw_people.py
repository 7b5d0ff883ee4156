"""LFW's people.txt: who belongs to which fold of View 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from facever.errors import DataError
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import is_count, read_lines

_KIND = "LFW's people file"


def read_lfw_people(path: Path) -> list[dict[str, int]]:
    """Read the people of each fold of LFW's View 2 and how many photos show them.

    The file begins with the number of folds. Each fold has a line with the number of
    its people, then a line for each: the name, a tab (or spaces), the number of photos.
    In the unrestricted setting these are the people from whom any pairs may be formed
    to train on, but for those of the fold that is tested.

    Args:
        path: The file, ``people.txt``.

    Returns:
        A fold each, in the order of ``pairs.txt``: number of photos by name. A person
        is in one fold only.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is not what its place asks for, a person is listed twice,
            or there are too few or too many lines. The message names file and line.

    References:
        Huang et al., Labeled Faces in the Wild, 2007, and the README of View 2.
    """
    lines = read_lines(path, _KIND)
    number, header = lines[0]
    if not is_count(header) or int(header) < 2:
        raise DataError(
            f"{path}, line {number}: expected the number of folds, at least 2, such as "
            f"'10'; got {header!r}"
        )
    place = 1
    folds: list[dict[str, int]] = []
    line_of: dict[str, int] = {}
    for fold in range(1, int(header) + 1):
        number, size = _line(path, lines, place, f"the number of people of fold {fold}")
        if not is_count(size):
            raise DataError(
                f"{path}, line {number}: expected the number of people of fold {fold}, "
                f"such as '601'; got {size!r}"
            )
        photos: dict[str, int] = {}
        for entry in range(place + 1, place + 1 + int(size)):
            number, line = _line(path, lines, entry, f"a person of fold {fold}")
            name, count = _read_person(f"{path}, line {number}", line)
            if name in line_of:
                raise DataError(
                    f"{path}, line {number}: expected a new person, got {name!r} of "
                    f"line {line_of[name]} again"
                )
            line_of[name] = number
            photos[name] = count
        folds.append(photos)
        place += 1 + int(size)
    if place < len(lines):
        number, line = lines[place]
        raise DataError(
            f"{path}, line {number}: expected the end of the file after "
            f"{len(folds)} folds, got {line!r}"
        )
    return folds


def check_people_of_pairs(folds: Sequence[Mapping[str, int]], pairs: PairList) -> None:
    """Refuse people whose folds are not those of the pairs.

    Args:
        folds: The people of each fold, as ``read_lfw_people`` gives them.
        pairs: The pairs, as ``read_lfw_pairs`` gives them.

    Raises:
        DataError: If the numbers of folds differ, or a pair names a person who does not
            belong to its fold.
    """
    if len(folds) != pairs.num_folds:
        raise DataError(
            f"people and pairs must have the same folds, got {len(folds)} folds of "
            f"people and {pairs.num_folds} of pairs"
        )
    for left, right, fold in zip(
        pairs.left, pairs.right, pairs.fold.tolist(), strict=True
    ):
        for source in (left, right):
            if person_of(source) not in folds[fold]:
                raise DataError(
                    f"a pair of fold {fold + 1} names {source}, but the people of that "
                    f"fold do not have {person_of(source)!r}: people and pairs must be "
                    "of the same edition"
                )


def person_of(source: str) -> str:
    """Who is on a photo of LFW: the name of its folder."""
    return source.rpartition("/")[0]


def _line(
    path: Path, lines: list[tuple[int, str]], place: int, what: str
) -> tuple[int, str]:
    if place >= len(lines):
        raise DataError(
            f"{path}, line {lines[-1][0]}: the file ends here; expected {what}"
        )
    return lines[place]


def _read_person(where: str, line: str) -> tuple[str, int]:
    name, _, count = line.rpartition("\t" if "\t" in line else " ")
    name, count = name.strip(), count.strip()
    if not name or "/" in name or "\\" in name or not is_count(count):
        raise DataError(
            f"{where}: expected a person, name and number of photos; got {line!r}"
        )
    return name, int(count)
