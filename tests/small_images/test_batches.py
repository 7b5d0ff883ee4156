import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import ParameterError
from facever.small_images.batches import (
    Preparation,
    PreparedImages,
    SmallImageBatches,
    prepare_images,
    shifted,
)
from facever.small_images.sets import SmallImages

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (40, 3, 8, 6)).astype(np.uint8)
TEST = RNG.integers(0, 100, (10, 3, 8, 6)).astype(np.uint8)


def test_preparations_by_hand() -> None:
    exact, train = TEST.astype(np.float64), TRAIN.astype(np.float64)
    wanted = {
        ("divide_256",): exact / 256,
        ("mean_image",): exact - train.mean(0),
        ("divide_256", "mean_image"): (exact - train.mean(0)) / 256,
        ("mean_std",): np.stack(
            [
                (exact[:, c] - train[:, c].mean()) / train[:, c].std(ddof=1)
                for c in range(3)
            ],
            axis=1,
        ),
        ("global_mean_std",): (exact - train.mean()) / train.std(ddof=1),
        ("contrast",): np.stack(
            [(each - each.mean()) / each.std(ddof=1) for each in exact]
        ),
        (): exact,
    }
    for steps, expected in wanted.items():
        found = Preparation(steps, TRAIN)(TEST).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_later_step_is_fitted_behind_the_earlier_ones() -> None:
    images = Preparation(("contrast", "mean_std"), TRAIN)(TRAIN)
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    np.testing.assert_allclose(images.std(dim=(0, 2, 3)), 1, rtol=1e-5)


def test_an_image_without_contrast_stays_finite() -> None:
    grey = np.full((2, 3, 8, 6), 77, np.uint8)
    assert Preparation(("contrast",), TRAIN)(grey).abs().max() == 0


def test_the_set_that_was_read_is_not_changed() -> None:
    before = TRAIN.copy()
    prepared = prepare_images(
        SmallImages(TRAIN, np.zeros(40, np.int64)),
        Preparation(("divide_256",), TRAIN),
        torch.device("cpu"),
    )
    prepared.images.zero_()
    np.testing.assert_array_equal(TRAIN, before)


def test_an_unknown_preparation(types_unchecked: None) -> None:
    with pytest.raises(ParameterError, match="got 'whiten'"):
        Preparation(("whiten",), TRAIN)  # type: ignore[arg-type]


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_windows_against_loops(padding: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(5, 2, 7, 4)).astype(np.float32)
    top, left = rng.integers(0, 2 * padding + 1, (2, 5))
    mirrored = rng.random(5) < 0.5
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(images, around)
    wanted = np.stack(
        [
            padded[n, :, top[n] : top[n] + 7, left[n] : left[n] + 4][
                :, :, :: -1 if mirrored[n] else 1
            ]
            for n in range(5)
        ]
    )
    found = shifted(
        torch.from_numpy(images),
        torch.from_numpy(top),
        torch.from_numpy(left),
        torch.from_numpy(mirrored),
        padding,
    )
    np.testing.assert_array_equal(found.numpy(), wanted)


def numbered(count: int = 20) -> PreparedImages:
    images = torch.zeros(count, 1, 6, 6)
    images[:, 0, 2, 1] = torch.arange(1.0, count + 1)
    return PreparedImages(images, torch.arange(count))


def test_each_image_comes_once_an_epoch_with_its_label() -> None:
    batches = SmallImageBatches(numbered(), batch_size=5, seed=3)
    found = [batches.batch(step) for step in range(4)]
    labels = torch.cat([labels for _, labels in found])
    images = torch.cat([images for images, _ in found])
    assert sorted(labels.tolist()) == list(range(20))
    assert torch.equal(images[:, 0, 2, 1].long() - 1, labels)


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    options = {"batch_size": 5, "seed": 3, "mirror": True, "crop_padding": 2}
    first = SmallImageBatches(numbered(), **options)
    for step in range(9):
        first.batch(step)
    images, labels = first.batch(9)
    again, labels_again = SmallImageBatches(numbered(), **options).batch(9)
    assert torch.equal(images, again)
    assert torch.equal(labels, labels_again)


def test_mirrors_and_crops_reach_every_place() -> None:
    source = numbered()
    batches = SmallImageBatches(
        source, batch_size=20, seed=0, mirror=True, crop_padding=2
    )
    places = set()
    for step in range(60):
        images, labels = batches.batch(step)
        for image, label in zip(images, labels, strict=True):
            places |= {
                (int(y), int(x)) for y, x in (image[0] == label + 1).nonzero().tolist()
            }
    # The pixel at row 2, column 1 or, mirrored, 4, moved by -2 to 2 each way.
    rows, columns = range(0, 5), range(0, 6)
    assert places == {(y, x) for y in rows for x in columns}
    alone = SmallImageBatches(source, batch_size=20, seed=0, mirror=True)
    half = [
        float((alone.batch(step)[0][:, 0, 2, 4] > 0).float().mean())
        for step in range(60)
    ]
    assert 0.45 < np.mean(half) < 0.55


def test_options_out_of_range() -> None:
    with pytest.raises(ParameterError, match="crop_padding must be >= 0, got -1"):
        SmallImageBatches(numbered(), batch_size=2, seed=0, crop_padding=-1)
    with pytest.raises(ParameterError, match="batch_size"):
        SmallImageBatches(numbered(), batch_size=21, seed=0)
