import numpy as np
import pytest
from facenet_pytorch.models.utils.detect_face import extract_face
from PIL import Image

from facever.choices import TemplateName
from facever.errors import DataError, MismatchError, ParameterError
from facever.faces.aligner import PhotoAligner
from facever.faces.detection import Face
from facever.faces.photo_source import PhotoSource, photo_in_memory
from facever.faces.photos import read_photo
from facever.faces.templates import (
    CARD_POINTS,
    TEMPLATES,
    find_template,
    require_window,
    take_crop,
    template_of,
    widen_crop,
)

SQUARE = TEMPLATES["112x112"]
CARD = TEMPLATES["112x96"]
BOX = TEMPLATES["160x160"]


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def face_at(box, landmarks=CARD_POINTS):
    return Face(np.array(landmarks, float), np.array(box, float), 0.9)


def test_names_say_height_and_width():
    assert set(TEMPLATES) == set(TemplateName.__args__)
    for name, template in TEMPLATES.items():
        assert name == template.name == f"{template.height}x{template.width}"
        assert template.shape == (template.height, template.width, 3)


def test_descriptions_lead_back_to_their_template():
    for template in TEMPLATES.values():
        assert template_of(template.description) is template
    assert template_of([[0.0, 0.0]] * 5) is None
    assert template_of(None) is None


def test_the_published_points_of_the_square_template():
    # InsightFace, face_align.py.
    published = [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
    np.testing.assert_allclose(SQUARE.description, published, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_card_is_the_middle_columns_of_a_square_crop(seed):
    rng = np.random.default_rng(seed)
    photo = noise(200, 180, seed)
    faces = [face_at([0, 0, 9, 9], CARD_POINTS * 1.3 + rng.normal(size=(5, 2)) * 3)]
    assert CARD.window_in(SQUARE) == (slice(0, 112), slice(8, 104))
    wide, narrow = SQUARE.cut(photo, faces), CARD.cut(photo, faces)
    # Warps round their fractions of a pixel apart.
    difference = np.abs(wide[:, :, 8:104].astype(int) - narrow)
    assert (difference > 8).mean() < 0.01


def test_only_columns_of_the_same_template_serve():
    for name, template in TEMPLATES.items():
        for other_name, other in TEMPLATES.items():
            serves = name == other_name or (name, other_name) == ("112x96", "112x112")
            assert (template.window_in(other) is not None) == serves
    with pytest.raises(
        MismatchError, match=r"runs/crops holds crops of 112x96 .* 112x"
    ):
        require_window(SQUARE, CARD, "runs/crops")


def test_crops_are_known_by_their_size():
    square, card = noise(112, 112), noise(112, 96)
    np.testing.assert_array_equal(take_crop(square, CARD), square[:, 8:104])
    np.testing.assert_array_equal(take_crop(card, CARD), card)
    np.testing.assert_array_equal(take_crop(square, SQUARE), square)
    with pytest.raises(DataError, match=r"96x112 .* in place of 112x112"):
        take_crop(card, SQUARE)
    with pytest.raises(DataError, match="in place of 96x112 or 112x112"):
        take_crop(noise(50, 50), CARD)


def test_a_card_is_widened_by_its_outermost_columns():
    card = noise(112, 96)
    wide = widen_crop(card, SQUARE)
    for column in range(112):
        expected = card[:, min(max(column - 8, 0), 95)]
        np.testing.assert_array_equal(wide[:, column], expected)
    np.testing.assert_array_equal(widen_crop(card, CARD), card)
    # What is wider, or stands otherwise, is no part.
    assert widen_crop(noise(112, 112), CARD) is None
    assert widen_crop(noise(160, 160), SQUARE) is None


def test_unknown_names_are_listed():
    with pytest.raises(ParameterError, match=r"112x96, 112x112, .* got '96x112'"):
        find_template("96x112")


@pytest.mark.parametrize(
    "box",
    [
        (40.2, 30.9, 120.7, 140.1),  # inside
        (-12.5, -3.2, 60.0, 80.0),  # over the left and upper border
        (100.0, 90.0, 199.9, 221.3),  # over the right and lower border
    ],
)
def test_a_box_crop_is_that_of_facenet_pytorch(box, tmp_path):
    photo = noise(200, 180)
    expected = extract_face(Image.fromarray(photo), np.array(box), 160, 14)
    [crop] = BOX.cut(photo, [face_at(box)])
    np.testing.assert_array_equal(crop, expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_share_outside_by_counting_points(name):
    template = TEMPLATES[name]
    rng = np.random.default_rng(0)
    height, width = 90, 70
    for _ in range(20):
        turn = np.exp(1j * rng.uniform(-0.5, 0.5)) * rng.uniform(0.4, 1.2)
        points = (CARD_POINTS @ [1, 1j] - 48 - 72j) * turn
        points += rng.uniform(0, width) + 1j * rng.uniform(0, height)
        landmarks = np.stack([points.real, points.imag], axis=1)
        corner = rng.uniform(-20, 50, 2)
        face = face_at([*corner, *(corner + rng.uniform(20, 70, 2))], landmarks)
        # The photo is white, on a black one that is larger than any crop.
        rows, columns = np.mgrid[-200:300, -200:300]
        lies_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        wide = np.repeat(np.uint8(255) * lies_inside[:, :, None], 3, axis=2)
        moved = face_at(face.box + 200, landmarks + 200)
        [seen] = template.cut(wide, [moved])
        [share] = template.share_outside((height, width), [face])
        assert share == pytest.approx(1 - seen.mean() / 255, abs=0.02)


def test_the_share_outside_by_hand():
    # The crop's first column is the photo's 0th, its -48th of 96, or far away.
    places = [np.add(CARD_POINTS, (left, 0)) for left in (0, -48, -200)]
    faces = [face_at([0, 0, 9, 9], points) for points in places]
    shares = CARD.share_outside((112, 96), faces)
    np.testing.assert_allclose(shares, [0, 0.5, 1], atol=1e-6)
    # With its margin the box is 160 pixels wide, of which 40 lie left of the photo.
    [share] = BOX.share_outside((300, 300), [face_at((-33, 20, 113, 166))])
    assert share == pytest.approx(0.25)


def test_a_box_outside_of_the_photo_is_refused():
    with pytest.raises(DataError, match="outside"):
        BOX.cut(noise(50, 50), [face_at((80, 0, 90, 40))])


def test_the_aligner_cuts_its_template_and_says_what_it_cannot():
    photo = photo_in_memory("a", noise(200, 180))
    known = PhotoSource("b", "", photo.path, photo.part, CARD_POINTS.copy())

    def detect(photos):
        return [[face_at((20, 20, 90, 100))] for _ in photos]

    for template in TEMPLATES.values():
        by_detector = PhotoAligner(detect=detect, max_pixels=10**6, template=template)
        [aligned] = by_detector.align([photo])
        assert aligned.crops.shape == (1, *template.shape)
        by_landmarks = PhotoAligner(
            by_landmarks=True, max_pixels=10**6, template=template
        )
        [aligned] = by_landmarks.align([known])
        assert len(aligned.crops) == (not template.needs_box)
        assert (aligned.reason is not None) == template.needs_box


def test_dlibs_points_are_those_of_its_mean_face():
    # dlib, interpolation.h: mean_face_shape of the right eye's six points and others;
    # a chip of 150 pixels with a padding of 0.25, and pixels counted from their corner.
    eye_x = [0.645647, 0.714428, 0.793132, 0.858516, 0.79751, 0.719335]
    eye_y = [0.231733, 0.179852, 0.178758, 0.216423, 0.244077, 0.245099]
    mouth = (0.254149, 0.780233)
    points = np.array(TEMPLATES["150x150"].description)

    def chip(value):
        return (0.25 + value) / 1.5 * 150 - 0.5

    np.testing.assert_allclose(
        points[1], [chip(np.mean(eye_x)), chip(np.mean(eye_y))], atol=1e-4
    )
    np.testing.assert_allclose(points[3], [chip(each) for each in mouth], atol=1e-4)


@pytest.mark.realdata
def test_celeba_crops_are_on_the_card(data_folder):
    photo = next((data_folder / "celeba-faces").glob("*/*.jpg"))
    assert take_crop(read_photo(photo), CARD).shape == CARD.shape
