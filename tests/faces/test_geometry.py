import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.faces.geometry import similarity_transform
from facever.faces.templates import CARD_POINTS

coordinates = st.floats(-1000, 1000, width=32)
faces = st.lists(coordinates, min_size=10, max_size=10).map(
    lambda values: np.array(values).reshape(5, 2)
)


def umeyama(points, goals):
    """The textbook solution by singular values, for one face (Umeyama eq. 40-43)."""
    points_mean, goals_mean = points.mean(axis=0), goals.mean(axis=0)
    centred = points - points_mean
    covariance = (goals - goals_mean).T @ centred / len(points)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / (centred**2).sum() * len(points)
    shift = goals_mean - scale * rotation @ points_mean
    return np.column_stack([scale * rotation, shift])


def error_of(transform, points):
    moved = points @ transform[:, :2].T + transform[:, 2]
    return ((moved - CARD_POINTS) ** 2).sum()


def is_well_posed(points):
    centred = points - points.mean(axis=0)
    covariance = (CARD_POINTS - CARD_POINTS.mean(axis=0)).T @ centred
    singular = np.linalg.svd(covariance, compute_uv=False)
    sign = np.sign(np.linalg.det(covariance))
    return (centred**2).sum() > 1 and singular[0] + sign * singular[1] > 1


@given(faces.filter(is_well_posed))
def test_equals_umeyama_by_singular_values(points):
    found = similarity_transform(points[None], CARD_POINTS)[0]
    expected = umeyama(points, CARD_POINTS)
    # Values reach about 1000 times the scale; both are float64.
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-6)


@given(faces.filter(is_well_posed), st.integers(0, 2**32 - 1))
def test_no_similarity_nearby_fits_better(points, seed):
    found = similarity_transform(points[None], CARD_POINTS)[0]
    least = error_of(found, points)
    rng = np.random.default_rng(seed)
    for step in (1e-1, 1e-3):
        turn_x, turn_y, shift_x, shift_y = rng.normal(size=4) * step
        change = np.array([[turn_x, -turn_y, shift_x], [turn_y, turn_x, shift_y]])
        assert error_of(found + change, points) >= least * (1 - 1e-9)


@pytest.mark.parametrize("degrees", [0, 17, 90, 180, 271])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.5])
def test_undoes_a_known_similarity(degrees, scale):
    angle = np.deg2rad(degrees)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    photo_points = scale * CARD_POINTS @ rotation.T + [300.0, -20.0]
    transform = similarity_transform(photo_points[None], CARD_POINTS)[0]
    assert error_of(transform, photo_points) < 1e-18
    # The linear part is the inverse rotation over the scale.
    np.testing.assert_allclose(transform[:, :2], rotation.T / scale, atol=1e-12)


def test_hand_derived_values():
    # Twice the template plus (10, 20): half the size, minus half of that shift.
    transform = similarity_transform(
        (2 * CARD_POINTS + [10.0, 20.0])[None], CARD_POINTS
    )[0]
    expected = [[0.5, 0.0, -5.0], [0.0, 0.5, -10.0]]
    np.testing.assert_allclose(transform, expected, atol=1e-12)


def test_a_mirrored_face_is_not_reflected():
    mirrored = CARD_POINTS * [-1.0, 1.0] + [96.0, 0.0]
    transform = similarity_transform(mirrored[None], CARD_POINTS)[0]
    assert np.linalg.det(transform[:, :2]) > 0


def test_a_batch_gives_what_each_face_gives():
    rng = np.random.default_rng(0)
    landmarks = CARD_POINTS + rng.normal(scale=5, size=(20, 5, 2))
    single = [
        similarity_transform(points[None], CARD_POINTS)[0] for points in landmarks
    ]
    np.testing.assert_array_equal(
        similarity_transform(landmarks, CARD_POINTS), np.stack(single)
    )
    assert similarity_transform(np.empty((0, 5, 2)), CARD_POINTS).shape == (0, 2, 3)


def test_another_template():
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    transform = similarity_transform(square[None] * 4, square)[0]
    np.testing.assert_allclose(transform, [[0.25, 0, 0], [0, 0.25, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.full((5, 2), 37.3), "fall on one point"),
        (np.full((5, 2), 1e6 + 1 / 3), "fall on one point"),
        (np.where(np.eye(5, 2) > 0, np.nan, 1.0), "not finite"),
        (np.where(np.eye(5, 2) > 0, np.inf, 1.0), "not finite"),
    ],
)
def test_degenerate_landmarks_are_refused_by_number(points, why):
    landmarks = np.stack([CARD_POINTS, CARD_POINTS, points])
    with pytest.raises(DataError, match=f"face 2.*{why}"):
        similarity_transform(landmarks, CARD_POINTS)


def test_a_reflection_without_a_best_rotation_is_refused():
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    with pytest.raises(DataError, match="do not fit at any scale"):
        similarity_transform((square * [1.0, -1.0])[None], square)


def test_the_template_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        CARD_POINTS[0, 0] = 0.0
