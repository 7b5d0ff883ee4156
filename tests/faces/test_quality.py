import numpy as np
import pytest
from scipy.ndimage import convolve

from facever.errors import ParameterError
from facever.faces.detection import Face, face_at
from facever.faces.quality import (
    FACE_QUALITIES,
    LOW_QUALITY,
    check_min_quality,
    low_quality,
    parse_min_quality,
)
from facever.faces.templates import CARD_POINTS


def test_qualities_are_what_their_names_say():
    rng = np.random.default_rng(0)
    crops = list(rng.integers(0, 256, (3, 20, 16, 3), dtype=np.uint8))
    landmarks = CARD_POINTS * np.array([1, 2, 3])[:, None, None]
    landmarks[2, 2] += 20
    scores = np.array([0.3, 0.2, np.nan])
    found = {
        name: measure(landmarks, scores, crops)
        for name, measure in FACE_QUALITIES.items()
    }
    eyes = np.hypot(*(CARD_POINTS[1] - CARD_POINTS[0]))
    np.testing.assert_allclose(found["eye-distance"], eyes * np.array([1, 2, 3]))
    np.testing.assert_array_equal(found["detector-score"], scores)
    assert found["landmark-fit"][:2].tolist() == [0, 0]
    assert -0.2 < found["landmark-fit"][2] < -0.05
    for crop, sharpness in zip(crops, found["sharpness"], strict=True):
        # By ITU-R BT.601, whole numbers; the border mirrored without its last row.
        grey = np.round(crop @ [0.299, 0.587, 0.114])
        kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
        expected = convolve(grey, kernel, mode="mirror").var()
        assert sharpness == pytest.approx(expected, rel=0.01)


def test_a_face_is_refused_by_the_first_quality_that_is_too_low():
    crop = np.zeros((8, 8, 3), np.uint8)
    face = Face(CARD_POINTS, np.zeros(4), 0.75)
    assert low_quality(face, crop, {}) is None
    assert low_quality(face, crop, {"detector-score": 0.75, "sharpness": 0.0}) is None
    why = low_quality(face, crop, {"detector-score": 0.76, "sharpness": 1.0})
    assert (
        why == f"{LOW_QUALITY}: detector-score is 0.75, and at least 0.76 is asked for"
    )
    why = low_quality(face, crop, {"detector-score": 0.7, "sharpness": 1.0})
    assert why == f"{LOW_QUALITY}: sharpness is 0, and at least 1 is asked for"


def test_what_is_not_known_is_not_good_enough():
    crop = np.zeros((8, 8, 3), np.uint8)
    why = low_quality(face_at(CARD_POINTS), crop, {"detector-score": 0.0})
    assert (
        why
        == f"{LOW_QUALITY}: detector-score is not known, and at least 0 is asked for"
    )
    on_one_point = face_at(np.ones((5, 2)))
    assert "is not known" in str(
        low_quality(on_one_point, crop, {"landmark-fit": -9.0})
    )


@pytest.mark.parametrize(
    "text", ["sharpness", "sharpness=", "=3", "sharpness=nan", "sharpness=inf", ""]
)
def test_a_cutoff_is_a_name_and_a_number(text):
    with pytest.raises(ParameterError, match="NAME=NUMBER, such as sharpness=20"):
        parse_min_quality([text])


def test_the_last_equals_sign_parts_name_and_number():
    assert parse_min_quality(["a=b.csv=-1e-3"]) == {"a=b.csv": -0.001}
    with pytest.raises(ParameterError, match="names a twice"):
        parse_min_quality(["a=1", "b=1", "a=2"])


def test_cutoffs_from_python_are_checked_too():
    with pytest.raises(ParameterError, match=r"one of landmark-fit, .*; got 'sharp'"):
        check_min_quality({"sharp": 1.0})
    with pytest.raises(ParameterError, match="must be a finite number, got nan"):
        check_min_quality({"sharpness": float("nan")})
