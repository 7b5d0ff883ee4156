import dataclasses
import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facever.data.batches.augmentation import Augmentation, AugmentationStrength

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
    {"low_resolution": 1.0},
    {"jpeg": 1.0},
    {"crop": 1.0},
]


def seeds_of(seed: int, crops: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2**64, len(crops), dtype=np.uint64)


def change(seed: int = 1, crops: np.ndarray = CROPS, **strength: Any) -> np.ndarray:
    augmentation = Augmentation(AugmentationStrength(**strength))
    return augmentation(crops, seeds_of(seed, crops))


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
    seeds = seeds_of(7, CROPS)
    first = one(CROPS, seeds)
    other_seed = one(CROPS, seeds_of(8, CROPS))
    np.random.seed(1)
    np.testing.assert_array_equal(one(CROPS, seeds), first)
    np.testing.assert_array_equal(change(seed=7, **everything()), first)
    assert (other_seed != first).any(axis=(1, 2, 3)).all()


def test_a_crop_s_own_seed_decides_whatever_else_is_in_the_batch() -> None:
    one = Augmentation(AugmentationStrength(**everything()))
    seeds = seeds_of(7, CROPS)
    together = one(CROPS, seeds)
    order = [4, 1, 5]
    np.testing.assert_array_equal(one(CROPS[order], seeds[order]), together[order])
    np.testing.assert_array_equal(one(CROPS[2:3], seeds[2:3]), together[2:3])


def test_chances_are_drawn_independently_of_one_another() -> None:
    """Half lose the colour and half of them, and of the others, a window's outside."""
    crops = np.stack([CROPS[0]] * 200)
    changed = change(crops=crops, grey=0.5, crop=0.5)
    is_grey = (changed == changed[..., :1]).all(axis=(1, 2, 3))
    is_cut = (changed == 0).all(axis=3).any(axis=(1, 2))
    both = np.array([(is_grey & is_cut).sum(), (~is_grey & is_cut).sum()])
    # 200 draws at 1/4: mean 50, deviation sqrt(37.5) = 6.1.
    assert np.abs(both - 50).max() < 5 * 6.1


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


def test_a_pickled_copy_changes_alike() -> None:
    one = Augmentation(AugmentationStrength(**everything()))
    copy = pickle.loads(pickle.dumps(one))
    seeds = seeds_of(3, CROPS)
    np.testing.assert_array_equal(copy(CROPS, seeds), one(CROPS, seeds))


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


def test_low_resolution_takes_the_detail_and_leaves_the_light() -> None:
    detail, light = (
        [image.astype(float) for image in each]
        for each in (CROPS, change(low_resolution=1.0))
    )
    for before, after in zip(detail, light, strict=True):
        assert np.abs(np.diff(after, axis=1)).mean() < (
            0.8 * np.abs(np.diff(before, axis=1)).mean()
        )
        assert after.mean() == pytest.approx(before.mean(), abs=2)


def test_jpeg_takes_red_for_red() -> None:
    """The oracle is Pillow's encoder and decoder, at the best fit of all qualities."""
    columns, rows = np.meshgrid(np.arange(96), np.arange(112))
    red = np.where((columns // 6 + rows // 6) % 2, 250, 20)
    crop = np.stack([red, 128 + 0 * red, 60 + 0 * red], axis=2).astype(np.uint8)
    (changed,) = change(crops=crop[None], jpeg=1.0).astype(int)

    def distance(quality: int, channels: slice) -> float:
        file = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(crop[..., channels]))
        picture.save(file, "jpeg", quality=quality)
        decoded = np.asarray(Image.open(file)).astype(int)[..., channels]
        return float(np.abs(decoded - changed).mean())

    as_is, swapped = slice(None), slice(None, None, -1)
    nearest = min(distance(quality, as_is) for quality in range(20, 81))
    assert nearest < 0.5 * min(distance(quality, swapped) for quality in range(20, 81))


def test_a_crop_keeps_a_window_of_at_least_half_of_each_side_in_its_place() -> None:
    kept_sides = []
    for changed, crop in zip(change(crop=1.0), CROPS, strict=True):
        kept = changed.any(axis=2)
        rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
        assert kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        np.testing.assert_array_equal(changed[kept], crop[kept])
        assert 56 <= len(rows) <= 112
        assert 48 <= len(columns) <= 96
        kept_sides.append((len(rows), len(columns)))
    assert len(set(kept_sides)) > 1


def test_a_chance_is_a_chance() -> None:
    crops = np.stack([CROPS[0]] * 200)
    changed = (change(crops=crops, grey=0.3) != crops).any(axis=(1, 2, 3)).sum()
    # 200 draws at 0.3: mean 60, deviation sqrt(42) = 6.5.
    assert abs(int(changed) - 60) < 5 * 6.5


def test_importing_it_reaches_for_no_network() -> None:
    import os

    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
