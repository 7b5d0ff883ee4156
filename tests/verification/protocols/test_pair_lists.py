import csv
import random
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError, FileError, ParameterError
from facever.verification.protocols import read_lfw_pairs, read_pair_list

SMALL = """left,right,same,fold
a/1.jpg,a/2.jpg,1,1
a/1.jpg,b/1.jpg,0,1
b/1.jpg,b/2.jpg,TRUE,2

"b/2, old.jpg",c/1.jpg,False,2
c/1.jpg,c/2.jpg,true,2
"""
PHOTOS = [f"{name}/{name} {n}.jpg" for name in ("Ann", "Bob", "Cy") for n in (1, 2, 3)]
PAIRS = [(a, b, a[0] == b[0]) for a, b in combinations(PHOTOS, 2)]
GENUINE = [pair for pair in PAIRS if pair[2]]
IMPOSTOR = [pair for pair in PAIRS if not pair[2]]


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_bytes(text.encode())
    return path


def test_small_file(tmp_path: Path) -> None:
    pairs = read_pair_list(write(tmp_path, SMALL))
    assert pairs.left == ["a/1.jpg", "a/1.jpg", "b/1.jpg", "b/2, old.jpg", "c/1.jpg"]
    assert pairs.right == ["a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "c/2.jpg"]
    assert pairs.same.tolist() == [True, False, True, False, True]
    assert pairs.fold.tolist() == [0, 0, 1, 1, 1]
    assert pairs.notes == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff\n" + text,
        lambda text: text.replace("/1.jpg,", "/1.jpg , ").replace(",1", " ,\t1"),
        lambda text: text.replace("b/1.jpg", ' "b/1.jpg"'),
        lambda text: text.replace("left,right,same,fold", "left, right ,same,fold"),
        lambda text: text.replace("a/2.jpg,1,1", "a/2.jpg,1,1,"),
        lambda text: text.replace("a/", "a\\"),
    ],
    ids=["crlf", "bom", "spaces", "quotes", "spaces in header", "end", "backslash"],
)
def test_other_spellings_read_the_same(tmp_path: Path, change) -> None:
    expected = read_pair_list(write(tmp_path, SMALL))
    found = read_pair_list(write(tmp_path, change(SMALL)))
    assert (found.left, found.right) == (expected.left, expected.right)
    np.testing.assert_array_equal(found.same, expected.same)
    np.testing.assert_array_equal(found.fold, expected.fold)


NAMES = [
    ("left", "right", "same", "fold"),
    ("img1", "img2", "label", "Fold"),
    ("Image 1", "Image 2", "is_same", "split"),
    ("image_0", "image_1", "target", "fold_id"),
    ("file_a", "file_b", "IsSame", "folds"),
    ("first", "second", "Match", "split_id"),
    ("img1_path", "img2_path", "gt", "fold no"),
    ("left photo", "right photo", "genuine", "fold"),
    ("1", "2", "same person", "fold"),
    None,
]
TRUTHS = [
    ("1", "0"),
    ("1", "-1"),
    ("1.0", "0.0"),
    ("True", "False"),
    ("true", "FALSE"),
    ("1", "false"),
]


@given(
    names=st.sampled_from(NAMES),
    given_columns=st.booleans(),
    truth=st.sampled_from(TRUTHS),
    separator=st.sampled_from([",", ";", "\t", "|", " "]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    folds=st.sampled_from([[], [0, 1], [1, 2], [3, 70], [-1, 5]]),
    index=st.booleans(),
    extra=st.booleans(),
    order=st.randoms(use_true_random=False),
    counted=st.booleans(),
)
def test_every_form_of_a_table(
    tmp_path_factory: pytest.TempPathFactory,
    names: tuple[str, ...] | None,
    given_columns: bool,
    truth: tuple[str, str],
    separator: str,
    quoting: int,
    folds: list[int],
    index: bool,
    extra: bool,
    order: random.Random,
    counted: bool,
) -> None:
    """Names, truths, separators, folds, pandas' index and columns of others."""
    path = tmp_path_factory.mktemp("table") / "mine.txt"
    rows = [*GENUINE, *IMPOSTOR[:9]]
    order.shuffle(rows)
    if separator == " ":
        rows = [(a.replace(" ", "_"), b.replace(" ", "_"), same) for a, b, same in rows]
        names, quoting = names and [name.replace(" ", "_") for name in names], 3
    part = names or ("left", "right", "same", "fold")
    columns: dict[str, list[object]] = {}
    if index and separator != " ":
        columns[""] = list(range(len(rows)))
    columns[part[0]] = [left for left, _, _ in rows]
    columns[part[1]] = [right for _, right, _ in rows]
    columns[part[2]] = [truth[0] if same else truth[1] for _, _, same in rows]
    # Genuine and impostor pairs are put into one fold and the other in turn.
    turns = np.array([same for _, _, same in rows])
    expected = (np.where(turns, np.cumsum(turns), np.cumsum(~turns)) - 1) % 2
    if folds:
        columns[part[3]] = [folds[place] for place in expected]
    if extra:
        columns["score"] = [f"0.{order.randint(100, 999)}5" for _ in rows]
    if names:
        # pandas writes its index first.
        others = [name for name in columns if name]
        order.shuffle(others)
        columns = {name: columns[name] for name in ["", *others] if name in columns}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=quoting)
        if counted and not names:
            file.write(f"{len(rows)}\n")
        if names:
            writer.writerow(list(columns))
        writer.writerows(zip(*columns.values(), strict=True))
    is_unclear = "" in columns and not names
    wanted = list(part[: 3 + bool(folds)])
    if not names:
        wanted = [str(list(columns).index(name) + 1) for name in wanted]
    option = ",".join(wanted) if given_columns or is_unclear else ""
    found = read_pair_list(path, option)
    assert found.left == [left for left, _, _ in rows]
    assert found.right == [right for _, right, _ in rows]
    assert found.same.tolist() == turns.tolist()
    said = "; ".join(found.notes)
    assert ("not used: " in said) == (extra or is_unclear)
    if folds:
        np.testing.assert_array_equal(found.fold, expected)
        assert found.rule_fold is None
    else:
        assert "dealt in turn" in said or "tenths are taken" in said


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("a/2.jpg,1,1", "a/2.jpg,1", 2, "4 values (left, right, same, fold), got 3"),
        ("a/2.jpg,1,1", "a/2.jpg,1,1,x", 2, "got 5"),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,yes,1",
            2,
            "same: expected 1 or true, or 0, -1 or fal",
        ),
        ("a/2.jpg,1,1", "a/2.jpg,,1", 2, "same: expected 1 or true, or 0, -1 or false"),
        ("a/2.jpg,1,1", "a/2.jpg,2,1", 2, "-1 or false, got '2'"),
        ("a/2.jpg,1,1", "a/2.jpg,nan,1", 2, "-1 or false, got 'nan'"),
        (
            "a/2.jpg,1,1",
            "a/2.jpg,1,1.5",
            2,
            "fold: expected a fold's number (--columns with",
        ),
        ("a/2.jpg,1,1", "a/2.jpg,1,train", 2, "fold: expected a fold's number"),
        ("a/2.jpg,1,1", "a/2.jpg,1,²", 2, "fold: expected a fold's number"),
        ("a/2.jpg", "", 2, "right: expected a photo, got ''"),
        ('"b/2, old.jpg"', '"b/2"x', 4, "quotes begin and end a field"),
        ('"b/2, old.jpg"', '"b/2', 4, "quotes begin and end a field"),
        ('"b/2, old.jpg"', '"b/2,\nold.jpg",x', 7, "got 5"),
    ],
)
def test_malformed_row_is_named(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_pair_list(path)
    message = str(caught.value)
    assert f"line {line}" in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("who,whom,what", ["a,b,maybe"]),
        ("who,whom,what", ["a,b,1", "a,c,0", "b,d,1", "c,d,0"]),
        ("left,right", ["a,b"]),
        ("left,left,same", ["a,b,1"]),
        ("left,right,same,label", ["a,b,1,1"]),
        ("img1,img2,file1,file2,same", ["a,b,c,d,1"]),
        ("left,right,same,fold,split", ["a,b,1,1,1"]),
        ("name1,name2,same", ["a,b,1"]),
        ("x1,x2,same", ["a,b,1"]),
        ("0", ["0,a.jpg,b.jpg,1"]),
    ],
)
def test_columns_that_could_be_others_are_asked_for(
    tmp_path: Path, header: str, rows: list[str]
) -> None:
    path = write(tmp_path, "\n".join([header, *rows]))
    with pytest.raises(DataError, match=r"such as --columns img1,img2,label"):
        read_pair_list(path)


def test_given_columns(tmp_path: Path) -> None:
    text = "who,whom,what,x1\na,b,1,5\na,c,0,5\nb,d,1,5\nc,d,0,5\n"
    path = write(tmp_path, text)
    for columns in ("who,whom,what", "1,2,3", " who , 2,what"):
        pairs = read_pair_list(path, columns)
        assert (pairs.left, pairs.right) == (["a", "a", "b", "c"], ["b", "c", "d", "d"])
    assert pairs.notes[0] == (
        "columns of pairs.csv: left is who, right is whom, same is what; not used: x1"
    )
    for columns in ("who,whom", "1,2,3,4,5", "who,whom,nobody", "0,1,2", "1,2,5"):
        with pytest.raises(ParameterError, match="columns must be"):
            read_pair_list(path, columns)


def test_columns_given_by_number_have_no_photo_for_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, "7,a,b,1\n7,a,c,0\n7,b,d,1\n7,c,d,0\n")
    pairs = read_pair_list(path, "2,3,4")
    assert (pairs.left, pairs.right) == (["a", "a", "b", "c"], ["b", "c", "d", "d"])
    assert pairs.notes[0] == (
        "columns of pairs.csv: left is column 2, right is column 3, same is column 4; "
        "not used: column 1"
    )


@pytest.mark.parametrize(
    "rows",
    [
        "a.jpg b.jpg 1\na.jpg c.jpg 0\n#b.jpg d.jpg 1\nc.jpg d.jpg 0\n",
        "2 1\nAnn 1 2\nAnn 1 Bob 1\nBob 1 2\nAnn 2 Bob 2\n",
        "left,right,same\n#a,b,1\na,c,0\nb,d,1\nc,d,0\n",
        "# left,right,same\na,b,1\na,c,0\nb,d,1\nc,d,0\n",
        "#a,b,1\na,c,0\nb,d,1\nc,d,0\n",
    ],
)
def test_comments_at_the_top(tmp_path: Path, rows: str) -> None:
    expected = read_pair_list(write(tmp_path, rows))
    assert len(expected) == 4
    path = write(tmp_path, f"# of 2 people\n#\n{rows}")
    found = read_pair_list(path)
    assert (found.left, found.right) == (expected.left, expected.right)
    assert found.fold.tolist() == expected.fold.tolist()
    assert found.notes[:2] == (
        f"{path}, line 1: '# of 2 people' is taken for a comment",
        f"{path}, line 2: '#' is taken for a comment",
    )


def test_the_truth_may_stand_first(tmp_path: Path) -> None:
    text = "1 a.jpg b.jpg\n0 a.jpg c.jpg\n1 c.jpg d.jpg\n0 b.jpg d.jpg\n"
    pairs = read_pair_list(write(tmp_path, text))
    assert pairs.right == ["b.jpg", "c.jpg", "d.jpg", "d.jpg"]
    assert pairs.same.tolist() == [True, False] * 2
    assert "left is column 2, right is column 3, same is column 1" in pairs.notes[0]


def test_photos_with_numbers_for_names_are_not_lfw_s(tmp_path: Path) -> None:
    pairs = read_pair_list(write(tmp_path, "1 2 1\n3 4 1\n1 3 1\n2 4 0\n1 4 0\n"))
    assert pairs.left == ["1", "3", "1", "2", "1"]
    assert pairs.same.tolist() == [True, True, True, False, False]


def test_lfw_s_form_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, "Ann 1 2\nBob 1 2\nAnn 1 Bob 1\nAnn 2 Bob 2\n")
    found, expected = read_pair_list(path), read_lfw_pairs(path)
    assert (found.left, found.notes) == (expected.left, expected.notes)


REPEATED = "left,right,same\na,b,1\nc,d,1\na,c,0\nb,d,0\n"


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        (
            "a,b.jpg,1\n",
            [
                "again: 1, 0 of them with the members swapped, such as that of"
                " line 2 in line 6; {}"
            ],
        ),
        (
            "d.png,b,0\n",
            [
                "again: 1, 1 of them with the members swapped, such as that of"
                " line 5 in line 6; {}"
            ],
        ),
        ("a\\b,x\\c,0\nx/c,a/b,0\n", ["again: 1, 1 of them"]),
        (
            "b,a,0\n",
            [
                "again: 1, 1 of",
                "and as impostor pairs: 1, such as that of line 2 and line 6",
            ],
        ),
        ("a,a.jpg,1\n", ["of a photo with itself: 1, such as that of line 6; {}"]),
    ],
)
def test_pairs_that_are_listed_again(
    tmp_path: Path, more: str, notes: list[str]
) -> None:
    path = write(tmp_path, REPEATED + more)
    as_listed, unique = read_pair_list(path), read_pair_list(path, unique=True)
    assert len(as_listed) == 4 + more.count("\n")
    assert len(unique) == 4 + more.count("\n") - 1
    for said, what in (
        (as_listed.notes, "kept as listed, --unique drops them"),
        (unique.notes, "dropped"),
    ):
        for place, note in enumerate(notes):
            assert note.format(what) in said[place]
            assert said[place].startswith("pairs ")


def test_truths_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="impostor pairs are 0 or -1, got both"):
        read_pair_list(write(tmp_path, REPEATED + "a,d,-1\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ('""\n', "holds nothing but separators; expected a list of pairs"),
        ("left,right,same\n", "no threshold can be chosen"),
        ("left,right,same\na,b,1\na,c,1\n", "got 2 genuine and 0 impostor pairs"),
        ("Ann 1 2\nBob 1 2\n", "got 2 genuine and 0 impostor pairs"),
    ],
)
def test_impossible_lists(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_pair_list(write(tmp_path, text))


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*none\.csv: No such file"):
        read_pair_list(tmp_path / "none.csv")


TEXT = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"],
        exclude_characters="\\",
    ),
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
    pairs = read_pair_list(path)
    assert (pairs.left, pairs.right) == (left, right)


@given(st.binary(max_size=80) | st.text('ab1 0\t,;|"\n-.', max_size=60))
def test_any_file_gives_pairs_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    path = tmp_path_factory.mktemp("any") / "pairs.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with suppress(DataError):
        assert len(read_pair_list(path)) >= 4
