import hashlib
import json
import zlib

import numpy as np
import pytest

from facever.data.store.crop_store import CropStore
from facever.data.store.verifying import count_checked, find_damage
from facever.data.store.writer import CropWriter
from facever.errors import DataError, FileError

LISTING = [("A/1.jpg", "A"), ("A/2.jpg", "A"), ("ü/1.jpg", "ü"), ("C/1.jpg", "C")]
FILES = ["checksums.npy", "crops.csv", "crops.npy", "failures.csv", "store.json"]


@pytest.fixture
def store(tmp_path, write_crops):
    return write_crops(tmp_path / "s", LISTING, failures={"A/2.jpg": "empty file"})


def flip(path, place, mask=0x10):
    with path.open("r+b") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))


def test_checksums_are_those_of_any_tool(store):
    crops = np.load(store / "crops.npy")
    expected = [zlib.crc32(crop.tobytes()) for crop in crops]
    assert np.load(store / "checksums.npy").tolist() == expected
    assert CropStore.open(store).checksums.tolist() == expected
    digests = json.loads((store / "store.json").read_text())["sha256"]
    for name in ("checksums.npy", "failures.csv", "crops.csv"):
        content = (store / name).read_bytes()
        assert digests[name] == hashlib.sha256(content).hexdigest()


def test_a_sound_store(store):
    done = []
    damage = find_damage(store, lambda count=1, note="": done.append(count))
    assert not damage
    assert sum(done) == count_checked(store) == 3


def test_a_flip_of_a_pixel_names_its_crop(store):
    crop_bytes = 112 * 96 * 3
    for row, source in enumerate(["A/1.jpg", "ü/1.jpg", "C/1.jpg"]):
        for place in (0, 12_345, crop_bytes - 1):
            flip(store / "crops.npy", 128 + row * crop_bytes + place)
            damage = find_damage(store)
            assert damage.files == {}
            assert damage.crops == [(row, source)]
            flip(store / "crops.npy", 128 + row * crop_bytes + place)
    assert not find_damage(store)


@pytest.mark.parametrize("name", [name for name in FILES if name != "crops.npy"])
def test_a_flip_of_any_byte_of_the_other_files_names_the_file(store, name):
    for place in range((store / name).stat().st_size):
        flip(store / name, place)
        damage = find_damage(store)
        assert name in damage.files, place
        # The pixels are as they were, whatever else is not.
        assert not damage.crops or name == "checksums.npy"
        flip(store / name, place)
    assert not find_damage(store)


@pytest.mark.parametrize(
    ("old", "new"), [(b"\n", b"\r"), (b"\n  ", b"\n \t"), (b"\\u00fc", b"\\u00FC")]
)
def test_a_description_that_says_the_same_in_other_bytes(
    tmp_path, write_crops, old, new
):
    store = write_crops(tmp_path / "s", LISTING, settings={"note": "ü"})
    path = store / "store.json"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    assert find_damage(store).files.keys() == {"store.json"}


def test_a_flip_of_any_byte_of_the_header_of_the_crops(store):
    for place in range(128):
        flip(store / "crops.npy", place)
        assert "crops.npy" in find_damage(store).files, place
        flip(store / "crops.npy", place)


@pytest.mark.parametrize("change", [-1, 1, -32_256, 32_256])
def test_another_length_of_the_crops(store, change):
    path = store / "crops.npy"
    content = path.read_bytes()
    path.write_bytes((content + bytes(32_256))[: len(content) + change])
    assert list(find_damage(store).files) == ["crops.npy"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(store, name):
    (store / name).unlink()
    if name == "store.json":
        with pytest.raises(FileError, match="not a crop store"):
            find_damage(store)
    else:
        assert name in find_damage(store).files


def test_damage_to_rows_and_records_is_told_at_once(store):
    flip(store / "crops.npy", 128 + 32_256)
    flip(store / "crops.csv", 0)
    damage = find_damage(store)
    assert list(damage.files) == ["crops.csv"]
    assert damage.crops == [(1, "")]


def test_a_store_without_its_checksums_is_refused(store):
    (store / "checksums.npy").unlink()
    with pytest.raises(
        FileError, match=r"checksums\.npy is missing: its folder is damaged"
    ):
        CropStore.open(store)


def test_a_description_without_digests_is_damaged(store):
    about = json.loads((store / "store.json").read_text())
    del about["sha256"]
    (store / "store.json").write_text(json.dumps(about))
    assert list(find_damage(store).files) == ["store.json"]


def test_damage_does_not_become_sound_when_the_store_grows(store):
    flip(store / "crops.npy", 128 + 32_256)
    settings = CropStore.open(store).settings
    with CropWriter(store, settings, [*LISTING, ("D/1.jpg", "D")]) as writer:
        writer.fail("D/1.jpg", "empty file")
        with pytest.raises(DataError, match=r"row 1 \(ü/1.jpg\) is damaged"):
            writer.finish()
    assert find_damage(store).crops == [(1, "ü/1.jpg")]
