from pathlib import Path

import pytest

from facever.errors import DataError
from facever.verification.protocols import (
    check_people_of_pairs,
    person_of,
    read_lfw_pairs,
    read_lfw_people,
)

SMALL = "2\n3\nAnn_Lee\t4\nBob\t12\nAmy\t1\n2\nDee\t2\nEve_van_Oz\t2\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "people.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [SMALL, SMALL.replace("\t", " "), SMALL + "\n\n"])
def test_small_file(tmp_path: Path, text: str) -> None:
    assert read_lfw_people(write(tmp_path, text)) == [
        {"Ann_Lee": 4, "Bob": 12, "Amy": 1},
        {"Dee": 2, "Eve_van_Oz": 2},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1\n1\nAnn\t1\n", "line 1: expected the number of folds, at least 2"),
        ("Ann\t1\n", r"line 1: expected the number of folds.*got 'Ann\\t1'"),
        ("2\nAnn\t1\n", r"line 2: expected the number of people of fold 1.*'Ann\\t1'"),
        ("2\n2\nAnn\t1\n", "line 3: the file ends here; expected a person of fold 1"),
        ("2\n1\nAnn\t1\n", "the file ends here; expected the number of people of fol"),
        ("2\n1\nAnn\t1\n1\nBob\t0\n", r"line 5: expected a person.*got 'Bob\\t0'"),
        ("2\n1\nAnn\t1\n1\nBob\n", "line 5: expected a person.*got 'Bob'"),
        ("2\n1\n../Ann\t1\n1\nBob\t1\n", "line 3: expected a person"),
        ("2\n1\nAnn\t1\n1\nAnn\t1\n", "line 5: expected a new person, got 'Ann' of li"),
        (SMALL + "Fay\t1\n", "line 9: expected the end of the file after 2 folds"),
    ],
)
def test_what_is_not_of_that_form(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_lfw_people(write(tmp_path, text))


def test_a_person_of_a_photo() -> None:
    assert person_of("Ann_Lee/Ann_Lee_0001.jpg") == "Ann_Lee"


def test_people_and_pairs_must_agree(tmp_path: Path) -> None:
    pairs_file = tmp_path / "pairs.txt"
    pairs_file.write_text(
        "2\t1\nBob\t1\t2\nAnn_Lee\t1\tAmy\t1\nDee\t1\t2\nDee\t1\tEve\t1\n"
    )
    pairs = read_lfw_pairs(pairs_file)
    folds = [{"Ann_Lee": 4, "Bob": 12, "Amy": 1}, {"Dee": 2, "Eve": 2}]
    check_people_of_pairs(folds, pairs)
    with pytest.raises(DataError, match="a pair of fold 2 names Eve/Eve_0001"):
        check_people_of_pairs([folds[0] | {"Eve": 2}, {"Dee": 2}], pairs)
    with pytest.raises(DataError, match="got 3 folds of people and 2 of pairs"):
        check_people_of_pairs([*folds, {"Fay": 1}], pairs)


@pytest.mark.realdata
def test_the_official_file(data_folder: Path) -> None:
    protocol = data_folder / "lfw-protocol"
    folds = read_lfw_people(protocol / "people.txt")
    # The technical report's totals.
    assert len(folds) == 10
    assert sum(map(len, folds)) == 5749
    assert sum(sum(people.values()) for people in folds) == 13233
    assert sum(count > 1 for people in folds for count in people.values()) == 1680
    assert folds[9]["George_W_Bush"] == 530
    check_people_of_pairs(folds, read_lfw_pairs(protocol / "pairs.txt"))
