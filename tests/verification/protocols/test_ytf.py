from pathlib import Path

import numpy as np
import pytest

from facever.errors import DataError, FileError
from facever.verification.protocols import read_ytf_splits

SMALL = (
    "1, 1, Ann_Lee/0, Ann_Lee/2, 1\r\n"
    "1, 2, Ann_Lee/0, Bob/1, 0\r\n"
    "2, 1, Cy/0, Cy/1, 1\r\n"
    "2, 2, Cy/1, Dee/0, 0"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "splits.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda text: text.replace(", ", ","),
        lambda text: text.replace("\r\n", "\n\n") + "\n",
        lambda text: "split number, pair number, first, second, is same\n" + text,
    ],
    ids=["official", "no spaces", "blank lines", "column names"],
)
def test_small_file(tmp_path: Path, change) -> None:
    pairs = read_ytf_splits(write(tmp_path, change(SMALL)))
    assert pairs.left == ["Ann_Lee/0", "Ann_Lee/0", "Cy/0", "Cy/1"]
    assert pairs.right == ["Ann_Lee/2", "Bob/1", "Cy/1", "Dee/0"]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert pairs.sources == ["Ann_Lee/0", "Ann_Lee/2", "Bob/1", "Cy/0", "Cy/1", "Dee/0"]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("Bob/1, 0", "Bob/1", 2, "got 4 fields"),
        ("Bob/1, 0", "Bob/1, 0,", 2, "got 6 fields"),
        ("Bob/1, 0", "Bob/1, 2", 2, "got '2' at the end"),
        ("1, 2, Ann", "0, 2, Ann", 2, "got '0'"),
        ("1, 2, Ann", "1, two, Ann", 2, "got 'two'"),
        ("Bob/1", "Bob", 2, "got the video 'Bob'"),
        ("Bob/1", "Bob/1/2", 2, "got the video 'Bob/1/2'"),
        ("Bob/1", "../1", 2, "got the video '../1'"),
        ("Bob/1", "/1", 2, "got the video '/1'"),
        ("Bob/1", "Bob\\1/1", 2, "got the video"),
        ("Bob/1", "Ann_Lee/0", 2, "two videos, got one twice"),
        ("Cy/1, Dee/0", "Cy/1, Cy/0", 4, "the pair of line 3 again"),
    ],
)
def test_malformed_line_is_named(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_ytf_splits(path)
    assert f"{path}, line {line}:" in str(caught.value)
    assert says in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*; expected YTF's splits file"):
        read_ytf_splits(tmp_path / "none")
    with pytest.raises(DataError, match="empty"):
        read_ytf_splits(write(tmp_path, " \n"))
    with pytest.raises(DataError, match="at least one pair"):
        read_ytf_splits(write(tmp_path, "split, and nothing else\n"))


@pytest.mark.realdata
def test_official_splits(data_folder: Path) -> None:
    pairs = read_ytf_splits(data_folder / "ytf" / "splits.txt")
    assert len(pairs) == 5000
    assert pairs.num_folds == 10
    for fold in range(10):
        mine = pairs.fold == fold
        assert np.count_nonzero(mine & pairs.same) == 250
        assert np.count_nonzero(mine & ~pairs.same) == 250
    # First and last lines of the file, by eye.
    assert (pairs.left[0], pairs.right[0]) == ("Sadie_Frost/1", "Sadie_Frost/5")
    assert (pairs.left[-1], pairs.right[-1]) == ("Ben_Curtis/0", "Hank_Stram/4")
    # In the official list the names and the truth agree.
    for left, right, same in zip(pairs.left, pairs.right, pairs.same, strict=True):
        assert (left.partition("/")[0] == right.partition("/")[0]) == same
