import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.evaluation import evaluate_pairs
from facever.verification.photo_matching import match_photos

PEOPLE = ("Ann", "Bob", "Cy")
PHOTOS = [f"{name}/{name}_{n:04d}.jpg" for name in PEOPLE for n in (1, 2, 3)]
FOLDERS = ["", "lfw/", "/data/lfw/", "C:/faces/lfw/", "./", "../lfw/", "a/b/c/d/"]


def spell(photos, prefix, flat, suffix, backslash):
    names = [photo.split("/")[flat:] for photo in photos]
    spelled = [prefix + "/".join(parts).replace(".jpg", suffix) for parts in names]
    return [name.replace("/", "\\") if backslash else name for name in spelled]


spellings = st.tuples(
    st.sampled_from(FOLDERS),
    st.booleans(),
    st.sampled_from([".jpg", ".png", "", ".JPG"]),
    st.booleans(),
)


@given(
    wanted=spellings,
    there=spellings,
    missing=st.sets(st.integers(0, 8), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_every_spelling_of_the_same_photos(wanted, there, missing, order):
    """Any folder before them, flat or nested, on both sides; some photos missing."""
    rows = [row for row in range(len(PHOTOS)) if row not in missing]
    order.shuffle(rows)
    found = match_photos(
        spell(PHOTOS, *wanted), spell([PHOTOS[row] for row in rows], *there)
    )
    expected = [rows.index(row) if row in rows else -1 for row in range(len(PHOTOS))]
    assert found.rows.tolist() == expected
    shown = [note for note in found.notes if note.startswith("not there: ")]
    assert len(shown) == min(3, len(missing))
    by_ends = [note for note in found.notes if note.startswith("photos are matched by")]
    assert len(by_ends) == (found.num_parts is not None)


def test_names_that_many_people_share_keep_their_folders():
    """``1.jpg`` of Bob is missing and is not Ann's: there are other names to go by."""
    wanted = ["/x/Ann/1.jpg", "/x/Ann/2.jpg", "/x/Bob/1.jpg"]
    found = match_photos(wanted, ["Ann/1.jpg", "Ann/2.jpg", "Cy/1.jpg"])
    assert found.rows.tolist() == [0, 1, -1]
    assert found.num_parts == 2
    assert found.notes == (
        "photos are matched by the last 2 parts of their paths: /x/Ann/1.jpg in the "
        "list is Ann/1.jpg",
        "not there: /x/Bob/1.jpg; a similar name there: Ann/1.jpg",
    )


def test_a_name_that_is_like_none_is_not_called_similar():
    [note] = match_photos(["nobody.jpg"], PHOTOS).notes
    assert note.startswith("not there: nobody.jpg; names there are such as ")


def test_what_could_be_two_photos_is_none():
    found = match_photos(["Ann/1.jpg"], ["train/Ann/1.jpg", "test/Ann/1.jpg"])
    assert found.rows.tolist() == [-1]
    assert found.num_parts is None
    assert found.notes[0].startswith("not there: Ann/1.jpg; a similar name ")
    # Two names of the list for one photo, as little.
    found = match_photos(["a/1.jpg", "b/1.jpg"], ["1.jpg"])
    assert found.rows.tolist() == [-1, -1]


def test_photos_of_others_are_not_taken_by_their_file_names():
    wanted = ["Ann/1.jpg", "Bob/2.jpg"]
    assert match_photos(wanted, ["Cy/1.jpg", "Dee/2.jpg"]).rows.tolist() == [-1, -1]
    # What the photos lie in may differ, if the list's folders say nothing.
    there = ["train/Ann/1.jpg", "test/Bob/2.jpg"]
    assert match_photos(["/x/Ann/1", "/x/Bob/2"], there).rows.tolist() == [0, 1]


def test_whole_names_come_first():
    # A photo that was moved is not looked for while others are where they should be.
    wanted = ["Ann/1.jpg", "Ann/2.jpg", "Ann/3.jpg"]
    found = match_photos(wanted, ["Ann/1.jpg", "Ann/2.jpg", "Dee/3.jpg"])
    assert found.rows.tolist() == [0, 1, -1]
    assert found.num_parts is None


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("Ann/Ann_1.jpg", "Ann/Ann_0003.jpg"),
        ("Bob/Bob_0009.jpg", "Bob/Bob_0003.jpg"),
        ("BOB/Bob_2.jpg", "Bob/Bob_0001.jpg"),
    ],
)
def test_the_most_similar_name(name, similar):
    [note] = match_photos([name], PHOTOS).notes
    assert note == f"not there: {name}; a similar name there: {similar}"


def test_two_kinds_of_file_for_one_photo():
    with pytest.raises(DataError, match=r"'a/1\.jpg' and 'a/1\.png'"):
        match_photos(["a/1.webp", "b"], ["b", "a/1.jpg", "a/1.png"])
    # Of no concern where no name means them.
    assert match_photos(["b"], ["b", "a/1.jpg", "a/1.png"]).rows.tolist() == [0]


def test_nothing_there():
    assert match_photos(["a"], []).rows.tolist() == [-1]
    assert match_photos(["a"], []).notes == ()


def test_an_evaluation_says_how_photos_were_matched(draw):
    embeddings, images, pairs = draw()
    expected = evaluate_pairs(embeddings, images, pairs)
    assert expected.notes == ()
    for components in (None, 4):
        found = evaluate_pairs(
            embeddings, [f"my/photos/{image}" for image in images], pairs, components
        )
        assert len(found.notes) == 1
        if components is None:
            np.testing.assert_array_equal(found.scores, expected.scores)
