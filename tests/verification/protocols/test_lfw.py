from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError, FileError
from facever.verification.protocols import (
    DEV_TEST_FOLD,
    DEV_TRAIN_FOLD,
    read_lfw_development_pairs,
    read_lfw_pairs,
    read_lfw_view_1,
)

SMALL = (
    "2\t2\n"
    "Ann_Lee\t1\t4\nBob\t10\t2\n"
    "Ann_Lee\t1\tBob\t3\nCy\t1\tBob\t12\n"
    "Dee\t1\t2\nEve\t1\t2\n"
    "Dee\t1\tEve\t1\nDee\t2\tEve\t1\n"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_small_file(tmp_path: Path) -> None:
    pairs = read_lfw_pairs(write(tmp_path, SMALL))
    assert pairs.left[:3] == [
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Bob/Bob_0010.jpg",
        "Ann_Lee/Ann_Lee_0001.jpg",
    ]
    assert pairs.right[:3] == [
        "Ann_Lee/Ann_Lee_0004.jpg",
        "Bob/Bob_0002.jpg",
        "Bob/Bob_0003.jpg",
    ]
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert pairs.num_folds == 2
    assert len(pairs) == 8
    # Ann 1, 4; Bob 2, 3, 10, 12; Cy 1; Dee 1, 2; Eve 1, 2.
    assert len(pairs.sources) == 11


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\t", "  "),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text + "\n\n",
        lambda text: text.replace("\n", " \n"),
    ],
    ids=["spaces", "crlf", "bom and blank lines", "trailing spaces"],
)
def test_other_spellings_read_the_same(tmp_path: Path, change) -> None:
    expected = read_lfw_pairs(write(tmp_path, SMALL))
    found = read_lfw_pairs(write(tmp_path, change(SMALL)))
    assert (found.left, found.right) == (expected.left, expected.right)
    np.testing.assert_array_equal(found.fold, expected.fold)


def test_names_with_spaces_in_a_file_with_tabs(tmp_path: Path) -> None:
    pairs = read_lfw_pairs(write(tmp_path, SMALL.replace("Ann_Lee", "Ann Lee")))
    assert pairs.left[0] == "Ann Lee/Ann Lee_0001.jpg"


@pytest.mark.parametrize("blank", ["", "\n", "\ufeff"])
def test_a_file_without_header_says_the_same(tmp_path: Path, blank: str) -> None:
    expected = read_lfw_pairs(write(tmp_path, SMALL))
    found = read_lfw_pairs(write(tmp_path, blank + SMALL.partition("\n")[2]))
    assert (found.left, found.right) == (expected.left, expected.right)
    np.testing.assert_array_equal(found.same, expected.same)
    # Eight pairs are no ten folds: each kind is dealt into four, and that is said.
    assert found.fold.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert "dealt in turn into 4 folds" in found.notes[0]


LINES = SMALL.splitlines()[1:]


@given(
    order=st.permutations(LINES),
    header=st.sampled_from(
        ["", "2\t2", "10\t300", "8", "2 2", "0\t2", "2\tmany", "name,n1,n2"]
    ),
    separator=st.sampled_from(["\t", " ", ",", ", ", ";"]),
    more=st.sampled_from(["", "after", "all"]),
)
def test_any_order_and_any_header(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[str],
    header: str,
    separator: str,
    more: str,
) -> None:
    lines = [line.replace("\t", separator) for line in order]
    # As in Kaggle's CSV, whose rows end in an empty field.
    lines = [line + separator * (more == "all") for line in lines]
    text = "\n".join([header] * bool(header) + lines) + "\n" * (more == "after")
    pairs = read_lfw_pairs(write(tmp_path_factory.mktemp("lfw"), text))
    same = [line.count("\t") == 2 for line in order]
    assert pairs.same.tolist() == same
    for line, left, right in zip(order, pairs.left, pairs.right, strict=True):
        fields = line.split("\t")
        first, second = fields[0], fields[0] if len(fields) == 3 else fields[2]
        assert left == f"{first}/{first}_{int(fields[1]):04d}.jpg"
        assert right == f"{second}/{second}_{int(fields[-1]):04d}.jpg"
    official = same == [True, True, False, False] * 2 and header in ("2\t2", "2 2")
    if official:
        assert pairs.fold.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
        assert pairs.notes == ()
        return
    # The same folds in whatever order, as pairs are dealt in the order of their text.
    dealt = {line: 0 for line in LINES}
    for kind in (2, 3):
        lines = sorted(line for line in LINES if line.count("\t") == kind)
        dealt |= {
            line: place for place, line in enumerate(sorted(lines, key=fields_of))
        }
    assert pairs.fold.tolist() == [dealt[line] for line in order]
    said = [note for note in pairs.notes if "header" in note]
    assert len(said) == bool(header)
    assert any("dealt in turn into 4 folds" in note for note in pairs.notes)


def fields_of(line: str) -> list[str]:
    return line.split("\t")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("2\t2\n", "Bob\tten\t2\n", 1, "'ten'"),
        ("Bob\t10\t2\n", "Bob\t10\n", 3, "name, number; got 2 fields: 'Bob 10'"),
        ("Cy\t1\tBob\t12", "Cy\t1\tBob\t12\t3", 5, "got 5 fields"),
        ("Bob\t10\t2", "Bob\tten\t2", 3, "'ten'"),
        ("Bob\t10\t2", "Bob\t0\t2", 3, "numbers from 1"),
        ("Bob\t10\t2", "Bob\t-1\t2", 3, "'-1'"),
        ("Bob\t10\t2", "Bob\t²\t2", 3, "'²'"),
        ("Bob\t10\t2", "../Bob\t1\t2", 3, "'../Bob'"),
        ("Cy\t1\tBob\t12", "Cy\t1\tCy\t2", 5, "two people, got one twice"),
    ],
)
def test_malformed_line_is_named(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_lfw_pairs(path)
    message = str(caught.value)
    assert f"{path}, line {line}:" in message
    assert says in message
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_lfw_pairs(tmp_path / "none.txt")
    with pytest.raises(FileError, match="cannot read"):
        read_lfw_pairs(tmp_path)
    with pytest.raises(DataError, match="empty"):
        read_lfw_pairs(write(tmp_path, "\n \n"))
    binary = tmp_path / "binary"
    binary.write_bytes(b"10\t300\n\xff\xfe")
    with pytest.raises(DataError, match="not a text file"):
        read_lfw_pairs(binary)


DEV_TRAIN = "2\nAnn\t1\t2\nBob\t1\t2\nAnn\t1\tBob\t1\nAnn\t2\tBob\t2\n"
DEV_TEST = "1\nCy\t1\t2\nCy\t1\tDee\t1\n\n"


def write_view_1(folder: Path, train: str, test: str) -> tuple[Path, Path]:
    paths = folder / "train.txt", folder / "test.txt"
    for path, text in zip(paths, (train, test), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_view_1(tmp_path: Path) -> None:
    pairs = read_lfw_view_1(*write_view_1(tmp_path, DEV_TRAIN, DEV_TEST))
    assert pairs.same.tolist() == [True, True, False, False, True, False]
    assert pairs.fold.tolist() == [DEV_TRAIN_FOLD] * 4 + [DEV_TEST_FOLD] * 2
    assert pairs.left[-1] == "Cy/Cy_0001.jpg"
    assert pairs.right[-1] == "Dee/Dee_0001.jpg"


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (SMALL, DEV_TEST, "train.txt, line 1: expected the header of View 1"),
        (DEV_TRAIN, DEV_TEST[2:], "test.txt, line 1: expected the header of View 1"),
        (DEV_TRAIN, "1\n", "test.txt: the file ends after 0 pairs; expected 2 pairs"),
        (DEV_TRAIN, "1\nCy\t1\t2\n", "test.txt, line 2: the file ends after 1 pairs"),
        ("1" + DEV_TRAIN[1:], DEV_TEST, "train.txt, line 3: expected a pair of two"),
        (DEV_TRAIN, DEV_TEST + "Cy\t1\t3", "test.txt, line 5: expected the end"),
        (DEV_TRAIN, DEV_TRAIN, "the pair of line 2 of "),
    ],
)
def test_malformed_view_1(tmp_path: Path, train: str, test: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_lfw_view_1(*write_view_1(tmp_path, train, test))
    assert says in str(caught.value)


@pytest.mark.realdata
def test_official_view_1(data_folder: Path) -> None:
    folder = data_folder / "lfw-protocol"
    pairs = read_lfw_view_1(folder / "pairsDevTrain.txt", folder / "pairsDevTest.txt")
    sizes = [
        np.count_nonzero((pairs.fold == fold) & (pairs.same == same))
        for fold in (DEV_TRAIN_FOLD, DEV_TEST_FOLD)
        for same in (True, False)
    ]
    assert sizes == [1100, 1100, 500, 500]
    people = [
        {
            source.partition("/")[0]
            for source in np.array([pairs.left, pairs.right])[
                :, pairs.fold == fold
            ].flat
        }
        for fold in (DEV_TRAIN_FOLD, DEV_TEST_FOLD)
    ]
    assert not people[0] & people[1]
    assert pairs.left[0] == "Aaron_Peirsol/Aaron_Peirsol_0001.jpg"
    assert pairs.right[-1] == "Vicente_Fernandez/Vicente_Fernandez_0003.jpg"


@pytest.mark.realdata
def test_official_view_2_without_its_header(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "lfw-protocol" / "pairs.txt"
    headless = write(tmp_path, path.read_text(encoding="utf-8").partition("\n")[2])
    expected, found = read_lfw_pairs(path), read_lfw_pairs(headless)
    assert (found.left, found.right) == (expected.left, expected.right)
    np.testing.assert_array_equal(found.same, expected.same)
    np.testing.assert_array_equal(found.fold, expected.fold)
    assert (expected.notes, expected.rule_fold) == ((), None)
    assert found.notes == (
        "the list names no folds: its ten tenths are taken, in its order",
    )


@pytest.mark.realdata
def test_official_view_2(data_folder: Path) -> None:
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    assert len(pairs) == 6000
    assert pairs.num_folds == 10
    for fold in range(10):
        mine = pairs.fold == fold
        assert np.count_nonzero(mine & pairs.same) == 300
        assert np.count_nonzero(mine & ~pairs.same) == 300
    # First and last lines of the file, by eye.
    assert pairs.left[0] == "Abel_Pacheco/Abel_Pacheco_0001.jpg"
    assert pairs.right[0] == "Abel_Pacheco/Abel_Pacheco_0004.jpg"
    photos = data_folder / "lfw-deepfunneled"
    assert all((photos / source).is_file() for source in pairs.sources)


def test_pairs_to_choose_on(tmp_path: Path) -> None:
    path, _ = write_view_1(tmp_path, DEV_TRAIN, DEV_TEST)
    pairs = read_lfw_development_pairs(path)
    assert pairs.same.tolist() == [True, True, False, False]
    assert pairs.fold.tolist() == [0, 1, 0, 1]
    assert pairs.right == [
        "Ann/Ann_0002.jpg",
        "Bob/Bob_0002.jpg",
        "Bob/Bob_0001.jpg",
        "Bob/Bob_0002.jpg",
    ]


@pytest.mark.parametrize("text", [SMALL, SMALL[4:]], ids=["header", "no header"])
def test_nothing_is_chosen_on_view_2(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="on which nothing is chosen: give pairsDev"):
        read_lfw_development_pairs(write(tmp_path, text))


@pytest.mark.realdata
def test_the_official_pairs_to_choose_on(data_folder: Path) -> None:
    folder = data_folder / "lfw-protocol"
    pairs = read_lfw_development_pairs(folder / "pairsDevTrain.txt")
    assert np.bincount(2 * pairs.fold + pairs.same).tolist() == [550] * 4
    with pytest.raises(DataError, match="on which nothing is chosen"):
        read_lfw_development_pairs(folder / "pairs.txt")
