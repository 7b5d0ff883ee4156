import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facever.data.batches.augmentation import Augmentation, AugmentationStrength
from facever.data.batches.loading import Batch, BatchLoader
from facever.data.batches.resident import ResidentCrops
from facever.errors import ParameterError

PHOTOS = np.random.default_rng(0).integers(0, 256, (30, 16, 12, 3), np.uint8)
# Every third row, backwards; a row's label is its place in this list, modulo 4.
ROWS = np.arange(27, -1, -3)
LABELS = np.arange(10) % 4


def make(**options: Any) -> BatchLoader:
    settings: dict[str, Any] = {
        "crops": PHOTOS,
        "rows": ROWS,
        "labels": LABELS,
        "batch_size": 4,
        "augmentation": None,
        "mirror": False,
        "seed": 5,
    }
    return BatchLoader(**(settings | options))


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


@pytest.mark.parametrize("photos_per_identity", [None, 2])
def test_a_stream_taken_up_at_any_step_is_the_stream(
    photos_per_identity: int | None,
) -> None:
    """Over several epochs, of two batches each."""

    def stream(start: int) -> list[Batch]:
        loader = make(mirror=True, photos_per_identity=photos_per_identity)
        return list(loader.batches(start, 7))

    whole = stream(0)
    for start in range(8):
        parts = stream(start)
        assert len(parts) == 7 - start
        assert all(same(*pair) for pair in zip(parts, whole[start:], strict=True))


@pytest.mark.parametrize("photos_per_identity", [None, 2])
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_no_bit(
    workers: int, photos_per_identity: int | None, tmp_path: Path
) -> None:
    np.save(tmp_path / "crops.npy", PHOTOS)
    options = {"mirror": True, "photos_per_identity": photos_per_identity}
    mapped = np.load(tmp_path / "crops.npy", mmap_mode="r")
    loader = make(crops=mapped, workers=workers, **options)
    expected = make(**options).batches(1, 20)
    for pair in zip(loader.batches(1, 20), expected, strict=True):
        assert same(*pair)


def test_workers_augment_as_this_process_does() -> None:
    options: dict[str, Any] = {"augmentation": changing(), "mirror": True}
    expected = list(make(**options).batches(3, 12))
    found = list(make(workers=2, **options).batches(3, 12))
    assert all(same(*pair) for pair in zip(found, expected, strict=True))
    plain = make(mirror=True).batch(3)
    assert not torch.equal(plain.crops, found[0].crops)


def test_a_crop_s_change_depends_on_seed_epoch_and_row_alone() -> None:
    """Whatever the size of the batches, and which other rows are trained on."""

    def changes(epoch: int, **options: Any) -> dict[int, tuple[bytes, bool]]:
        loader = make(augmentation=changing(), mirror=True, **options)
        each = loader.sampler.batches_an_epoch
        found = {}
        for step in range(epoch * each, (epoch + 1) * each):
            batch = loader.batch(step)
            rows = loader._rows[loader.sampler.draw(step).photos]
            for row, crop, flip in zip(
                rows.tolist(), batch.crops.numpy(), batch.mirrored.tolist(), strict=True
            ):
                found[row] = (crop.tobytes(), flip)
        return found

    whole = changes(1, batch_size=10)
    assert changes(1, batch_size=5) == whole
    assert changes(1, batch_size=1) == whole
    fewer = changes(1, batch_size=3, rows=ROWS[4:], labels=LABELS[4:])
    assert fewer.items() <= whole.items()
    later, other = changes(2, batch_size=10), changes(1, batch_size=10, seed=6)
    for row, (crop, _) in whole.items():
        assert later[row][0] != crop
        assert other[row][0] != crop
    assert {flip for _, flip in whole.values()} == {True, False}


def test_a_photo_that_fills_up_its_group_is_changed_in_another_way() -> None:
    """One photo an identity, four in its group."""
    loader = make(
        rows=np.arange(3),
        labels=np.arange(3),
        photos_per_identity=4,
        augmentation=changing(),
    )
    assert len({crop.tobytes() for crop in loader.batch(0).crops.numpy()}) == 4


@pytest.mark.parametrize("photos_per_identity", [None, 2])
def test_resident_crops_give_the_same_batches(photos_per_identity: int | None) -> None:
    rows = ROWS[::-1]
    options: dict[str, Any] = {
        "rows": rows,
        "mirror": True,
        "photos_per_identity": photos_per_identity,
    }
    resident = ResidentCrops(PHOTOS, rows, torch.device("cpu"))
    # More workers than needed start none.
    loader = make(crops=resident, workers=3, **options)
    for pair in zip(loader.batches(0, 9), make(**options).batches(0, 9), strict=True):
        assert same(*pair)
    assert not multiprocessing.active_children()


def test_resident_crops_cannot_be_augmented() -> None:
    resident = ResidentCrops(PHOTOS, ROWS[::-1], torch.device("cpu"))
    with pytest.raises(ParameterError, match="on the device cannot be changed"):
        make(crops=resident, augmentation=changing())


def test_fewer_workers_than_none_are_refused() -> None:
    with pytest.raises(ParameterError, match="workers must be >= 0, got -1"):
        make(workers=-1)


def test_a_batch_for_a_gpu_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """By interface: without a GPU nothing can be pinned."""
    pinned = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = make(mirror=True, pin_memory=True).batch(0)
    assert same(batch, make(mirror=True).batch(0))
    kinds = {tensor.dtype for tensor in pinned}
    assert kinds == {torch.uint8, torch.int64, torch.bool}
    originals = {tensor.data_ptr() for tensor in pinned}
    assert {batch.crops.data_ptr(), batch.labels.data_ptr()}.isdisjoint(originals)


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


class Decoding:
    """A store of another kind: nothing but crops by row."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([PHOTOS[row] for row in rows])


@pytest.mark.parametrize("resident", [False, True])
def test_any_store_that_gives_crops_by_row_will_do(resident: bool) -> None:
    crops: Any = Decoding()
    if resident:
        crops = ResidentCrops(crops, ROWS[::-1], torch.device("cpu"))
    for step in range(4):
        assert same(make(crops=crops).batch(step), make().batch(step))


class Failing:
    """Counts its calls and fails at one of them."""

    def __init__(self, fail_at: int) -> None:
        self.calls = 0
        self.fail_at = fail_at

    def __call__(self, crops: np.ndarray, seeds: np.ndarray) -> np.ndarray:
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


@pytest.mark.parametrize(
    ("photos_per_identity", "workers"), [(None, 0), (2, 0), (None, 1)]
)
def test_the_parts_of_several_processes_are_the_batch_of_one(
    photos_per_identity: int | None, workers: int
) -> None:
    options = {
        "augmentation": changing(),
        "mirror": True,
        "photos_per_identity": photos_per_identity,
    }
    whole = list(make(**options).batches(0, 5))
    parts = [
        list(make(**options, part=part, workers=workers).batches(0, 5))
        for part in (slice(0, 2), slice(2, 4))
    ]
    for batch, *halves in zip(whole, *parts, strict=True):
        for name in ("crops", "labels", "mirrored"):
            joined = torch.cat([getattr(half, name) for half in halves])
            assert torch.equal(joined, getattr(batch, name)), name
