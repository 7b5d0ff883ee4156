from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.sources.identities import (
    ask_about_levels,
    describe_people,
    name_people,
)
from facever.errors import DataError, ParameterError
from facever.faces.photo_source import PhotoListing, PhotoSource, identity_of


def listing(*names, path=None):
    photos = [PhotoSource(n, identity_of(n), Path(path or n)) for n in names]
    return PhotoListing(photos, Counter())


def people(found):
    return [photo.identity for photo in found.photos]


PARTS = st.text("abXY01._- é", min_size=1, max_size=5).map(lambda part: f"p{part}")


@given(folders=st.lists(PARTS, max_size=4), name=PARTS)
def test_rules(folders, name):
    found = listing("/".join([*folders, f"{name}.jpg"]))
    last, first = ([name, *folders])[-1], ([*folders, name])[0]
    assert people(name_people(found, "top")) == [first]
    assert people(name_people(found, "parent")) == [last]
    assert people(name_people(found, r"([^/]+)\.jpg$")) == [name.strip()]
    assert people(name_people(found, r"[^/]+\.jpg$")) == [f"{name}.jpg"]


def test_rules_that_find_nobody():
    with pytest.raises(DataError, match=r"identity '\(\\\\d\+\)_' finds nobody in Ann"):
        name_people(listing("1_a.jpg", "Ann.jpg"), r"(\d+)_")
    with pytest.raises(DataError, match="finds nobody"):
        name_people(listing("_a.jpg"), r"(\d*)_")
    with pytest.raises(
        ParameterError, match=r"a regular expression, got '\(': missing"
    ):
        name_people(listing("a.jpg"), "(")


def test_splits_are_no_people():
    found = listing("train/Ann/1.jpg", "train/Bo/2.jpg", "Test/Ann/3.jpg")
    with pytest.raises(DataError) as error:
        ask_about_levels(found)
    assert str(error.value) == (
        "Test/, train/ would be 2 people with 3 photos: write --identity parent for "
        "the folder that holds the photo (2 people), or --identity top if that is meant"
    )
    ask_about_levels(name_people(found, "parent"))
    ask_about_levels(listing("train/1.jpg", "test/2.jpg"))
    ask_about_levels(listing("train/Ann/1.jpg", "Bo/2.jpg"))
    ask_about_levels(listing("Ann/holiday/1.jpg"))


def test_a_shard_is_no_folder():
    inside = PhotoSource("000/train/Ann/1.jpg", "train", Path("shards/000.tar"))
    found = PhotoListing([inside], Counter())
    with pytest.raises(DataError, match="train/ would be 1 person with 1 photo"):
        ask_about_levels(found)
    assert people(name_people(found, "top")) == ["train"]
    # One tar file that is called like the folder in it.
    with pytest.raises(DataError, match="train/ would be 1 person with 1 photo"):
        ask_about_levels(listing("train/Ann/1.jpg", path="train.tar"))


def test_what_is_odd_is_said():
    assert describe_people(listing("Ann/1.jpg", "Ann/2.jpg", "Bo/3.jpg")) == [
        "2 people in 3 photos; 1 person has one photo"
    ]
    assert describe_people(listing("A/1.jpg", "A/2.jpg", "B/3.jpg", "C/4.jpg")) == [
        "3 people in 4 photos; 2 people have one photo"
    ]
    assert describe_people(listing("Ann/1.jpg")) == ["1 person in 1 photo"]
    [_, deep] = describe_people(listing("Ann/x/1.jpg", "Ann/y/2.jpg", "Bo/3.jpg"))
    assert deep.endswith(
        "with --identity parent, by the folder that holds the photo, there are 3"
    )
    # Years, of which each holds both: as many people, but others.
    years = listing(
        *(f"{y}/{who}/1.jpg" for y in (2019, 2020) for who in ("Ann", "Bo"))
    )
    assert describe_people(years)[1].endswith("that holds the photo, there are 2")
    [count, flat] = describe_people(listing("Ann_1.jpg", "Ann_2.jpg"))
    assert count == "2 people in 2 photos; 2 people have one photo"
    assert flat.endswith(r"take --identity '(.+)_\d+'")
    assert "named by its file" in flat
    [_, nested] = describe_people(listing("Ann_1/a.jpg", "Ann_2/a.jpg"))
    assert nested == flat.replace("its file", "its folder")
    named = PhotoListing([PhotoSource("1.jpg", "Ann", Path("x.tar"))] * 2, Counter())
    assert describe_people(named) == ["1 person in 2 photos"]
    # As labels of a tar file say it, and with a damaged member.
    every = [PhotoSource(f"{n}.jpg", who, Path("x.tar")) for n, who in enumerate("ABB")]
    lost = PhotoSource("byte-7", "", Path("x.tar"))
    assert describe_people(PhotoListing([*every, lost], Counter())) == [
        "2 people in 4 photos; 1 person has one photo"
    ]
