import numpy as np
import pytest
import torch
from PIL import Image

from facever.errors import ParameterError
from facever.faces.detection import Face, choose_faces, face_at, rules_taking
from facever.faces.mtcnn import MtcnnDetector
from facever.faces.photos import read_photo
from facever.faces.templates import CARD_POINTS


def make_face(left, top, right, bottom, score):
    box = np.array([left, top, right, bottom], dtype=np.float64)
    return Face(CARD_POINTS.copy(), box, score)


# In a photo 100 high and 200 wide, whose middle is at (99.5, 49.5).
SMALL_BEST = make_face(0, 0, 20, 20, 0.99)
LARGE = make_face(120, 10, 180, 90, 0.8)
MIDDLE = make_face(85, 35, 115, 65, 0.9)
FACES = [SMALL_BEST, LARGE, MIDDLE]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # 60 x 80 less twice 50.5^2 + 0.5^2, and 30 x 30 less twice 0.5^2 + 0.5^2.
        ("prominent", [MIDDLE]),
        ("largest", [LARGE]),
        ("center", [MIDDLE]),
        ("best", [SMALL_BEST]),
        ("all", [LARGE, MIDDLE, SMALL_BEST]),
    ],
)
def test_rules(rule, expected):
    chosen = choose_faces(FACES, (100, 200), rule)
    assert [id(face) for face in chosen] == [id(face) for face in expected]
    assert choose_faces([], (100, 200), rule) == []


def test_each_face_knows_the_rules_that_take_it():
    assert rules_taking([LARGE, MIDDLE], FACES, (100, 200)) == [
        ["largest"],
        ["prominent", "center"],
    ]
    every = ["prominent", "largest", "center", "best"]
    assert rules_taking([LARGE], [LARGE], (100, 200)) == [every]
    assert rules_taking([], [], (100, 200)) == []


def test_the_prominent_face_may_lie_off_the_middle():
    # 70 x 80 less twice 30.5^2 + 0.5^2 is 3739, and 40 x 40 less 1 is 1599.
    off, middle = make_face(95, 10, 165, 90, 0.9), make_face(80, 30, 120, 70, 0.9)
    assert choose_faces([middle, off], (100, 200), "prominent") == [off]


@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_rule_is_refused():
    with pytest.raises(ParameterError, match="largest, center, best, all, got 'big'"):
        choose_faces(FACES, (100, 200), "big")


def test_the_box_of_known_landmarks_holds_them():
    face = face_at(np.array([[3.0, 1], [5, 2], [4, 3], [2, 6], [5, 7]]))
    assert face.box.tolist() == [2, 1, 5, 7]
    assert np.isnan(face.score)


@pytest.fixture(
    scope="module",
    params=[
        ("torch", "cpu"),
        ("onnxruntime", "cpu"),
        ("openvino", "cpu"),
        pytest.param(
            ("torch", "cuda"),
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
        ),
    ],
)
def detector(request):
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The steps are too small to share on a busy machine.
    backend, device = request.param
    yield MtcnnDetector(device=device, backend=backend)
    torch.set_num_threads(num_threads)


def test_photos_without_a_face_give_none(detector):
    rng = np.random.default_rng(0)
    sizes = [(60, 80), (1, 1), (19, 300), (60, 80), (21, 21), (400, 20), (60, 80)]
    photos = [np.full((*size, 3), 128, dtype=np.uint8) for size in sizes]
    photos[3] = rng.integers(0, 256, photos[3].shape, dtype=np.uint8)
    assert detector.detect(photos) == [[] for _ in sizes]
    assert detector.detect([]) == []


@pytest.mark.realdata
def test_finds_what_facenet_pytorch_finds_photo_by_photo(detector, data_folder):
    from facenet_pytorch import MTCNN

    paths = sorted((data_folder / "lfw-deepfunneled").glob("*/*.jpg"))[::1300]
    photos = [read_photo(path) for path in paths]
    photos.append(read_photo(data_folder / "photos" / "multiface.jpg"))
    reference = MTCNN(keep_all=True)
    num_faces = 0
    for photo, faces in zip(photos, detector.detect(photos), strict=True):
        boxes, scores, points = reference.detect(Image.fromarray(photo), landmarks=True)
        num_faces += len(faces)
        assert len(faces) == len(boxes)
        for face, box, score, landmarks in zip(
            faces, boxes, scores, points, strict=True
        ):
            assert np.abs(face.landmarks - landmarks.astype(float)).max() < 0.01
            assert np.abs(face.box - box.astype(float)).max() < 0.01
            assert face.score == pytest.approx(score, abs=1e-4)
    assert num_faces > len(photos)


@pytest.mark.realdata
def test_neighbours_in_the_batch_change_nothing(detector, data_folder):
    folder = data_folder / "lfw-deepfunneled"
    face = read_photo(folder / "Aaron_Eckhart" / "Aaron_Eckhart_0001.jpg")
    others = [read_photo(path) for path in sorted(folder.glob("Aaron_P*/*.jpg"))[:3]]
    blank = np.zeros_like(face)
    tiny = np.zeros((10, 10, 3), dtype=np.uint8)
    alone = detector.detect([face])[0]
    found = detector.detect([blank, face, tiny, *others, blank, face])
    assert len(alone) >= 1
    assert found[0] == found[2] == found[-2] == []
    for again in (found[1], found[-1]):
        assert len(again) == len(alone)
        for one, other in zip(again, alone, strict=True):
            assert np.abs(one.landmarks - other.landmarks).max() < 1e-3


@pytest.mark.realdata
def test_a_large_photo_is_searched_smaller_and_landmarks_scaled_back(
    detector, data_folder, monkeypatch
):
    photo = read_photo(data_folder / "photos" / "multiface.jpg")
    whole = detector.detect([photo])[0]
    limit = photo.shape[0] * photo.shape[1] // 2
    monkeypatch.setattr(MtcnnDetector, "MAX_DETECTION_PIXELS", limit)
    shrunk = detector.detect([photo])[0]
    # Another resolution moves landmarks by a part of the face, not by a pixel grid.
    width = whole[0].box[2] - whole[0].box[0]
    assert np.abs(shrunk[0].landmarks - whole[0].landmarks).max() < 0.05 * width
