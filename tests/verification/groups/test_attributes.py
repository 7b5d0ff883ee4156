from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError, FileError
from facever.verification.groups.attributes import MOST_GROUPS, read_groups
from facever.verification.protocols import PairList

PAIRS = PairList(
    left=["Ann/1.jpg", "Ann/1.jpg", "Cy/1.jpg", "Ann/2.jpg"],
    right=["Ann/2.jpg", "Bob/1.jpg", "Cy/2.jpg", "Bob/1.jpg"],
    same=np.array([True, False, True, False]),
    fold=np.array([0, 0, 1, 1]),
)


def read(tmp_path: Path, text: str):
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return read_groups(path, PAIRS)


def test_people_and_several_attributes(tmp_path: Path) -> None:
    found = read(
        tmp_path, "name, sex, team\nAnn, F, 1\nBob, M, 2\nCy, M,\nDee, F, 2\n\n"
    )
    sex, team = found.attributes
    assert (sex.name, sex.groups, sex.num_photos) == ("sex", ("F", "M"), (2, 3))
    assert sex.left.tolist() == [0, 0, 1, 0]
    assert sex.right.tolist() == [0, 1, 1, 1]
    assert (team.groups, team.num_photos, team.num_without) == (("1", "2"), (2, 1), 2)
    assert team.left.tolist() == [0, 0, -1, 0]
    assert found.notes == (
        "groups of people, from groups.csv: 5 of the 5 photos in the pairs have a line",
        "1 of the 4 people in groups.csv are in no pair, such as Dee",
    )


@pytest.mark.parametrize("folder", ["", "/data/faces/"])
def test_photos_whatever_their_extension_and_folder(
    tmp_path: Path, folder: str
) -> None:
    rows = ("Ann/1.png,a", "Ann/2.png,b", "Bob/1.png,a", "Cy/1.png,b")
    lines = "\n".join(folder + row for row in rows)
    found = read(tmp_path, f"photo,camera\n{lines}\n")
    [camera] = found.attributes
    assert camera.left.tolist() == [0, 0, 1, 1]
    assert camera.right.tolist() == [1, 0, -1, 0]
    assert (camera.num_photos, camera.num_without) == ((2, 2), 1)
    assert found.notes == (
        "groups of photos, from groups.csv: 4 of the 5 photos in the pairs have a line",
    )


def test_a_person_of_several_lines_of_one_group(tmp_path: Path) -> None:
    found = read(tmp_path, "name,sex,team\nAnn,F,\nAnn,F,1\nAnn,,1\nBob,M,2\n")
    assert [each.num_photos for each in found.attributes] == [(2, 1), (2, 1)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name\nAnn\n", "a column for each attribute, separated by commas; got one"),
        ("name,sex\n", "names columns and no photo or person"),
        ("name,sex\n,F\n", "line 2, column name: expected a photo or a person"),
        (
            "name,sex,sex\nAnn,F,F\n",
            "line 1: expected each column once, got 'sex' 2 times",
        ),
        ("name,sex\nEve,F\n", "no line names a photo .* such as 'Ann/1.jpg', .* 'Eve'"),
        (
            "name,sex\nAnn,F\nBob,M\nAnn,M\n",
            "lines 2 and 4: Ann is in two groups of sex, 'F' and 'M'; leave one",
        ),
        (
            "photo,sex\nAnn/1.jpg,F\nAnn/1.png,M\n",
            "lines 2 and 3: Ann/1 is in two groups of sex",
        ),
        ("name,sex\nAnn,F\nBob,F\n", "column sex: expected at least 2 .* only 'F'"),
        ("name,sex\nAnn,\nBob,\n", "column sex: expected at least 2 .* got none"),
        ("name,sex\nAnn,F,1\n", "line 2: expected 2 values"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_file_without_a_line_of_names(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("Bob,M\nAnn,F\nCy,M\n")
    with pytest.raises(DataError, match=r"'M' is a column's name .*, put one such as"):
        read_groups(path, PAIRS)


def test_a_group_of_the_name_of_its_column(tmp_path: Path) -> None:
    text = "name,glasses\nAnn,glasses\nBob,none\n"
    with pytest.raises(DataError, match=r"'glasses' .*, else rename the column"):
        read(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*; expected CSV in UTF-8$"):
        read_groups(tmp_path / "none.csv", PAIRS)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("", "bands, such as 20-29"), ("v", "leave the column out")]
)
def test_too_many_groups(tmp_path: Path, kind: str, remedy: str) -> None:
    numbers = range(MOST_GROUPS + 1)
    photos = [f"P/{number}.jpg" for number in numbers]
    pairs = PairList(
        left=[photos[0], photos[0], "Q/1.jpg", *photos],
        right=[photos[1], "Q/1.jpg", "Q/2.jpg", *(["Q/1.jpg"] * len(photos))],
        same=np.array([True, False, True] + [False] * len(photos)),
        fold=np.array([0, 0, 1] + [1] * len(photos)),
    )
    path = tmp_path / "groups.csv"
    lines = [f"{photo},{kind}{20 + i}" for i, photo in enumerate(photos)]
    path.write_text("\n".join(["photo,age", *lines]))
    says = f"column age: expected at most {MOST_GROUPS} groups, got 31.*{remedy}"
    with pytest.raises(DataError, match=says):
        read_groups(path, pairs)
    path.write_text("\n".join(["photo,age", *lines[1:]]))
    assert len(read_groups(path, pairs).attributes[0].groups) == MOST_GROUPS
