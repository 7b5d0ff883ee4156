import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import FaceverError, FileError, ParameterError
from facever.synthetic import (
    draw_face,
    folders,
    identity_name,
    write_pairs,
    write_photos,
)
from facever.synthetic.conditions import Conditions, sample_conditions
from facever.synthetic.drawing import draw
from facever.synthetic.identity import Identity, sample_identity

NUMBERS = st.integers(0, 2**32 - 1)
TEMPLATE = np.array(
    [
        (30.2946, 51.6963),
        (65.5318, 51.5014),
        (48.0252, 71.7366),
        (33.5493, 92.3655),
        (62.7299, 92.2041),
    ]
)

GOLDEN_SHAPE = (218, 238, 3)
GOLDEN_LANDMARKS = [
    (91.13, 94.85),
    (136.07, 94.67),
    (110.88, 115.46),
    (98.0, 133.2),
    (128.96, 133.55),
]
GOLDEN_THIRDS = [(88.7, 109.0, 131.0), (96.7, 86.3, 129.7), (79.0, 50.7, 106.0)]


def plain(seed: int, number: int, **changes: object) -> tuple[Identity, Conditions]:
    """A person seen from the front in good light, with nothing in the way."""
    person = sample_identity(seed, number)
    calm: dict[str, object] = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "smile": 0.0,
        "mouth_open": 0.0,
        "eyelids": 1.1,
        "gaze_x": 0.0,
        "gaze_y": 0.0,
        "light_x": 0.0,
        "light_y": -0.2,
        "glasses": "none",
        "hat": "none",
        "occluder": "none",
        "blur": 0.0,
        "small": 1.0,
        "noise": 0.0,
        "saturation": 1.0,
        "jpeg_quality": 0,
    }
    conditions = sample_conditions(person, seed, number, 0)
    return person, replace(conditions, **(calm | changes))  # type: ignore[arg-type]


def align(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A crop by least squares in the four numbers of a similarity."""
    rows, target = [], []
    for (x, y), (u, v) in zip(landmarks, TEMPLATE, strict=True):
        rows += [(x, -y, 1.0, 0.0), (y, x, 0.0, 1.0)]
        target += [u, v]
    a, b, right, down = np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0]
    matrix = np.array([(a, -b, right), (b, a, down)])
    return cv2.warpAffine(photo, matrix, (96, 112))


@settings(max_examples=30, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_any_face_is_a_photo_with_landmarks_in_a_sane_place(
    seed: int, identity: int, picture: int
) -> None:
    drawn = draw_face(seed, identity, picture)
    height, width, channels = drawn.photo.shape
    assert channels == 3
    assert 200 <= height <= 260
    assert 200 <= width <= 260
    assert drawn.photo.std() > 3.0
    assert (drawn.landmarks > 4.0).all()
    assert (drawn.landmarks < (width - 5.0, height - 5.0)).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = drawn.landmarks
    across = right_eye - left_eye
    distance = np.hypot(*across)
    assert 18.0 < distance < 70.0
    along = across / distance
    down = np.array([-along[1], along[0]])
    assert along[0] > 0.75
    assert 0.3 * distance < (right_mouth - left_mouth) @ along < 1.5 * distance
    eyes = (left_eye + right_eye) / 2
    mouth = (left_mouth + right_mouth) / 2
    assert 0.1 * distance < (nose - eyes) @ down < (mouth - eyes) @ down
    assert (mouth - eyes) @ down < 2.2 * distance


def test_the_same_three_numbers_give_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib\n"
        "from facever.synthetic import draw_face\n"
        "draw_face(3, 9, 9)\n"
        "drawn = draw_face(3, 4, 5)\n"
        "both = drawn.photo.tobytes() + drawn.landmarks.round(6).tobytes()\n"
        "print(hashlib.sha256(both).hexdigest())"
    )
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    drawn = draw_face(3, 4, 5)
    both = drawn.photo.tobytes() + drawn.landmarks.round(6).tobytes()
    assert there.stdout.strip() == hashlib.sha256(both).hexdigest()


def test_a_known_face_stays_what_it_was() -> None:
    # Recorded once. A change of the drawing changes every measured number of the
    # demo, so it must be made on purpose. The tolerance is for other machines.
    drawn = draw_face(1, 2, 3)
    assert drawn.photo.shape == GOLDEN_SHAPE
    np.testing.assert_allclose(drawn.landmarks, GOLDEN_LANDMARKS, atol=0.02)
    thirds = cv2.resize(drawn.photo, (3, 3), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(thirds.mean(axis=2), GOLDEN_THIRDS, atol=2.0)


def test_each_number_matters() -> None:
    first = draw_face(0, 0, 0)
    for numbers in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        other = draw_face(*numbers)
        assert not np.allclose(first.landmarks, other.landmarks, atol=0.1)


@pytest.mark.parametrize("number", range(8))
def test_the_eye_landmarks_are_where_the_irises_are(number: int) -> None:
    person, conditions = plain(5, number, yaw=0.2, pitch=-0.1, roll=0.25)
    one = draw(replace(person, iris=(20.0, 200.0, 20.0)), conditions)
    two = draw(replace(person, iris=(200.0, 20.0, 200.0)), conditions)
    changed = np.abs(one.photo.astype(int) - two.photo).sum(axis=2) > 30
    y, x = np.nonzero(changed)
    places = np.column_stack([x, y])
    nearest = np.argmin(
        [np.hypot(*(places - eye).T) for eye in one.landmarks[:2]], axis=0
    )
    for eye in (0, 1):
        middle = places[nearest == eye].mean(axis=0)
        # The iris is about 0.09 head units in radius; the lids cover some of it.
        error = np.hypot(*(middle - one.landmarks[eye]))
        assert error < 0.05 * conditions.unit


@pytest.mark.parametrize("number", range(8))
def test_the_mouth_landmarks_are_the_ends_of_the_lips(number: int) -> None:
    person, conditions = plain(6, number, yaw=-0.2, roll=0.0, make_up=0.0, smile=0.4)
    one = draw(replace(person, lips=(40.0, 200.0, 40.0)), conditions)
    two = draw(replace(person, lips=(200.0, 40.0, 200.0)), conditions)
    changed = np.abs(one.photo.astype(int) - two.photo).sum(axis=2) > 30
    y, x = np.nonzero(changed)
    for landmark, end in ((3, x.argmin()), (4, x.argmax())):
        error = np.hypot(*(one.landmarks[landmark] - (x[end], y[end])))
        assert error < 0.09 * conditions.unit


@pytest.mark.parametrize("number", range(8))
def test_the_nose_landmark_is_just_above_the_nostrils(number: int) -> None:
    person, conditions = plain(7, number)
    one = draw(replace(person, nostril=0.02), conditions)
    two = draw(replace(person, nostril=0.06), conditions)
    changed = np.abs(one.photo.astype(int) - two.photo).sum(axis=2) > 30
    y, x = np.nonzero(changed)
    nose = one.landmarks[2]
    assert abs((x.min() + x.max()) / 2 - nose[0]) < 0.04 * conditions.unit
    assert 0.0 < y.mean() - nose[1] < 0.2 * conditions.unit


def test_an_open_eye_is_dark_at_its_landmark() -> None:
    darker = 0
    for number in range(40):
        drawn = draw(*plain(8, number))
        grey = cv2.cvtColor(drawn.photo, cv2.COLOR_RGB2GRAY).astype(float)
        y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
        unit = np.hypot(*(drawn.landmarks[1] - drawn.landmarks[0])) / 0.88
        for eye in drawn.landmarks[:2]:
            away = np.hypot(x - eye[0], y - eye[1]) / unit
            pupil = grey[away < 0.04].mean()
            face = grey[(away > 0.3) & (away < 0.4)].mean()
            darker += bool(pupil < 0.75 * face)
    assert darker >= 76  # of 80


@settings(max_examples=15, deadline=None)
@given(NUMBERS, st.floats(-0.5, 0.5), st.floats(30.0, 60.0))
def test_rolling_and_scaling_move_the_landmarks_by_a_similarity(
    number: int, roll: float, unit: float
) -> None:
    person, conditions = plain(9, number, yaw=0.15, unit=40.0)
    upright = draw(person, conditions).landmarks
    turned = draw(person, replace(conditions, roll=roll, unit=unit)).landmarks
    center = complex(conditions.center_x, conditions.center_y)
    before = upright[:, 0] + 1j * upright[:, 1] - center
    after = turned[:, 0] + 1j * turned[:, 1] - center
    np.testing.assert_allclose(
        after, before * np.exp(1j * roll) * unit / 40.0, atol=1e-8
    )


@pytest.mark.parametrize("number", range(5))
def test_a_turned_head_shows_its_nose_nearer_to_the_far_eye(number: int) -> None:
    shares = []
    for yaw in (-0.35, 0.0, 0.35):
        landmarks = draw(*plain(10, number, yaw=yaw)).landmarks
        left, right, nose = landmarks[0, 0], landmarks[1, 0], landmarks[2, 0]
        shares.append((nose - left) / (right - left))
    assert shares[0] < 0.4
    assert shares[1] == pytest.approx(0.5, abs=1e-9)
    assert shares[2] > 0.6


@pytest.mark.parametrize("number", range(5))
def test_light_falls_on_the_side_that_it_comes_from(number: int) -> None:
    def halves(light_x: float) -> tuple[float, float]:
        drawn = draw(*plain(11, number, light_x=light_x, ambient=0.4))
        crop = align(drawn.photo, drawn.landmarks)
        return float(crop[60:90, 22:40].mean()), float(crop[60:90, 56:74].mean())

    left, right = halves(-1.2)
    assert left > 1.1 * right
    left, right = halves(1.2)
    assert right > 1.1 * left


def test_pictures_of_a_person_are_more_alike_than_pictures_of_two() -> None:
    people, photos = 30, 4
    crops = []
    for number in range(people):
        for picture in range(photos):
            drawn = draw_face(12, number, picture)
            crop = align(drawn.photo, drawn.landmarks)[8:104, 8:88]
            small = cv2.resize(crop, (24, 32), interpolation=cv2.INTER_AREA)
            crops.append(small.astype(float).ravel())
    vectors = np.array(crops) - np.mean(crops, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors.T
    person = np.repeat(np.arange(people), photos)
    upper = np.triu(np.ones_like(cosine, dtype=bool), 1)
    same = cosine[upper & (person[:, None] == person)]
    different = cosine[upper & (person[:, None] != person)]
    assert same.mean() > different.mean() + 0.1
    # But no cut separates them: raw pixels must not solve the task.
    cut = np.median(np.concatenate([same, different[:: len(different) // len(same)]]))
    right = ((same > cut).mean() + (different <= cut).mean()) / 2
    assert 0.55 < right < 0.8


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((-1, 0, 0), r"seed must be in \[0, 2\*\*32\), got -1"),
        ((0, 2**32, 0), r"identity must be in \[0, 2\*\*32\), got 4294967296"),
        ((0, 0, -7), r"picture must be in \[0, 2\*\*32\), got -7"),
    ],
)
def test_draw_face_refuses(numbers: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        draw_face(*numbers)


def test_write_photos_writes_what_draw_face_draws(tmp_path: Path) -> None:
    done = []

    def advance(count: int = 1, note: str = "") -> None:
        done.append(count)

    folder = tmp_path / "deep" / "photos"
    write_photos(folder, 3, 11, 2, 3, advance)
    assert sum(done) == 6
    lines = (folder / "landmarks.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        f"person_000{person}/person_000{person}_000{number}.jpg"
        for person in (11, 12)
        for number in (1, 2, 3)
    ]
    for line in lines:
        source, *values = line.split("\t")
        name, number = Path(source).stem.rsplit("_", 1)
        drawn = draw_face(3, int(name.removeprefix("person_")), int(number))
        landmarks = np.array(values, dtype=float).reshape(5, 2)
        np.testing.assert_allclose(landmarks, drawn.landmarks, atol=0.00051)
        stored = cv2.imread(str(folder / source))[:, :, ::-1]
        assert stored.shape == drawn.photo.shape
        # Noise is what JPEG loses; swapped channels would be off by tens.
        means = stored.mean(axis=(0, 1)) - drawn.photo.mean(axis=(0, 1))
        assert np.abs(means).max() < 1.5
        assert np.abs(stored.astype(int) - drawn.photo).mean() < 6.0
    files = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert len(files) == 7


def test_processes_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path / "one", 4, 0, 3, 2)
    monkeypatch.setattr(folders, "_PHOTOS_PER_WORKER", 3)
    write_photos(tmp_path / "many", 4, 0, 3, 2)
    for path in (tmp_path / "one").rglob("*.*"):
        twin = tmp_path / "many" / path.relative_to(tmp_path / "one")
        assert twin.read_bytes() == path.read_bytes()


def test_a_process_that_fails_stops_the_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "_PHOTOS_PER_WORKER", 3)
    (tmp_path / "person_00001").write_text("in the way")
    (tmp_path / "landmarks.txt").write_text("of an older run")
    with pytest.raises(FileError, match="stopped before it was done"):
        write_photos(tmp_path, 4, 0, 3, 2)
    assert "cannot write" in capfd.readouterr().err
    assert not (tmp_path / "landmarks.txt").exists()


def test_write_photos_refuses_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot write .*file"):
        write_photos(tmp_path / "file", 0, 0, 1, 1)


def read_pairs(path: Path) -> tuple[list[str], list[list[list[str]]]]:
    header, *lines = path.read_text().splitlines()
    num_folds, num_pairs = map(int, header.split("\t"))
    assert len(lines) == 2 * num_folds * num_pairs
    rows = [line.split("\t") for line in lines]
    size = 2 * num_pairs
    return header.split("\t"), [
        rows[at : at + size] for at in range(0, len(rows), size)
    ]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_pairs_are_distinct_and_folds_share_nobody(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    num_folds = data.draw(st.integers(2, 6))
    num_identities = data.draw(st.integers(2 * num_folds, 40))
    photos_each = data.draw(st.integers(2, 6))
    least = num_identities // num_folds
    most = min(
        least * photos_each * (photos_each - 1) // 2,
        least * (least - 1) // 2 * photos_each**2,
    )
    num_pairs = data.draw(st.integers(1, most))
    first = data.draw(st.integers(0, 5000))
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    write_pairs(path, 1, first, num_identities, photos_each, num_folds, num_pairs)
    header, folds = read_pairs(path)
    assert header == [str(num_folds), str(num_pairs)]
    assert len(folds) == num_folds
    names = {identity_name(first + row) for row in range(num_identities)}
    people_of: list[set[str]] = []
    pairs: Counter[frozenset[tuple[str, int]]] = Counter()
    for rows in folds:
        people: set[str] = set()
        for at, row in enumerate(rows):
            assert len(row) == (3 if at < num_pairs else 4)
            if len(row) == 3:
                row = [row[0], row[1], row[0], row[2]]
            else:
                assert row[0] != row[2]
            one, other = (row[0], int(row[1])), (row[2], int(row[3]))
            assert one != other
            assert {one[0], other[0]} <= names
            assert 1 <= one[1] <= photos_each
            assert 1 <= other[1] <= photos_each
            people |= {one[0], other[0]}
            pairs[frozenset((one, other))] += 1
        people_of.append(people)
    assert max(pairs.values()) == 1
    assert sum(map(len, people_of)) == len(set.union(*people_of))


def test_the_default_protocol_has_the_official_size_and_form(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.txt", 0, 500, 100, 12)
    text = (tmp_path / "pairs.txt").read_text()
    assert text.startswith("10\t300\n")
    assert text.count("\n") == 6001
    write_pairs(tmp_path / "again.txt", 0, 500, 100, 12)
    assert (tmp_path / "again.txt").read_text() == text
    write_pairs(tmp_path / "other.txt", 1, 500, 100, 12)
    assert (tmp_path / "other.txt").read_text() != text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 1, 1), r"seed must be in \[0, 2\*\*32\), got -1"),
        ((0, -2, 1, 1), r"first_identity must be in \[0, 100000\), got -2"),
        ((0, 0, 0, 1), r"num_identities must be in \[1, 100000\] .*, got 0"),
        ((0, 99_990, 11, 1), r"num_identities must be in \[1, 10\] .*, got 11"),
        ((0, 0, 1, 0), r"photos_each must be in \[1, 9999\], got 0"),
        ((0, 0, 1, 10_000), r"photos_each must be in \[1, 9999\], got 10000"),
    ],
)
def test_both_writers_refuse(
    tmp_path: Path, arguments: tuple[int, int, int, int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        write_photos(tmp_path / "photos", *arguments)
    with pytest.raises(ParameterError, match=message):
        write_pairs(tmp_path / "pairs.txt", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 40, 1), r"photos_each must be in \[2, 9999\] .*, got 1"),
        ((0, 0, 40, 4, 1), "num_folds must be at least 2, got 1"),
        ((0, 0, 19, 4), "at least two a fold, 20 for 10 folds, got 19"),
        # 4 persons a fold: 4 x 6 = 24 pairs of the same, 6 x 16 = 96 of different ones.
        ((0, 0, 40, 4, 10, 25), r"pairs_per_fold must be in \[1, 24\] .*, got 25"),
        ((0, 0, 40, 4, 10, 0), r"pairs_per_fold must be in \[1, 24\] .*, got 0"),
    ],
)
def test_write_pairs_refuses(
    tmp_path: Path, arguments: tuple[int, ...], message: str
) -> None:
    with pytest.raises(FaceverError, match=message):
        write_pairs(tmp_path / "pairs.txt", *arguments)
    assert list(tmp_path.iterdir()) == []
