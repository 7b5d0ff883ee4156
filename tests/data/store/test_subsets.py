import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.data.store.crop_store import CropStore
from facever.data.store.subsets import SubsetRules, choose_crops, read_list, split_rows
from facever.data.store.verifying import find_damage
from facever.errors import DataError, FileError, ParameterError
from facever.stages.store.changes import split_store, subset_store

COUNTS = {"A": 5, "B": 1, "C": 3, "D": 4, "E": 3}
LISTING = [(f"{name}/{i}.jpg", name) for name, n in COUNTS.items() for i in range(n)]


@pytest.fixture(scope="module")
def store(tmp_path_factory, write_crops):
    folder = tmp_path_factory.mktemp("subsets") / "s"
    # Of faces that no rule chose, each is the photo's person.
    failures = {"A/4.jpg": "no face"}
    return write_crops(folder, LISTING[::-1], 2, failures, rules_known=False)


def left(store, **rules):
    choice = choose_crops(CropStore.open(store), SubsetRules(**rules))
    names = [CropStore.open(store).sources[row] for row in choice.rows]
    return Counter(name[0] for name in names)


def test_each_rule(store):
    everyone = {"A": 8, "B": 2, "C": 6, "D": 8, "E": 6}
    assert left(store) == everyone
    assert left(store, min_photos=7) == {"A": 8, "D": 8}
    assert left(store, identities=["C", "B", "X"]) == {"C": 6, "B": 2}
    assert left(store, exclude=["A", "B", "D"]) == {"C": 6, "E": 6}
    # Both faces of a photo, or one of them.
    assert left(store, exclude=["C/0.jpg", "D/1.jpg#2"]) == {**everyone, "C": 4, "D": 7}
    # What is excluded does not count any more.
    assert left(store, exclude=["A/0.jpg"], min_photos=7) == {"D": 8}
    drawn = left(store, min_photos=6, sample=2, seed=3)
    assert len(drawn) == 2
    assert drawn == left(store, min_photos=6, sample=2, seed=3)
    draws = {tuple(left(store, sample=2, seed=seed)) for seed in range(20)}
    assert len(draws) > 3


def test_the_new_store(store, tmp_path, crop_of):
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("# Of last week.\nE/2.jpg\n\nNobody\r\nD\n")
    subset_store(store, tmp_path / "out", exclude=exclude, min_photos=3)
    found = CropStore.open(tmp_path / "out")
    assert found.identities == ["A", "C", "E"]
    assert not find_damage(tmp_path / "out")
    old = CropStore.open(store)
    for row, source in enumerate(found.sources):
        old_row = old.sources.index(source)
        photo, _, face = source.partition("#")
        np.testing.assert_array_equal(
            found.crops[row], crop_of(photo, int(face or 1) - 1)
        )
        np.testing.assert_array_equal(found.landmarks[row], old.landmarks[old_row])
        assert found.identity_of(row) == source[0]
    assert found.failures == {}
    with (tmp_path / "out" / "left_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted([*found.sources, *(row["source"] for row in rows)]) == sorted(
        old.sources
    )
    assert Counter((row["identity"], row["reason"]) for row in rows) == {
        ("D", "excluded identity"): 8,
        ("E", "excluded photo"): 2,
        ("B", "fewer than 3 photos"): 2,
    }
    for row in rows:
        assert old.sources[int(row["row"])] == row["source"]


def test_the_same_again_is_left_alone(store, tmp_path, content_of):
    first = subset_store(store, tmp_path / "out", min_photos=3)
    assert first.is_new
    before = content_of(tmp_path / "out")
    again = subset_store(store, tmp_path / "out", min_photos=3)
    assert again == replace(first, is_new=False)
    assert "nothing new, " in str(again)
    with pytest.raises(FileError, match="holds another crop store already"):
        subset_store(store, tmp_path / "out", min_photos=2)
    assert content_of(tmp_path / "out") == before


def test_names_that_are_not_there_are_told(store, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("A\nC/0.jpg\nZoë\n", encoding="utf-8")
    found = subset_store(store, tmp_path / "out", identities=names)
    assert found.unknown == ["C/0.jpg", "Zoë"]
    assert "2 listed names fit nothing in the store, such as 'C/0.jpg'" in str(found)


@pytest.mark.parametrize(
    ("rules", "error", "why"),
    [
        ({"min_photos": 0}, ParameterError, "min_photos must be at least 1, got 0"),
        ({"sample": 0}, ParameterError, r"sample must be in \[1, 5\].*got 0"),
        ({"sample": 6}, ParameterError, r"sample must be in \[1, 5\].*got 6"),
        ({"min_photos": 9}, DataError, "no crop of .* fits the rules"),
        ({"identities": ["X"]}, DataError, "no crop of .* fits the rules"),
    ],
)
def test_rules_that_cannot_be(store, rules, error, why):
    with pytest.raises(error, match=why):
        choose_crops(CropStore.open(store), SubsetRules(**rules))


def test_lists_that_are_none(tmp_path):
    with pytest.raises(FileError, match=r"cannot read .*none.txt"):
        read_list(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nobody\n\n")
    with pytest.raises(FileError, match="names nothing: expected one name a line"):
        read_list(tmp_path / "empty.txt")


@pytest.fixture(scope="module")
def opened(store):
    return CropStore.open(store)


@settings(max_examples=30)
@given(share=st.floats(0.001, 0.999), seed=st.integers(0, 1000))
def test_nobody_is_in_both_parts(opened, share, seed):
    first, second = split_rows(opened, share, seed)
    assert sorted([*first, *second]) == list(range(len(opened)))
    people = [
        {opened.identity_of(int(row)) for row in rows} for rows in (first, second)
    ]
    assert not people[0] & people[1]
    assert len(people[0]) == min(max(round(5 * share), 1), 4)


def test_split(store, tmp_path, content_of):
    split_store(store, tmp_path / "a", tmp_path / "b", share=0.6, seed=1)
    one, other = CropStore.open(tmp_path / "a"), CropStore.open(tmp_path / "b")
    assert len(one.identities) == 3
    assert sorted([*one.sources, *other.sources]) == sorted(
        CropStore.open(store).sources
    )
    assert not find_damage(tmp_path / "a")
    assert not find_damage(tmp_path / "b")
    # A kill between the two is made good.
    before = content_of(tmp_path)
    for path in (tmp_path / "b").iterdir():
        path.unlink()
    split_store(store, tmp_path / "a", tmp_path / "b", share=0.6, seed=1)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_shares_that_cannot_be(store, tmp_path, share):
    with pytest.raises(ParameterError, match=r"share must be in \(0, 1\), got"):
        split_store(store, tmp_path / "a", tmp_path / "b", share=share)


def test_splits_that_cannot_be(store, tmp_path, write_crops):
    with pytest.raises(ParameterError, match="need two folders"):
        split_store(store, tmp_path / "a", tmp_path / "x" / ".." / "a", share=0.5)
    alone = write_crops(tmp_path / "alone", LISTING[:3])
    with pytest.raises(DataError, match="holds 1 identities: a split by identity"):
        split_store(alone, tmp_path / "a", tmp_path / "b", share=0.5)
