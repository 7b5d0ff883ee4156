import json

import numpy as np
import pytest
from PIL import Image

from facever.data.store.crop_bytes import BLOCK_CROPS, decode_crops, row_blocks
from facever.data.store.crop_store import CropStore
from facever.data.store.summary import mean_image, sample_rows, summarise_store
from facever.errors import DataError, FileError
from facever.results import as_json
from facever.stages.store.facts import describe_store, verify_store


def test_the_counts(tmp_path, make_store):
    folder = make_store(tmp_path / "s", (1, 3, 2, 8, 4, 1))
    found = summarise_store(CropStore.open(folder))
    assert (found.num_crops, found.num_identities, found.num_failures) == (19, 6, 0)
    assert found.photos_per_identity == {
        "least": 1,
        "median": 2.5,
        "mean": 19 / 6,
        "most": 8,
    }
    assert found.histogram == [(1, 1, 2), (2, 3, 2), (4, 7, 1), (8, 15, 1)]
    assert found.storage == "pixels"
    assert found.num_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_the_mean_is_that_of_the_rows(tmp_path, make_store):
    store = CropStore.open(make_store(tmp_path / "s", (4, 5)))
    rows = np.array([1, 4, 8])
    expected = np.array(store.crops)[rows].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean_image(store, rows), expected)
    np.testing.assert_array_equal(decode_crops(store.crops, rows), store.crops[rows])


def test_blocks_are_all_rows_in_order():
    rows = np.arange(2 * BLOCK_CROPS + 5)
    blocks = list(row_blocks(rows))
    assert [len(block) for block in blocks] == [BLOCK_CROPS, BLOCK_CROPS, 5]
    np.testing.assert_array_equal(np.concatenate(blocks), rows)


def test_a_draw_is_of_distinct_rows_and_repeats(tmp_path, make_store):
    store = CropStore.open(make_store(tmp_path / "s", (9, 9)))
    rows = sample_rows(store, 7, seed=5)
    assert len(set(rows.tolist())) == 7
    assert rows.tolist() == sorted(rows)
    assert rows.tolist() == sample_rows(store, 7, seed=5).tolist()
    assert rows.tolist() != sample_rows(store, 7, seed=6).tolist()
    assert sample_rows(store, 99, seed=0).tolist() == list(range(18))


def test_the_sheet_shows_the_mean_and_the_crops(tmp_path, make_store):
    store = CropStore.open(make_store(tmp_path / "s", (6, 7)))
    describe_store(store.folder, sheet=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    # 14 pictures, 12 a line; each 112x96 with a caption of 18 and gaps of 8.
    assert sheet.shape == (8 + 2 * 138, 8 + 12 * 104, 3)
    mean = np.rint(np.array(store.crops).mean(axis=0))
    np.testing.assert_array_equal(sheet[8:120, 8:104], mean)
    for row in range(13):
        line, column = divmod(row + 1, 12)
        top, left = 8 + 138 * line, 8 + 104 * column
        crop = sheet[top : top + 112, left : left + 96]
        np.testing.assert_array_equal(crop, store.crops[row])
        caption = sheet[top + 112 : top + 130, left : left + 96]
        assert caption.min() < 128


def test_captions_of_any_name(tmp_path, write_odd):
    describe_store(write_odd, sheet=tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (1256, 146)


@pytest.fixture
def write_odd(tmp_path):
    from facever.data.store.writer import CropWriter

    names = ["", "x" * 400, "new\nline", "王小明", "\udcff", "[bold]", "\0"]
    listing = [(f"{number}.png", name) for number, name in enumerate(names)]
    with CropWriter(tmp_path / "odd", {"face": "[red]"}, listing) as writer:
        for source, _ in listing:
            crops = np.zeros((1, 112, 96, 3), np.uint8)
            writer.add(source, crops, np.full((1, 5, 2), np.nan), np.array([np.nan]))
        writer.finish()
    return tmp_path / "odd"


def test_the_text(write_odd):
    out = str(describe_store(write_odd))
    assert "7 crops of 7 identities" in out
    # No markup of ours.
    assert 'face: "[red]"' in out
    assert f"1 {'█' * 40} 7" in out


def test_json_says_the_same(tmp_path, make_store):
    folder = make_store(tmp_path / "s", (2, 3))
    facts = json.loads(as_json(describe_store(folder).to_dict()))
    assert facts["store"] == str(folder)
    assert facts["num_crops"] == 5
    assert facts["histogram"] == [[1, 1, 0], [2, 3, 2]]
    crops = np.load(folder / "crops.npy").astype(np.float64)
    np.testing.assert_allclose(facts["mean_colour"], crops.mean((0, 1, 2)), atol=0.01)


def test_a_store_without_a_crop(tmp_path):
    from facever.data.store.writer import CropWriter

    reasons = ["too large: 9x9", "too large: 8x8", "empty file"]
    listing = [(f"{number}.png", "A") for number in range(3)]
    with CropWriter(tmp_path / "s", {}, listing) as writer:
        for (source, _), reason in zip(listing, reasons, strict=True):
            writer.fail(source, reason)
        writer.finish()
    found = describe_store(tmp_path / "s")
    assert found.summary.failures == {"too large": 2, "empty file": 1}
    assert "3 photos without a crop\n    2 too large\n" in str(found)
    with pytest.raises(DataError, match="there is nothing to show"):
        describe_store(tmp_path / "s", sheet=tmp_path / "sheet.png")
    assert verify_store(tmp_path / "s").is_sound


def test_verify(tmp_path, make_store, command):
    folder = make_store(tmp_path / "s", (20, 20))
    done = command("data", "verify", folder)
    assert done.code == 0
    assert "40 crops and all files are as they were written" in done.out
    crops = np.load(folder / "crops.npy")
    crops[5:30, 3, 3] ^= 1
    np.save(folder / "crops.npy", crops)
    (folder / "failures.csv").write_text("source,reason\nP0/1.png,why\n")
    done = command("data", "verify", folder)
    assert done.code == 2
    assert "failures.csv: its bytes are not those that were written" in done.out
    assert "row 5 P0/5.png" in done.out
    assert "and 5 more; --json lists them all" in done.out
    assert f"{folder} is damaged: 1 files and 25 crops" in done.err
    done = command("data", "verify", folder, "--json")
    assert done.code == 2
    damage = json.loads(done.out)
    assert [row for row, _ in damage["crops"]] == list(range(5, 30))
    assert list(damage["files"]) == ["failures.csv"]


def test_what_is_no_store(tmp_path):
    for stage in (describe_store, verify_store):
        with pytest.raises(FileError, match="no such folder"):
            stage(tmp_path / "none")
