import numpy as np
import pytest
import torch

from facever.errors import ParameterError
from facever.inference.preprocessing import Preprocessing


def draw(size: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (size, 112, 96, 3), np.uint8))


@pytest.mark.parametrize(
    # (0 - 127.5) / 128, (255 - 127.5) / 128, (127 - 127.5) / 128, (128 - 127.5) / 128
    ("pixel", "value"),
    [(0, -0.99609375), (255, 0.99609375), (127, -0.00390625), (128, 0.00390625)],
)
def test_exact_values(pixel: int, value: float) -> None:
    crops = torch.full((1, 4, 2, 3), pixel, dtype=torch.uint8)
    images = Preprocessing()(crops)
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.full((1, 3, 4, 2), value))


def test_axes_and_channels_keep_their_places() -> None:
    crops = draw()
    images = Preprocessing()(crops)
    assert images.shape == (3, 3, 112, 96)
    for n, row, column, channel in [(0, 5, 7, 0), (2, 111, 0, 2), (1, 0, 95, 1)]:
        expected = (int(crops[n, row, column, channel]) - 127.5) / 128
        assert float(images[n, channel, row, column]) == expected


def test_images_lie_channels_last() -> None:
    for mirrored in (None, torch.tensor([True, False, True])):
        images = Preprocessing()(draw(), mirrored)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_only_the_marked_crops_are_flipped_left_to_right() -> None:
    crops = draw()
    images = Preprocessing()(crops, torch.tensor([True, False, True]))
    plain = Preprocessing()(crops)
    assert torch.equal(images[0], plain[0].flip(-1))
    assert torch.equal(images[1], plain[1])
    assert torch.equal(images[2], plain[2].flip(-1))


def test_the_flip_comes_before_the_mean_image() -> None:
    # One row of two pixels, 10 and 50, and a mean of 4 and 8.
    # Flipped: 50 and 10; minus 4 and 8: 46 and 2; by 2: 23 and 1.
    crops = (
        torch.tensor([10, 50], dtype=torch.uint8).reshape(1, 1, 2, 1).repeat(1, 1, 1, 3)
    )
    mean = torch.tensor([4.0, 8.0]).reshape(1, 2, 1).repeat(1, 1, 3)
    preprocessing = Preprocessing(mean, 2.0)
    flipped = preprocessing(crops, torch.tensor([True]))
    assert flipped[0, 0].tolist() == [[23.0, 1.0]]
    assert preprocessing(crops)[0, 0].tolist() == [[3.0, 21.0]]


def test_a_mean_image_has_a_mean_of_each_channel() -> None:
    crops = draw(5)
    mean = crops.double().mean(dim=0).float()
    images = Preprocessing(mean, 128.0)(crops)
    assert images.mean(dim=0).abs().max() < 1e-5


def test_crops_are_not_changed() -> None:
    crops = draw()
    before = crops.clone()
    Preprocessing()(crops, torch.ones(3, dtype=torch.bool))
    assert torch.equal(crops, before)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_is_positive(scale: float) -> None:
    with pytest.raises(ParameterError, match=f"scale must be positive, got {scale}"):
        Preprocessing(scale=scale)
