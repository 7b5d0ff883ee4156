from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.faces.face_box import boxes_around
from facever.faces.templates import CARD_POINTS

NUMBERS = st.floats(-1000, 1000)


@given(st.floats(0.1, 50), NUMBERS, NUMBERS)
def test_boxes_go_with_their_faces(scale: float, x: float, y: float) -> None:
    shift = np.array([x, y])
    [card, found] = boxes_around(np.stack([CARD_POINTS, CARD_POINTS * scale + shift]))
    expected = card.reshape(2, 2) * scale + shift
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-6, atol=1e-6)


@given(st.floats(-np.pi, np.pi))
def test_a_tilted_face_has_an_upright_box_of_the_same_size(angle: float) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = CARD_POINTS.mean(axis=0)
    [card, found] = boxes_around(
        np.stack([CARD_POINTS, (CARD_POINTS - middle) @ turn.T + middle])
    )
    np.testing.assert_allclose(found[2:] - found[:2], card[2:] - card[:2], atol=1e-9)
    # The box's middle turns with the face.
    expected = turn @ ((card[:2] + card[2:]) / 2 - middle) + middle
    np.testing.assert_allclose((found[:2] + found[2:]) / 2, expected, atol=1e-9)


def test_unknown_landmarks_have_no_box() -> None:
    unknown = np.full((5, 2), np.nan)
    boxes = boxes_around(np.stack([unknown, CARD_POINTS, unknown]))
    assert np.isnan(boxes).all(axis=1).tolist() == [True, False, True]
    assert boxes_around(np.empty((0, 5, 2))).shape == (0, 4)
    with pytest.raises(DataError, match="all fall on one point"):
        boxes_around(np.zeros((1, 5, 2)))


@pytest.mark.realdata
def test_boxes_are_where_a_detector_draws_them(data_folder: Path) -> None:
    """On photos that the constants are not of."""
    from facever.faces.photos import read_photo
    from facever.faces.yunet import YunetDetector

    photos = sorted((data_folder / "lfw-original-sample").glob("*/*_0002.jpg"))
    detect = YunetDetector().detect
    shares = []
    for path in photos[-20:]:
        for face in detect([read_photo(path)])[0]:
            [ours], theirs = boxes_around(face.landmarks[None]), face.box
            low = np.maximum(ours[:2], theirs[:2])
            both = np.prod((np.minimum(ours[2:], theirs[2:]) - low).clip(0))
            areas = [np.prod(box[2:] - box[:2]) for box in (ours, theirs)]
            shares.append(both / (sum(areas) - both))
    assert len(shares) >= 10
    assert np.mean(shares) > 0.75
