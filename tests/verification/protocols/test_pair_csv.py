import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError, FileError
from facever.verification.protocols import read_pair_csv
from facever.verification.protocols.pair_csv import deal_folds

SMALL = """left,right,same,fold
a/1.jpg,a/2.jpg,1,1
a/1.jpg,b/1.jpg,0,1
b/1.jpg,b/2.jpg,TRUE,2

"b/2, old.jpg",c/1.jpg,False,2
c/1.jpg,c/2.jpg,true,2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_bytes(text.encode())
    return path


def test_small_file(tmp_path: Path) -> None:
    pairs = read_pair_csv(write(tmp_path, SMALL))
    assert pairs.left == ["a/1.jpg", "a/1.jpg", "b/1.jpg", "b/2, old.jpg", "c/1.jpg"]
    assert pairs.right == ["a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "c/2.jpg"]
    assert pairs.same.tolist() == [True, False, True, False, True]
    assert pairs.fold.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff\n" + text,
        lambda text: text.replace("/1.jpg,", "/1.jpg , ").replace(",1", " ,\t1"),
        lambda text: text.replace("b/1.jpg", ' "b/1.jpg"'),
        lambda text: text.replace("left,right,same,fold", "left, right ,same,fold"),
    ],
    ids=["crlf", "bom", "spaces", "quotes", "spaces in the header"],
)
def test_other_spellings_read_the_same(tmp_path: Path, change) -> None:
    expected = read_pair_csv(write(tmp_path, SMALL))
    found = read_pair_csv(write(tmp_path, change(SMALL)))
    assert (found.left, found.right) == (expected.left, expected.right)
    np.testing.assert_array_equal(found.same, expected.same)
    np.testing.assert_array_equal(found.fold, expected.fold)


def test_columns_in_another_order(tmp_path: Path) -> None:
    text = "same,fold,right,left\n1,1,x,y\n0,1,x,z\n1,2,y,z\n0,2,y,w\n"
    pairs = read_pair_csv(write(tmp_path, text))
    assert pairs.left == ["y", "z", "z", "w"]
    assert pairs.right == ["x", "x", "y", "y"]
    assert pairs.fold.tolist() == [0, 0, 1, 1]


def test_without_folds_each_kind_is_dealt_in_turn(tmp_path: Path) -> None:
    # Three genuine pairs, then an impostor pair, and so on.
    same = [place % 4 != 3 for place in range(44)]
    rows = [f"l{place},r{place},{int(same[place])}" for place in range(44)]
    pairs = read_pair_csv(write(tmp_path, "\n".join(["left,right,same", *rows])))
    dealt = {True: 0, False: 0}
    expected = []
    for kind in same:
        expected.append(dealt[kind] % 10)
        dealt[kind] += 1
    assert pairs.fold.tolist() == expected
    assert pairs.fold.tolist()[:8] == [0, 1, 2, 0, 3, 4, 5, 1]


@given(st.lists(st.booleans(), max_size=50), st.integers(1, 12))
def test_dealing_is_even(same: list[bool], num_folds: int) -> None:
    folds = deal_folds(np.array(same, dtype=bool), num_folds)
    for kind in (True, False):
        mine = [
            fold for fold, is_same in zip(folds, same, strict=True) if is_same == kind
        ]
        assert mine == [place % num_folds for place in range(len(mine))]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        (
            "left,right,same,fold\n",
            "",
            1,
            "CSV in UTF-8 with the columns left",
        ),
        (
            "same,fold",
            "same,folds",
            1,
            "; got left, right, same, folds",
        ),
        ("same,fold", "same,fold,fold", 1, "; got left, right, same, fold, fold"),
        ("a/2.jpg,1,1", "a/2.jpg,1", 2, "4 values (left, right, same, fold), got 3"),
        ("a/2.jpg,1,1", "a/2.jpg,1,1,", 2, "got 5"),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,yes,1",
            2,
            "same: expected 1, 0, true or false",
        ),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,,1",
            2,
            "same: expected 1, 0, true or false, got ''",
        ),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,1,0",
            2,
            "fold: expected a whole number from 1",
        ),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,1,1.0",
            2,
            "fold: expected a whole number from 1",
        ),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,1,",
            2,
            "fold: expected a whole number from 1, got ''",
        ),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,1,²",
            2,
            "fold: expected a whole number from 1",
        ),
        ("a/2.jpg", "", 2, "column right: expected a photo, got ''"),
        ("a/2.jpg", "a/1.png", 2, "expected two photos, got 'a/1.jpg' twice"),
        ("c/1.jpg,c/2.jpg,true", "b/1.jpg,a/1.jpg,0", 7, "the pair of line 3 again"),
        ('"b/2, old.jpg"', '"b/2"x', 6, "not CSV"),
        ('"b/2, old.jpg"', '"b/2', 7, "not CSV"),
        ('"b/2, old.jpg"', '"b/2,\nold.jpg",x', 7, "got 5"),
    ],
)
def test_malformed_row_is_named(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_pair_csv(path)
    message = str(caught.value)
    assert f"{path}, line {line}" in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("left,right,same\n", "at least one pair"),
        ("left,right,same\na,b,1\na,c,0\n", "at least 2 folds"),
        ("left,right,same,fold\na,b,1,1\na,c,0,2\n", "fold 1 of 2 has 1 genuine and 0"),
        ("left,right,same,fold\na,b,1,9\na,c,0,9\n", "fold 1 of 9 has 0 genuine and 0"),
    ],
)
def test_impossible_lists(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_pair_csv(write(tmp_path, text))


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*none\.csv: No such file"):
        read_pair_csv(tmp_path / "none.csv")


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=8,
)


@given(names=st.lists(TEXT, min_size=8, max_size=8, unique=True), quoting=st.booleans())
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], quoting: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "pairs.csv"
    left, right = ([f"{n}\n{n}/{i}" for n in names[i::2]] for i in (0, 1))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(
            file, quoting=csv.QUOTE_ALL if quoting else csv.QUOTE_MINIMAL
        )
        writer.writerow(["left", "right", "same", "fold"])
        writer.writerows(zip(left, right, [1, 0] * 2, [1, 1, 2, 2], strict=True))
    pairs = read_pair_csv(path)
    assert (pairs.left, pairs.right) == (left, right)
