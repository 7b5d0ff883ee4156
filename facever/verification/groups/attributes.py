"""Who is in which group: a CSV file of people or photos and their attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from facever.csv_tables import CsvRow, is_number, read_csv
from facever.errors import DataError
from facever.verification.photo_matching import match_photos
from facever.verification.protocols import PairList, photo_key
from facever.verification.uncertainty.error_bars import named_people

MOST_GROUPS = 30
"""An attribute with more groups is taken for something else, such as a name."""


@dataclass(frozen=True)
class Attribute:
    """What an attribute says about the photos of a list of pairs.

    Attributes:
        name: The attribute, such as ``"age_band"``.
        groups: The names of its groups, in alphabetical order.
        num_photos: How many of the photos that the pairs name are in each group.
        num_without: How many of them are in none.
        left: The group of each pair's first photo, by its place in ``groups``; -1 where
            it is in none.
        right: The group of each pair's second photo.
    """

    name: str
    groups: tuple[str, ...]
    num_photos: tuple[int, ...]
    num_without: int
    left: Int64[np.ndarray, " pairs"]
    right: Int64[np.ndarray, " pairs"]


@dataclass(frozen=True)
class PairGroups:
    """The groups of a list of pairs, by one attribute or several.

    Attributes:
        attributes: The attributes, in the order of the file's columns.
        notes: How the file's lines were matched, and what was left over, a line each.
    """

    attributes: tuple[Attribute, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """A photo or a person of the file: its groups, and the lines that say so."""

    groups: dict[str, str]
    lines: dict[str, int]


def read_groups(path: Path, pairs: PairList) -> PairGroups:
    """Read the groups of the photos that pairs name.

    The first line names the columns. The first column holds photos, as in the list of
    pairs, or people, as the photos' names say (``named_people``); which of the two it
    is follows from how many photos of the pairs are found either way. The other columns
    are attributes. An empty field puts the photo or person in no group of that
    attribute.

    Photos are matched as those of embeddings are, see ``match_photos``. Photos without
    a line and lines without a photo are no error: the notes count them.

    Args:
        path: The file, CSV in UTF-8.
        pairs: The pairs.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not of that form, such as without a first line that names
            the columns, no line names a photo of the pairs, a photo or person is in two
            groups of one attribute, or an attribute has one group, more than
            ``MOST_GROUPS`` or one of its own name.
    """
    names, members = _read_members(path)
    photos = pairs.sources
    person_of = named_people(pairs) or {}
    people = sorted(set(person_of.values()))
    rows = match_photos(photos, list(members)).rows
    row_of = dict(zip(people, match_photos(people, list(members)).rows, strict=True))
    by_person = np.array(
        [row_of[person_of[photo]] if person_of else -1 for photo in photos]
    )
    of_people = np.count_nonzero(by_person >= 0) > np.count_nonzero(rows >= 0)
    if of_people:
        rows = by_person
    if not (rows >= 0).any():
        or_person = f", or a person, such as {people[0]!r}" if people else ""
        raise DataError(
            f"{path}: no line names a photo of the pairs, such as {photos[0]!r}"
            f"{or_person}; the first line names {next(iter(members))!r}"
        )
    what = "people" if of_people else "photos"
    named = set(rows.tolist())
    unknown = [name for row, name in enumerate(members) if row not in named]
    notes = [
        f"groups of {what}, from {path.name}: {np.count_nonzero(rows >= 0):,} of the "
        f"{len(photos):,} photos in the pairs have a line"
    ]
    if unknown:
        notes.append(
            f"{len(unknown):,} of the {len(members):,} {what} in {path.name} are in no "
            f"pair, such as {unknown[0]}"
        )
    of_row = list(members.values())
    attributes = tuple(
        _attribute(
            path,
            name,
            dict(zip(photos, _groups_of(rows.tolist(), of_row, name), strict=True)),
            pairs,
        )
        for name in names
    )
    return PairGroups(attributes, tuple(notes))


def _read_members(path: Path) -> tuple[list[str], dict[str, _Member]]:
    """The names of the attributes, and the file's photos or people by their keys."""
    names: list[str] = []
    members: dict[str, _Member] = {}
    for row in read_csv(path, None):
        first, *names = row.values
        if not names:
            raise DataError(
                f"{path}: expected a column of photos or people and a column for each "
                f"attribute, separated by commas; got one column, {first!r}"
            )
        key = photo_key(row[first])
        if not key:
            raise row.wrong(first, "a photo or a person")
        _add(row, key, members.setdefault(key, _Member({}, {})), names)
    if not members:
        raise DataError(f"{path} names columns and no photo or person")
    return names, members


def _add(row: CsvRow, key: str, member: _Member, names: Sequence[str]) -> None:
    for name in names:
        group = row[name]
        earlier = member.groups.get(name, group)
        if group and group != earlier:
            raise DataError(
                f"{row.path}, lines {member.lines[name]} and {row.line}: {key} is in "
                f"two groups of {name}, {earlier!r} and {group!r}; leave one"
            )
        if group and name not in member.groups:
            member.groups[name], member.lines[name] = group, row.line


def _groups_of(rows: list[int], members: Sequence[_Member], name: str) -> list[str]:
    """The group of each photo; empty for none."""
    return ["" if row < 0 else members[row].groups.get(name, "") for row in rows]


def _attribute(
    path: Path, name: str, group_of: dict[str, str], pairs: PairList
) -> Attribute:
    groups = sorted(set(group_of.values()) - {""})
    if name in groups:
        raise DataError(
            f"{path}, line 1: {name!r} is a column's name and one of its groups; if "
            "the first line names no columns, put one such as name,sex before it, "
            "else rename the column"
        )
    if len(groups) > MOST_GROUPS:
        are_numbers = all(map(is_number, groups))
        remedy = (
            "put numbers into bands, such as 20-29"
            if are_numbers
            else "put them into fewer groups, or leave the column out"
        )
        raise DataError(
            f"{path}, column {name}: expected at most {MOST_GROUPS} groups, got "
            f"{len(groups):,}, such as {groups[0]} and {groups[1]}; {remedy}"
        )
    if len(groups) < 2:
        got = f"only {groups[0]!r}" if groups else "none"
        raise DataError(
            f"{path}, column {name}: expected at least 2 groups among the photos of "
            f"the pairs, got {got}; leave the column out"
        )
    place = {group: index for index, group in enumerate(groups)} | {"": -1}
    of_photo = {photo: place[group] for photo, group in group_of.items()}
    left, right = (
        np.array([of_photo[photo] for photo in side], np.int64)
        for side in (pairs.left, pairs.right)
    )
    counts = np.bincount(np.array(list(of_photo.values())) + 1, minlength=len(groups))
    num_without, *num_photos = counts.tolist()
    return Attribute(name, tuple(groups), tuple(num_photos), num_without, left, right)
