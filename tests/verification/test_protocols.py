from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError, FileError
from facever.verification.protocols import PairList, photo_key, read_lfw_pairs

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


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("2\t2\n", "", 1, "header of View 2"),
        ("2\t2\n", "2\t2\t2\n", 1, "header of View 2"),
        ("2\t2\n", "2\tmany\n", 1, "header of View 2"),
        ("2\t2\n", "0\t2\n", 1, "header of View 2"),
        ("2\t2\n", "1\t4\n", 1, "at least 2 folds, got 1"),
        ("Bob\t10\t2\n", "Bob\t10\n", 3, "name, number, number; got 2 fields"),
        ("Bob\t10\t2\n", "Bob\t10\tCy\t2\n", 3, "one person"),
        ("Bob\t10\t2\n", "", 3, "one person"),
        ("Cy\t1\tBob\t12", "Cy\t1\t12", 5, "two people"),
        ("Bob\t10\t2", "Bob\tten\t2", 3, "'ten'"),
        ("Bob\t10\t2", "Bob\t0\t2", 3, "numbers from 1"),
        ("Bob\t10\t2", "Bob\t-1\t2", 3, "'-1'"),
        ("Bob\t10\t2", "Bob\t²\t2", 3, "'²'"),
        ("Bob\t10\t2", "../Bob\t1\t2", 3, "'../Bob'"),
        ("Bob\t10\t2", "Bob\t2\t2", 3, "two photos, got one twice"),
        ("Cy\t1\tBob\t12", "Cy\t1\tCy\t2", 5, "two people, got one twice"),
        ("Cy\t1\tBob\t12", "Bob\t3\tAnn_Lee\t1", 5, "pair of line 4 again"),
        ("Dee\t2\tEve\t1\n", "", 8, "ends after 7 pairs; expected 8"),
        ("Dee\t2\tEve\t1\n", "Dee\t2\tEve\t1\nDee\t2\t9\n", 10, "end of the file"),
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
    assert f"{path} line {line}:" in message
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


def make_list(same: list[bool], fold: list[int], extra: int = 0) -> PairList:
    names = [f"a{i}" for i in range(len(same))]
    return PairList(
        names, names + ["more"] * extra, np.array(same), np.array(fold, dtype=np.int64)
    )


@pytest.mark.parametrize(
    ("same", "fold", "extra", "says"),
    [
        ([True, False], [0, 0], 1, r"one length, got \(2, 3, 2, 2\)"),
        ([True, False], [0, 0], 0, "at least 2 folds"),
        ([True, False] * 2, [0, 0, -1, -1], 0, "count from 0, got fold -1"),
        ([True, False, True], [0, 0, 1], 0, "fold 2 of 2 has 1 genuine and 0 impostor"),
        ([True, False] * 2, [0, 0, 2, 2], 0, "fold 2 of 3 has 0 genuine and 0"),
    ],
)
def test_impossible_lists(
    same: list[bool], fold: list[int], extra: int, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        make_list(same, fold, extra)


def test_empty_list() -> None:
    with pytest.raises(DataError, match="at least one pair"):
        PairList([], [], np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("A/A_0001.jpg", "A/A_0001"),
        ("A/A_0001.PNG", "A/A_0001"),
        ("A/A_0001", "A/A_0001"),
        ("A/Mr._X_0001", "A/Mr._X_0001"),
        ("A/Mr._X_0001.jpeg", "A/Mr._X_0001"),
        ("A.jpg/A_0001.webp", "A.jpg/A_0001"),
    ],
)
def test_photo_key(source: str, key: str) -> None:
    assert photo_key(source) == key


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
