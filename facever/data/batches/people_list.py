"""Who trains and who is held out, said by name, in a file that anybody can check."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from facever.csv_tables import read_csv, write_csv
from facever.data.batches.sampling import Split
from facever.errors import DataError
from facever.files import whole_file

COLUMNS = ["identity", "part"]
TRAIN, HELD_OUT = "train", "held_out"


@dataclass(frozen=True)
class TrainingPeople:
    """People by name; whoever is in neither list is left out.

    Attributes:
        train: The people whom a network may learn.
        held_out: The people kept out of training, to validate and to choose a threshold
            on.

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
            identities: The identities of a crop store, each once.
            labels: For each crop the index of its identity in ``identities``.

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


def write_people_list(path: Path, people: TrainingPeople) -> None:
    """Write what ``read_people_list`` reads.

    Raises:
        FileError: If the file cannot be written.
    """
    rows = [(name, TRAIN) for name in people.train]
    rows += [(name, HELD_OUT) for name in people.held_out]
    with whole_file(path) as temporary:
        write_csv(temporary, COLUMNS, rows)


def read_people_list(path: Path) -> TrainingPeople:
    """Read a list of people: CSV in UTF-8 with the header ``identity,part``.

    Args:
        path: The file; a part is ``train`` or ``held_out``.

    Raises:
        FileError: If the file cannot be read.
        DataError: If the file is not of that form or names a person twice.
    """
    parts: dict[str, list[str]] = {TRAIN: [], HELD_OUT: []}
    for row in read_csv(path, COLUMNS, exact=True):
        if not row["identity"]:
            raise row.wrong("identity", "a name")
        if row["part"] not in parts:
            raise row.wrong("part", f"{TRAIN} or {HELD_OUT}")
        parts[row["part"]].append(row["identity"])
    try:
        return TrainingPeople(train=parts[TRAIN], held_out=parts[HELD_OUT])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
