"""``facever data`` from the command line, one command after the other."""

import json
import os

import numpy as np

from facever.data.store.checksums import crop_checksums, write_checksums
from facever.data.store.crop_store import CropStore


def test_a_store_through_every_command(tmp_path, make_store, command):
    def run(*arguments):
        done = command("data", *arguments)
        assert done.code == 0, done.err
        return done.out

    store = make_store(tmp_path / "s", (4, 2, 5, 3))
    assert "4 identities" in run("info", store)
    split = run("split", store, tmp_path / "a", tmp_path / "b", "--share", 0.5)
    assert "2 identities" in split
    merged = tmp_path / "merged"
    out = run("merge", tmp_path / "a", tmp_path / "b", "--out", merged)
    assert "14 crops" in out
    assert "given twice" not in out
    twice = run("merge", merged, tmp_path / "b", "--out", tmp_path / "twice")
    num_doubles = len(CropStore.open(tmp_path / "b").sources)
    assert f"{num_doubles} were given twice, and are there once" in twice
    assert "nothing new" in run("merge", tmp_path / "a", "--out", merged)
    small = tmp_path / "small"
    out = run("subset", merged, small, "--min-photos", 3, "--sample", 2, "--seed", 4)
    assert "2 identities" in out
    assert "left_out.csv" in out
    jpeg = tmp_path / "jpeg"
    run("compress", merged, jpeg, "--quality", 90)
    assert "stored as JPEG 90" in run("info", jpeg)
    for folder in (store, merged, small, jpeg):
        assert "as they were written" in run("verify", folder)
    for form in ("folders", "rec", "tar"):
        assert "14 crops" in run("export", jpeg, tmp_path / form, "--to", form)
    assert os.listdir(tmp_path / "tar") == ["shard-000000.tar"]
    assert json.loads(run("info", small, "--json"))["num_identities"] == 2
    found = json.loads(run("split", store, tmp_path / "c", tmp_path / "d", "--json"))
    assert found["first"]["num_crops"] + found["second"]["num_crops"] == 14
    assert found["first"]["out"] == str(tmp_path / "c")
    assert found["first"]["is_new"]
    found = json.loads(run("export", small, tmp_path / "e", "--to", "tar", "--json"))
    assert found["num_identities"] == 2
    found = json.loads(run("merge", small, "--out", small, "--json"))
    assert (found["is_new"], found["num_doubles"]) == (False, 0)


def test_the_stages_take_compressed_stores(tmp_path, make_store, make_model, command):
    store = make_store(tmp_path / "s", (3, 3))
    model = make_model(tmp_path / "model.safetensors")
    jpeg, pixels = tmp_path / "jpeg", tmp_path / "decoded"
    assert command("data", "compress", store, jpeg).code == 0
    # The oracle: the same pixels in an uncompressed store.
    make_store(pixels, (3, 3))
    crops = CropStore.open(jpeg).crops[:]
    np.save(pixels / "crops.npy", crops)
    write_checksums(pixels, [crop_checksums(crop.data for crop in crops)])
    found = []
    for crops in (jpeg, pixels):
        out = tmp_path / f"{crops.name}.npz"
        assert command("embed", model, crops, out).code == 0
        found.append(np.load(out)["embeddings"])
        gallery = tmp_path / f"{crops.name}-gallery"
        assert command("gallery", "add", gallery, crops, "--model", model).code == 0
    np.testing.assert_array_equal(*found)


def test_mistakes_end_with_code_2(tmp_path, make_store, command):
    store = make_store(tmp_path / "s", (2, 2))
    for arguments, why in [
        (("info", tmp_path / "none"), "no such folder"),
        (("verify", tmp_path), "is not a crop store"),
        (("merge", store, "--out", tmp_path), "not a crop store (it holds"),
        (("subset", store, tmp_path / "o", "--sample", "9"), "must be in [1, 2]"),
        (("split", store, tmp_path / "a", tmp_path / "a"), "need two folders"),
        (("compress", store, tmp_path / "o", "--quality", "0"), "[1, 100], got 0"),
        (("export", store, tmp_path, "--to", "tar"), "is there already"),
    ]:
        done = command("data", *arguments)
        assert done.code == 2
        assert why in done.err
        assert done.err.count("\n") == 1
