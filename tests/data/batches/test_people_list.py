from pathlib import Path

import numpy as np
import pytest

from facever.data.batches.people_list import (
    TrainingPeople,
    read_people_list,
    write_people_list,
)
from facever.errors import DataError, FileError

IDENTITIES = ["Ann", "Bob", "Cy", "Dee", "Eve"]
LABELS = np.array([3, 0, 1, 2, 2, 4, 0, 3])


def test_split_by_name() -> None:
    people = TrainingPeople(train=["Dee", "Ann"], held_out=["Cy", "Eve"])
    split = people.split(IDENTITIES, LABELS)
    # Ann is class 0 and Dee class 1, in the store's order; Bob is in neither part.
    assert split.rows.tolist() == [0, 1, 6, 7]
    assert split.labels.tolist() == [1, 0, 0, 1]
    assert split.num_classes == 2
    assert split.held_out.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("train", "held_out", "message"),
    [
        (["Ann", "Bob"], ["Zoe"], "names 1 whom the crops do not show, such as 'Zoe'"),
        (["Ann", "Yan", "Zoe"], [], "names 2 .* such as 'Yan'"),
        (["Ann"], ["Bob"], "at least 2 people, the list of people has 1"),
    ],
)
def test_a_list_that_does_not_fit(
    train: list[str], held_out: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        TrainingPeople(train, held_out).split(IDENTITIES, LABELS)


@pytest.mark.parametrize("held_out", [["Ann"], ["Cy", "Cy"]])
def test_nobody_is_in_two_parts(held_out: list[str]) -> None:
    with pytest.raises(DataError, match=f"{held_out[0]!r} is there twice"):
        TrainingPeople(["Ann", "Bob"], held_out)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    people = TrainingPeople(["Zoë, the first", "Bob"], ["Ann_Lee"])
    write_people_list(tmp_path / "people.csv", people)
    assert read_people_list(tmp_path / "people.csv") == people
    assert [path.name for path in tmp_path.iterdir()] == ["people.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected CSV in UTF-8 with the columns identity, part"),
        ("name,part\n", "expected CSV .*; got name, part"),
        (
            "identity,part\nAnn,train\nBob,test\n",
            "line 3, column part: .*'test'",
        ),
        ("identity,part\nAnn\n", "line 2: expected 2 values"),
        ("identity,part\n,train\n", "line 2, column identity: expected a name, got ''"),
        ("identity,part\nAnn,train\nAnn,held_out\n", "people.csv: .*'Ann' is there"),
        ('identity,part\n"Ann,train\n', "line 2: not CSV"),
    ],
)
def test_a_file_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_people_list(tmp_path / "people.csv")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*people\.csv"):
        read_people_list(tmp_path / "people.csv")
