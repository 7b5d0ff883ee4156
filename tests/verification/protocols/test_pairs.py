import numpy as np
import pytest

from facever.errors import DataError
from facever.verification.protocols.pairs import PairList, photo_key, photo_keys


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
    assert photo_keys([source, "a.b", source]) == [key, "a.b", key]


def test_folds_may_differ_in_size() -> None:
    pairs = make_list([True, False, True, True, False], [0, 0, 1, 1, 1])
    assert pairs.num_folds == 2
    assert len(pairs) == 5
