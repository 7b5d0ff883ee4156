from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facever.data.augmentation import Augmentation, AugmentationStrength
from facever.data.loading import Batch, BatchLoader

PHOTOS = np.random.default_rng(0).integers(0, 256, (30, 16, 12, 3), np.uint8)
# Every third row, backwards; a row's label is its place in this list, modulo 4.
ROWS = np.arange(27, -1, -3)
LABELS = np.arange(10) % 4


def make(**options: Any) -> BatchLoader:
    settings: dict[str, Any] = {
        "crops": PHOTOS,
        "batch_size": 4,
        "augmentation": None,
        "mirror": False,
        "seed": 5,
    }
    return BatchLoader(rows=ROWS, labels=LABELS, **(settings | options))


def changing() -> Augmentation:
    return Augmentation(AugmentationStrength(shift=2.0, brightness=0.5, occlusion=0.5))


def same(left: Batch, right: Batch) -> bool:
    return all(
        torch.equal(getattr(left, name), getattr(right, name))
        for name in ("crops", "labels", "mirrored")
    )


def test_crops_and_labels_belong_together() -> None:
    loader = make()
    for step in range(6):
        batch = loader.batch(step)
        for crop, label in zip(batch.crops.numpy(), batch.labels, strict=True):
            (row,) = np.flatnonzero((PHOTOS == crop).all(axis=(1, 2, 3)))
            assert LABELS[ROWS.tolist().index(row)] == label
        assert not batch.mirrored.any()


def test_batches_are_those_of_their_steps() -> None:
    loader = make(augmentation=changing(), mirror=True)
    streamed = list(loader.batches(3, 9))
    assert len(streamed) == 6
    fresh = make(augmentation=changing(), mirror=True)
    for step in (8, 4, 3, 7, 5, 6):
        assert same(streamed[step - 3], fresh.batch(step))
    assert not same(streamed[0], streamed[1])


def test_a_stream_taken_up_again_is_the_stream() -> None:
    whole = list(make(augmentation=changing(), mirror=True).batches(0, 8))
    first = make(augmentation=changing(), mirror=True).batches(0, 8)
    parts = [next(first) for _ in range(3)]
    first.close()
    parts += make(augmentation=changing(), mirror=True).batches(3, 8)
    assert all(same(*pair) for pair in zip(whole, parts, strict=True))


def test_nothing_is_left_to_do_at_the_end() -> None:
    assert list(make().batches(5, 5)) == []


def test_half_of_the_crops_are_mirrored() -> None:
    loader = make(mirror=True, seed=0)
    mirrored = torch.cat([loader.batch(step).mirrored for step in range(500)])
    # 2000 fair coins: mean 1000, deviation sqrt(500) = 22.4.
    assert abs(int(mirrored.sum()) - 1000) < 5 * 22.4


def test_seeds_differ_in_order_changes_and_mirror() -> None:
    one, other = (
        make(augmentation=changing(), mirror=True, seed=seed, batch_size=10).batch(0)
        for seed in (1, 2)
    )
    assert not torch.equal(one.labels, other.labels)
    assert not torch.equal(one.mirrored, other.mirrored)
    assert not torch.equal(one.crops, other.crops)


def test_a_memory_map_is_read_and_never_written(tmp_path: Path) -> None:
    np.save(tmp_path / "crops.npy", PHOTOS)
    mapped = np.load(tmp_path / "crops.npy", mmap_mode="r")
    batch = make(crops=mapped).batch(0)
    assert same(batch, make().batch(0))
    batch.crops.zero_()
    np.testing.assert_array_equal(mapped, PHOTOS)


class Failing(Augmentation):
    """Counts its calls and fails at one of them."""

    def __init__(self, fail_at: int) -> None:
        super().__init__(AugmentationStrength())
        self.calls = 0
        self.fail_at = fail_at

    def __call__(self, crops: np.ndarray, seed: int) -> np.ndarray:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError("the disk is gone")
        return crops


@pytest.mark.parametrize("fail_at", [1, 2, 4])
def test_an_error_in_the_thread_reaches_the_caller_at_its_step(fail_at: int) -> None:
    batches = make(augmentation=Failing(fail_at)).batches(0, 8)
    for _ in range(fail_at - 1):
        next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_it_never_reads_more_than_one_batch_ahead() -> None:
    counting = Failing(fail_at=-1)
    for number, _ in enumerate(make(augmentation=counting).batches(0, 8), start=1):
        assert counting.calls <= number + 1
    assert counting.calls == 8


def test_batches_hold_classmates_where_asked() -> None:
    loader = make(batch_size=4, photos_per_identity=2)
    for step in range(6):
        labels = loader.batch(step).labels.tolist()
        assert labels[0] == labels[1]
        assert labels[2] == labels[3]
