import io
import pickle

import numpy as np
import pytest
from PIL import Image

from facever.data.store.crop_store import CropStore
from facever.data.store.jpeg import JpegCrops
from facever.data.store.verifying import find_damage
from facever.data.store.writer import CropWriter
from facever.errors import DataError, FileError, MismatchError, ParameterError
from facever.stages.store.changes import (
    compress_store,
    merge_stores,
    split_store,
    subset_store,
)

LISTING = [(f"{name}/{number}.jpg", name) for name in "CAB" for number in range(4)]
FILES = [
    *("checksums.npy", "crops.csv", "crops.jpg", "crops.offsets.npy"),
    "failures.csv",
    "store.json",
]


@pytest.fixture
def pixels(tmp_path, write_crops):
    return write_crops(tmp_path / "pixels", LISTING, failures={"A/1.jpg": "no face"})


@pytest.fixture
def compressed(tmp_path, pixels):
    compress_store(pixels, tmp_path / "jpeg", quality=95)
    return tmp_path / "jpeg"


def test_a_compressed_store_is_the_same_but_for_the_pixels(pixels, compressed):
    one, other = CropStore.open(pixels), CropStore.open(compressed)
    assert isinstance(other.crops, JpegCrops)
    assert other.sources == one.sources
    assert other.identities == one.identities
    assert other.failures == one.failures
    assert other.fingerprint == one.fingerprint
    np.testing.assert_array_equal(other.landmarks, one.landmarks)
    assert other.settings == {**one.settings, "jpeg_quality": 95}
    assert sorted(path.name for path in compressed.iterdir()) == FILES
    difference = other.crops[:].astype(int) - one.crops[:].astype(int)
    # As close as the quality, and the right crop: another one is far away.
    assert np.abs(difference).mean() < 1
    assert np.abs(other.crops[0].astype(int) - one.crops[1].astype(int)).mean() > 10


def test_the_files_are_what_any_tool_reads(compressed):
    content = (compressed / "crops.jpg").read_bytes()
    offsets = np.load(compressed / "crops.offsets.npy")
    store = CropStore.open(compressed)
    for row in range(11):
        one = content[offsets[row] : offsets[row + 1]]
        image = Image.open(io.BytesIO(one))
        assert image.size == (96, 112)
        # Full colour resolution in all three channels.
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        difference = np.asarray(image).astype(int) - store.crops[row]
        assert np.abs(difference).max() <= 4


def test_indexing_is_that_of_an_array(compressed):
    crops = CropStore.open(compressed).crops
    array = np.stack(list(crops))
    assert crops.shape == array.shape == (11, 112, 96, 3)
    assert len(crops) == 11
    assert crops.dtype == array.dtype
    mask = np.arange(11) % 3 == 1
    for rows in (
        *(0, 10, -1, np.int64(4), slice(None), slice(2, 9, 3), slice(None, None, -1)),
        *(slice(5, 5), [3, 1, 3], np.array([7, -2]), np.empty(0, np.int64), mask),
        np.array([[0, 1], [2, 3]]),
    ):
        found = crops[rows]
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, array[rows])
    for rows in (11, -12, [0, 11], "a"):
        with pytest.raises(IndexError):
            crops[rows]


def test_a_pickle_opens_the_files_again(compressed):
    crops = CropStore.open(compressed).crops
    content = pickle.dumps(crops)
    assert len(content) < 500
    np.testing.assert_array_equal(pickle.loads(content)[:], crops[:])


def test_a_damaged_jpeg_is_named_and_the_others_are_read(compressed):
    offsets = np.load(compressed / "crops.offsets.npy")
    with (compressed / "crops.jpg").open("r+b") as file:
        file.seek(offsets[5])
        file.write(b"\0\0\0\0")
    store = CropStore.open(compressed)
    assert store.crops[4].shape == store.crops[6].shape == (112, 96, 3)
    with pytest.raises(DataError, match=r"crops.jpg: the JPEG of row 5 is damaged"):
        store.crops[3:7]
    assert find_damage(compressed).crops == [(5, store.sources[5])]


def test_every_flip_in_a_jpeg_is_found(compressed):
    offsets = np.load(compressed / "crops.offsets.npy")
    path = compressed / "crops.jpg"
    content = path.read_bytes()
    for place in range(int(offsets[3]), int(offsets[4]), 37):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        )
        assert [row for row, _ in find_damage(compressed).crops] == [3]


@pytest.mark.parametrize("change", ["cut", "longer", "offsets", "order", "missing"])
def test_files_that_do_not_fit_each_other(compressed, change):
    path, offsets_path = compressed / "crops.jpg", compressed / "crops.offsets.npy"
    offsets = np.load(offsets_path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    elif change == "offsets":
        np.save(offsets_path, offsets.astype(np.float64))
    elif change == "order":
        offsets[[2, 3]] = offsets[[3, 2]]
        np.save(offsets_path, offsets)
    else:
        offsets_path.unlink()
    with pytest.raises(FileError, match="offsets"):
        CropStore.open(compressed)
    assert find_damage(compressed)


def test_copies_of_jpegs_are_the_same_jpegs(tmp_path, compressed, content_of):
    store = CropStore.open(compressed)
    split_store(compressed, tmp_path / "one", tmp_path / "other", share=0.5)
    merge_stores([tmp_path / "one", tmp_path / "other"], tmp_path / "merged")
    merged = CropStore.open(tmp_path / "merged")
    assert sorted(merged.sources) == sorted(store.sources)
    for row, source in enumerate(merged.sources):
        other_row = store.sources.index(source)
        assert merged.crops.encoded(row) == store.crops.encoded(other_row)
    assert not find_damage(tmp_path / "merged")
    subset_store(compressed, tmp_path / "subset", min_photos=4)
    assert CropStore.open(tmp_path / "subset").identities == ["B", "C"]


def test_pixels_and_jpegs_do_not_mix(tmp_path, pixels, compressed):
    with pytest.raises(MismatchError, match="jpeg_quality 95 there, None now"):
        merge_stores([pixels, compressed], tmp_path / "merged")
    settings = CropStore.open(pixels).settings
    with pytest.raises(MismatchError, match="jpeg_quality 95 there, None now"):
        CropWriter(compressed, settings, LISTING)
    with pytest.raises(DataError, match="holds JPEGs of quality 95 already"):
        compress_store(compressed, tmp_path / "again")
    with pytest.raises(FileError, match="holds another crop store already"):
        compress_store(pixels, compressed, quality=50)


@pytest.mark.parametrize("quality", [0, 101, -3])
def test_a_quality_that_there_is_not(tmp_path, pixels, quality):
    with pytest.raises(ParameterError, match=rf"in \[1, 100\], got {quality}"):
        compress_store(pixels, tmp_path / "out", quality=quality)


def test_a_store_without_crops(tmp_path, write_crops):
    store = write_crops(tmp_path / "s", LISTING[:1], failures={"C/0.jpg": "no face"})
    compress_store(store, tmp_path / "jpeg")
    assert CropStore.open(tmp_path / "jpeg").crops[:].shape == (0, 112, 96, 3)
    assert not find_damage(tmp_path / "jpeg")
