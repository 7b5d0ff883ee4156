import numpy as np
import pytest

from facever.data.sources.landmark_file import read_landmarks
from facever.errors import DataError
from facever.faces.geometry import similarity_transform, warp_crops
from facever.faces.photos import read_photo
from facever.faces.templates import CARD_POINTS, DEFAULT_TEMPLATE

# Half a grey level is rounding; the rest is the float32 arithmetic of the resampling.
ROUNDING = 0.51


def reference_warp(photo, transform):
    """Bilinear, black outside, one pixel after the other in float64 (vectorised)."""
    height, width, _ = photo.shape
    padded = np.zeros((height + 2, width + 2, 3))
    padded[1:-1, 1:-1] = photo
    rows, columns = np.mgrid[0:112, 0:96].astype(np.float64)
    turn, shift = transform[:, :2], transform[:, 2]
    target = np.stack([columns.ravel(), rows.ravel()]) - shift[:, None]
    x, y = np.linalg.solve(turn, target)
    left, top = np.floor(x), np.floor(y)
    crop = np.zeros((112 * 96, 3))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top))
            column = np.clip(left + right, -1, width).astype(int) + 1
            row = np.clip(top + down, -1, height).astype(int) + 1
            crop += weight[:, None] * padded[row, column]
    return crop.reshape(112, 96, 3)


@pytest.mark.parametrize("seed", range(5))
def test_differs_from_a_float64_warp_by_rounding_only(seed):
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (150, 130, 3), dtype=np.uint8)
    # Landmarks that also reach beyond the photo.
    landmarks = CARD_POINTS * rng.uniform(0.5, 2) + rng.normal(scale=8, size=(4, 5, 2))
    landmarks += rng.uniform(-30, 60, size=(4, 1, 2))
    crops = DEFAULT_TEMPLATE.align(photo, landmarks)
    assert crops.shape == (4, 112, 96, 3)
    for crop, transform in zip(
        crops, similarity_transform(landmarks, CARD_POINTS), strict=True
    ):
        assert np.abs(crop - reference_warp(photo, transform)).max() <= ROUNDING


def test_the_identity_copies_pixels():
    photo = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    crop = DEFAULT_TEMPLATE.align(photo, CARD_POINTS[None].copy())[0]
    np.testing.assert_array_equal(crop, photo[:112, :96])


def test_a_whole_shift_moves_pixels_and_leaves_black():
    photo = np.full((200, 200, 3), [10, 20, 30], dtype=np.uint8)
    # Crop pixel (x, y) shows photo pixel (x - 5, y - 7).
    transform = np.array([[[1.0, 0.0, 5.0], [0.0, 1.0, 7.0]]])
    crop = warp_crops(photo, transform, 112, 96)[0]
    assert not crop[:7].any()
    assert not crop[:, :5].any()
    assert (crop[7:, 5:] == [10, 20, 30]).all()


def test_no_faces_give_no_crops():
    photo = np.zeros((10, 10, 3), dtype=np.uint8)
    assert DEFAULT_TEMPLATE.align(photo, np.empty((0, 5, 2))).shape == (0, 112, 96, 3)


def test_degenerate_landmarks_are_refused():
    with pytest.raises(DataError, match="fall on one point"):
        DEFAULT_TEMPLATE.align(
            np.zeros((10, 10, 3), dtype=np.uint8), np.ones((1, 5, 2))
        )


@pytest.mark.realdata
def test_real_photos_differ_from_a_float64_warp_by_rounding_only(data_folder):
    folder = data_folder / "lfw-original-sample"
    landmarks = read_landmarks(folder / "landmarks.txt").points
    assert len(landmarks) == 300
    for source in list(landmarks)[::8]:
        photo = read_photo(folder / source)
        crop = DEFAULT_TEMPLATE.align(photo, landmarks[source][None])[0]
        transform = similarity_transform(landmarks[source][None], CARD_POINTS)[0]
        assert np.abs(crop - reference_warp(photo, transform)).max() <= ROUNDING
