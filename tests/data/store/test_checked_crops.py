"""A damaged crop is named where it is read: for embedding, training, as a source."""

import csv
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from facever.data.batches.crop_workers import CropWorkers, ReadTask
from facever.data.batches.resident import ResidentCrops
from facever.data.store.crop_store import CropStore
from facever.data.store.writer import CropWriter
from facever.errors import DataError
from facever.faces.templates import TEMPLATES
from facever.stages.align import align
from facever.stages.store.changes import compress_store

CARD = TEMPLATES["112x96"]
NUM_CROPS, DAMAGED = 40, 23
SOURCE = f"Ann/{DAMAGED}.png"
SAID = re.escape(f"the crop of {SOURCE} (row {DAMAGED}) is damaged")


@pytest.fixture(params=["pixels", "jpeg"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store with one flipped bit in one crop."""
    listing = [(f"Ann/{number}.png", "Ann") for number in range(NUM_CROPS)]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (NUM_CROPS, 7, 6, 3), np.uint8)
    crops = coarse.repeat(16, 1).repeat(16, 2)
    unknown = np.full((1, 5, 2), np.nan), np.array([np.nan])
    with CropWriter(
        tmp_path / "pixels", {"template": CARD.description}, listing
    ) as writer:
        for (source, _), crop in zip(listing, crops, strict=True):
            writer.add(source, crop[None], *unknown)
        writer.finish()
    if request.param == "jpeg":
        compress_store(tmp_path / "pixels", tmp_path / "jpeg", quality=95)
    store = tmp_path / str(request.param)
    flip_bit_of(store, DAMAGED)
    return store


def flip_bit_of(folder: Path, row: int) -> None:
    if (folder / "crops.jpg").exists():
        file = folder / "crops.jpg"
        start, stop = np.load(folder / "crops.offsets.npy")[row : row + 2]
        place = (start + stop) // 2
    else:
        file = folder / "crops.npy"
        place = 128 + (row + 0.5) * 112 * 96 * 3
    content = bytearray(file.read_bytes())
    content[int(place)] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "rows",
    [
        DAMAGED,
        slice(20, 30),
        [1, DAMAGED, 2],
        np.array([DAMAGED]),
        np.arange(NUM_CROPS) == DAMAGED,
        np.array([[0, 1], [DAMAGED, 2]]),
    ],
    ids=str,
)
def test_every_way_to_read_the_crop_names_it(folder: Path, rows: object) -> None:
    crops = CropStore.open(folder).crops_for(CARD)
    with pytest.raises(DataError, match=SAID):
        crops[rows]


def test_the_others_are_read_as_they_are(folder: Path) -> None:
    store = CropStore.open(folder)
    whole = np.delete(np.arange(NUM_CROPS), DAMAGED)
    np.testing.assert_array_equal(store.crops_for(CARD)[whole], store.crops[whole])
    assert store.crops_for(CARD)[[]].shape == (0, 112, 96, 3)
    with pytest.raises(IndexError):
        store.crops_for(CARD)[NUM_CROPS]


def test_in_training_by_workers_and_on_the_device(folder: Path) -> None:
    crops = CropStore.open(folder).crops_for(CARD)
    rows = np.arange(NUM_CROPS).reshape(5, 8)
    tasks = [ReadTask(batch, batch.astype(np.uint64)) for batch in rows]
    with CropWorkers(crops, None, num_workers=1, batch_size=8) as workers:
        with pytest.raises(DataError, match=SAID):
            list(workers.read(tasks))
    with pytest.raises(DataError, match=SAID):
        ResidentCrops(crops, np.arange(NUM_CROPS), torch.device("cpu"))


def test_they_travel_as_their_files(folder: Path) -> None:
    crops = CropStore.open(folder).crops_for(CARD)
    pickled = pickle.dumps(crops)
    assert len(pickled) < 3000, "40 crops are over a million bytes, or 200,000 as JPEG"
    whole = np.delete(np.arange(NUM_CROPS), DAMAGED)
    np.testing.assert_array_equal(pickle.loads(pickled)[whole], crops[whole])


def test_as_a_source_it_goes_to_the_ledger(folder: Path, tmp_path: Path) -> None:
    align(folder, tmp_path / "out", detector="crops")
    with (tmp_path / "out" / "failures.csv").open(encoding="utf-8") as file:
        [failed] = csv.DictReader(file)
    assert failed["source"] == SOURCE
    assert re.search(SAID, failed["reason"])
