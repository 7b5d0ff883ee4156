import numpy as np
import pytest

from facever.data.store.crop_store import CropStore
from facever.data.store.face_facts import face_choices, landmark_fit
from facever.data.store.writer import CropWriter
from facever.faces.templates import CARD_POINTS
from facever.stages.store.facts import describe_store

EVERY = ["prominent", "largest", "center", "best"]
# What the rules take of each photo's faces; where one crop is kept, it is the first.
PHOTOS = {
    "A/1.jpg": [EVERY],
    "A/2.jpg": [["prominent", "center"], ["largest", "best"]],
    "B/1.jpg": [["prominent", "largest", "center"], ["best"], []],
    "B/2.jpg": [EVERY, []],
}


@pytest.fixture
def write(tmp_path):
    def write(face, num_kept, photos=PHOTOS, landmarks=CARD_POINTS, folder="s"):
        listing = [(source, source[0]) for source in photos]
        with CropWriter(tmp_path / folder, {"face": face}, listing) as writer:
            for source, taken_by in photos.items():
                num_crops = min(num_kept, len(taken_by))
                crops = np.zeros((num_crops, 112, 96, 3), np.uint8)
                points = np.stack([landmarks] * num_crops)
                kept = taken_by[:num_crops]
                scores = np.ones(num_crops)
                writer.add(source, crops, points, scores, len(taken_by), kept)
            return writer.finish()

    return write


@pytest.mark.parametrize(("face", "num_kept"), [("prominent", 1), ("all", 9)])
def test_photos_of_which_rules_take_another_face(write, face, num_kept):
    found = face_choices(write(face, num_kept))
    assert found.rule == "prominent"
    assert found.num_several == 3
    assert found.others == {
        "largest": ["A/2.jpg"],
        "center": [],
        "best": ["A/2.jpg", "B/1.jpg"],
    }


def test_a_group_is_not_one_person(write):
    store = write("all", 9)
    who = {s: store.identity_of(row) for row, s in enumerate(store.sources)}
    assert who == {
        "A/1.jpg": "A",
        "A/2.jpg": "A",
        "A/2.jpg#2": "A/2.jpg#2",
        "B/1.jpg": "B",
        "B/1.jpg#2": "B/1.jpg#2",
        "B/1.jpg#3": "B/1.jpg#3",
        "B/2.jpg": "B",
        "B/2.jpg#2": "B/2.jpg#2",
    }
    # Whichever face is kept, alone it is the photo's person.
    alone = write("best", 1, {"C/1.jpg": [["best"]]}, folder="alone")
    assert alone.identities == ["C"]


def test_they_are_counted_and_named(write):
    store = write("prominent", 1)
    text = str(describe_store(store.folder))
    assert (
        "  3 photos show several faces; of these, other rules than prominent take "
        "another one:\n"
        "    --face largest: in 1 A/2.jpg\n"
        "    --face center: in 0\n"
        "    --face best: in 2 A/2.jpg, B/1.jpg\n"
    ) in text
    facts = describe_store(store.folder).to_dict()
    assert facts["face_choices"]["others"]["best"] == ["A/2.jpg", "B/1.jpg"]


def test_a_store_of_another_rule_is_its_own_measure(write):
    largest = {source: taken[::-1] for source, taken in PHOTOS.items()}
    found = face_choices(write("largest", 1, {"A/2.jpg": largest["A/2.jpg"]}))
    assert (found.rule, found.num_several) == ("largest", 1)
    assert found.others == {"prominent": ["A/2.jpg"], "center": ["A/2.jpg"], "best": []}


def test_photos_of_one_face_are_not_spoken_of(write):
    store = write("prominent", 1, {"A/1.jpg": [EVERY]})
    assert "several" not in str(describe_store(store.folder))


def test_the_worst_residuals_are_named(tmp_path):
    """Landmarks from the template to halfway to those of a mirrored face."""
    listing = [(f"A/{number:03}.jpg", "A") for number in range(200)]
    with CropWriter(tmp_path / "s", {}, listing) as writer:
        for number, (source, _) in enumerate(listing):
            # The nose is off by so many thousandths of the eyes' distance.
            off = CARD_POINTS.copy()
            off[2, 0] += number * 0.0352377
            crops = np.zeros((1, 112, 96, 3), np.uint8)
            writer.add(source, crops, off[None], np.ones(1))
        store = writer.finish()
    found = landmark_fit(store)
    # The nose moves the mean and the turn a little, too, and the rest of it is left.
    tenth = store.residuals[100]
    assert 0.035 < tenth < 0.1 / np.sqrt(5)
    assert found.median == pytest.approx(tenth, abs=0.0003)
    assert found.percentile_99 == store.residuals[197]
    assert list(found.worst) == [f"A/{number}.jpg" for number in range(199, 194, -1)]
    assert list(found.worst.values()) == store.residuals[:194:-1].tolist()
    text = str(describe_store(store.folder))
    assert "in distances of the eyes: median 0.04, 99 % up to 0.08\n" in text
    assert "    the worst: A/199.jpg 0.08, A/198.jpg 0.08, " in text


def test_crops_without_landmarks_say_nothing(tmp_path, make_store):
    store = CropStore.open(make_store(tmp_path / "s", (2, 2)))
    assert landmark_fit(store) is None
    assert face_choices(store) is None
    text = str(describe_store(store.folder))
    assert "template, in" not in text
    assert "several" not in text
