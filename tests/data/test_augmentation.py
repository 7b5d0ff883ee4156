import dataclasses
from typing import Any

import numpy as np
import pytest

from facever.data.augmentation import Augmentation, AugmentationStrength

CROPS = np.random.default_rng(0).integers(40, 216, (6, 112, 96, 3), np.uint8)
SINGLE = [
    {"shift": 4.0},
    {"zoom": 0.2},
    {"rotation": 20.0},
    {"brightness": 0.4},
    {"contrast": 0.4},
    {"saturation": 0.4},
    {"blur": 1.0},
    {"grey": 1.0},
    {"occlusion": 1.0},
]


def change(seed: int = 1, crops: np.ndarray = CROPS, **strength: Any) -> np.ndarray:
    return Augmentation(AugmentationStrength(**strength))(crops, seed)


def everything() -> dict[str, float]:
    return {key: value for each in SINGLE for key, value in each.items()}


def test_the_list_has_every_change() -> None:
    names = {field.name for field in dataclasses.fields(AugmentationStrength)}
    assert names == set(everything())


@pytest.mark.parametrize("strength", SINGLE, ids=lambda value: next(iter(value)))
def test_each_change_changes_pixels_but_no_shape(strength: dict[str, float]) -> None:
    before = CROPS.copy()
    changed = change(**strength)
    assert changed.shape == CROPS.shape
    assert changed.dtype == np.uint8
    assert all((a != b).any() for a, b in zip(changed, CROPS, strict=True))
    np.testing.assert_array_equal(CROPS, before)


def test_off_means_unchanged() -> None:
    np.testing.assert_array_equal(change(), CROPS)


def test_the_seed_alone_decides() -> None:
    one = Augmentation(AugmentationStrength(**everything()))
    first = one(CROPS, 7)
    other_seed = one(CROPS, 8)
    np.random.seed(1)
    np.testing.assert_array_equal(one(CROPS, 7), first)
    np.testing.assert_array_equal(change(seed=7, **everything()), first)
    assert (other_seed != first).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    "strength",
    [each for each in SINGLE if not {"blur", "grey"} & set(each)],
    ids=lambda value: next(iter(value)),
)
def test_each_crop_of_a_batch_is_changed_in_its_own_way(
    strength: dict[str, float],
) -> None:
    changed = change(crops=np.stack([CROPS[0]] * 6), **strength)
    assert len({crop.tobytes() for crop in changed}) > 1


def test_grey_has_equal_channels() -> None:
    changed = change(grey=1.0)
    assert (changed == changed[..., :1]).all()


def test_a_shift_is_of_whole_pixels_each_way_within_its_limit() -> None:
    """Brute force: each changed crop is the original, moved by some dx and dy."""
    crops = np.stack([CROPS[0]] * 40)
    found = set()
    inner = CROPS[0, 3:-3, 3:-3]
    for changed in change(crops=crops, shift=3.0):
        (move,) = [
            (dx, dy)
            for dx in range(-3, 4)
            for dy in range(-3, 4)
            if np.array_equal(
                changed[3 + dy : 109 + dy, 3 + dx : 93 + dx],
                inner,
            )
            or np.array_equal(
                changed[3:-3, 3:-3], CROPS[0, 3 - dy : 109 - dy, 3 - dx : 93 - dx]
            )
        ][:1]
        found.add(move)
    for axis in (0, 1):
        assert {-3, 3} <= {move[axis] for move in found}


@pytest.mark.parametrize("strength", [0.3, 0.9])
def test_brightness_scales_within_its_share(strength: float) -> None:
    grey = np.full((40, 112, 96, 3), 100, np.uint8)
    levels = change(crops=grey, brightness=strength).mean(axis=(1, 2, 3))
    assert levels.min() >= 100 * (1 - strength) - 1
    assert levels.max() <= 100 * (1 + strength) + 1
    assert levels.max() - levels.min() > 100 * strength


def test_an_occlusion_hides_one_patch_of_up_to_a_third_of_each_side() -> None:
    hidden = (change(occlusion=1.0) != CROPS).any(axis=3)
    for each in hidden:
        rows, columns = np.flatnonzero(each.any(1)), np.flatnonzero(each.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.09 * 112 <= height <= 0.34 * 112
        assert 0.09 * 96 <= width <= 0.34 * 96
        assert each.sum() > 0.9 * height * width


def test_a_chance_is_a_chance() -> None:
    crops = np.stack([CROPS[0]] * 200)
    changed = (change(crops=crops, grey=0.3) != crops).any(axis=(1, 2, 3)).sum()
    # 200 draws at 0.3: mean 60, deviation sqrt(42) = 6.5.
    assert abs(int(changed) - 60) < 5 * 6.5


def test_importing_it_reaches_for_no_network() -> None:
    import os

    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
