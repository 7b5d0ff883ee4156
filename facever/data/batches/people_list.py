"""Who trains and who is held out, said by name, in a file that anybody can check."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from facever.data.batches.sampling import Split
from facever.errors import DataError, FileError
from facever.files import whole_file

COLUMNS = ["identity", "part"]
TRAIN, HELD_OUT = "train", "held_out"


@dataclass(frozen=True)
class PeopleList:
    """People by name; whoever is in neither list is left out.

    Attributes:
        train: Whom a network may learn.
        held_out: Who is kept from training, to validate and to choose a threshold on.

    Raises:
        DataError: If a person is listed twice.
    """

    train: list[str]
    held_out: list[str]

    def __post_init__(self) -> None:
        listed = sorted([*self.train, *self.held_out])
        for first, second in pairwise(listed):
            if first == second:
                raise DataError(
                    f"a list of people must name each once, in one part; {first!r} is "
                    "there twice"
                )

    def split(
        self, identities: Sequence[str], labels: Int64[np.ndarray, " crops"]
    ) -> Split:
        """The crops of the people to train on and of those held out.

        Args:
            identities: Of a crop store, each once.
            labels: Of each crop, an index into ``identities``.

        Returns:
            The split; class indexes number the people to train on, in the store's
            order.

        Raises:
            DataError: If the crops do not show a person who is listed, or there are
                fewer than two people to train on.
        """
        index = {identity: label for label, identity in enumerate(identities)}
        strangers = [name for name in self.train + self.held_out if name not in index]
        if strangers:
            raise DataError(
                f"the list of people names {len(strangers)} whom the crops do not "
                f"show, such as {strangers[0]!r}; leave them out of the list"
            )
        if len(self.train) < 2:
            raise DataError(
                "training needs at least 2 people, the list of people has "
                f"{len(self.train)} to train on"
            )
        trains, is_held_out = np.zeros((2, len(identities)), dtype=bool)
        trains[[index[name] for name in self.train]] = True
        is_held_out[[index[name] for name in self.held_out]] = True
        class_of = np.cumsum(trains) - 1
        rows = np.flatnonzero(trains[labels])
        return Split(
            rows=rows,
            labels=class_of[labels[rows]],
            num_classes=len(self.train),
            held_out=np.flatnonzero(is_held_out[labels]),
        )


def write_people_list(path: Path, people: PeopleList) -> None:
    """Write what ``read_people_list`` reads.

    Raises:
        FileError: If the file cannot be written.
    """
    with whole_file(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((name, TRAIN) for name in people.train)
            writer.writerows((name, HELD_OUT) for name in people.held_out)


def read_people_list(path: Path) -> PeopleList:
    """Read a list of people: CSV in UTF-8 with the header ``identity,part``.

    Args:
        path: The file; a part is ``train`` or ``held_out``.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not of that form or names a person twice.
    """
    expected = "expected CSV in UTF-8 with the header identity,part"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; {expected}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is not a list of people: {error}; {expected}"
        ) from None
    if not rows or rows[0][1] != COLUMNS:
        raise DataError(f"{path}: {expected}; got {rows[0][1] if rows else 'no line'}")
    parts: dict[str, list[str]] = {TRAIN: [], HELD_OUT: []}
    for number, row in rows[1:]:
        if len(row) != 2 or not row[0] or row[1] not in parts:
            raise DataError(
                f"{path} line {number}: expected a name and train or held_out, got "
                f"{row}"
            )
        parts[row[1]].append(row[0])
    try:
        return PeopleList(train=parts[TRAIN], held_out=parts[HELD_OUT])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
