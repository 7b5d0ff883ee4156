import csv
import io
import json
import os
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FileError, ParameterError
from facever.stages.store.changes import compress_store
from facever.stages.store.export import export_store

ODD = ["..", ".", "/", "../../x", "/etc", "", ".hidden", "a/b", "Ann", "ANN", "üñ王"]
ODD += ["nul\0", "new\nline", os.fsdecode(b"\xff"), "x" * 300, "%2E"]
LISTING = [(f"{name}/{i}.jpg", name) for name in "CAB" for i in range(3)]


@pytest.fixture
def store(tmp_path, write_crops):
    return write_crops(tmp_path / "s", LISTING, 2, rules_known=False)


def read_index(out):
    with (out / "index.csv").open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        return list(csv.DictReader(file))


def test_folders_keep_every_pixel(store, tmp_path):
    export_store(store, tmp_path / "out", to="folders")
    crops = CropStore.open(store)
    index = read_index(tmp_path / "out")
    assert [int(line["row"]) for line in index] == list(range(18))
    for row, line in enumerate(index):
        image = Image.open(tmp_path / "out" / line["file"])
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), crops.crops[row])
        assert line["source"] == crops.sources[row]
        assert line["identity"] == crops.identity_of(row)
    assert (tmp_path / "out" / "C" / "0.jpg#2.png").exists()


def test_no_name_leads_out_of_the_folder(tmp_path, write_crops, crop_of):
    listing = [(f"{name}/{i}.jpg", name) for name in ODD for i in range(2)]
    # Sources that lead elsewhere or are one below their identity.
    listing += [("../../../up.jpg", "Ann"), ("/abs.jpg", "Ann"), ("0.jpg", "Ann")]
    store = write_crops(tmp_path / "s", listing)
    out = tmp_path / "below" / "out"
    export_store(store, out, to="folders")
    assert sorted(os.listdir(tmp_path)) == ["below", "s"]
    assert os.listdir(tmp_path / "below") == ["out"]
    index = read_index(out)
    assert len({line["file"] for line in index}) == len(listing)
    for line, (source, identity) in zip(index, listing, strict=True):
        path = out / line["file"]
        assert path.resolve().is_relative_to(out.resolve())
        assert len(path.relative_to(out).parts) == 2
        np.testing.assert_array_equal(np.asarray(Image.open(path)), crop_of(source))
        assert (line["identity"], line["source"]) == (identity, source)
    folders = {line["file"].split("/")[0] for line in index}
    assert len({folder.casefold() for folder in folders}) == len(ODD)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == len(listing) + 1


def test_a_webdataset(store, tmp_path):
    export_store(store, tmp_path / "out", to="tar", shard_size=7)
    crops = CropStore.open(store)
    names = sorted(os.listdir(tmp_path / "out"))
    assert names == [f"shard-00000{number}.tar" for number in range(3)]
    row = 0
    for name in names:
        with tarfile.open(tmp_path / "out" / name) as shard:
            members = shard.getmembers()
            for at in range(0, len(members), 3):
                key = f"{row:08d}"
                found = {}
                for member in members[at : at + 3]:
                    assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                    stem, _, suffix = member.name.partition(".")
                    assert stem == key
                    found[suffix] = shard.extractfile(member).read()
                assert list(found) == ["png", "cls", "json"]
                image = Image.open(io.BytesIO(found["png"]))
                np.testing.assert_array_equal(np.asarray(image), crops.crops[row])
                assert int(found["cls"]) == crops.labels[row]
                facts = json.loads(found["json"])
                assert facts["identity"] == crops.identity_of(row)
                assert facts["source"] == crops.sources[row]
                assert facts["landmarks"] == crops.landmarks[row].tolist()
                assert facts["score"] == crops.scores[row]
                row += 1
    assert row == 18


def test_unknown_numbers_are_null(tmp_path, make_store):
    export_store(make_store(tmp_path / "s", (1, 1)), tmp_path / "out", to="tar")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as shard:
        facts = json.loads(shard.extractfile("00000000.json").read())
    assert facts["landmarks"] is facts["score"] is None


def test_a_record_file(store, tmp_path):
    export_store(store, tmp_path / "out", to="rec")
    crops = CropStore.open(store)
    content = (tmp_path / "out" / "train.rec").read_bytes()
    offsets = dict(
        map(int, line.split())
        for line in (tmp_path / "out" / "train.idx").read_text().splitlines()
    )
    assert (tmp_path / "out" / "property").read_text() == "3,112,96\n"
    index = read_index(tmp_path / "out")
    assert [line["identity"] for line in index] == sorted("CAB" * 6)
    for line in index:
        row, at = int(line["row"]), offsets[int(line["key"])]
        # Magic, length; number of labels, -, key, -; label, whether aligned.
        magic, length, count, _, key, _, label, aligned = struct.unpack_from(
            "<II IfQQ ff", content, at
        )
        assert (magic, count, key) == (0xCED7230A, 2, int(line["key"]))
        assert (label, aligned) == (crops.labels[row], 1)
        image = Image.open(io.BytesIO(content[at + 40 : at + 8 + length]))
        np.testing.assert_array_equal(np.asarray(image), crops.crops[row])
        assert line["source"] == crops.sources[row]


@pytest.mark.parametrize("to", ["folders", "rec", "tar"])
def test_the_same_bytes_every_time(store, tmp_path, content_of, to):
    export_store(store, tmp_path / "one", to=to, quality=90)
    export_store(store, tmp_path / "other", to=to, quality=90)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "other")
    export_store(store, tmp_path / "finer", to=to, quality=99)
    assert content_of(tmp_path / "one") != content_of(tmp_path / "finer")


def test_jpegs_are_exported_as_they_are(store, tmp_path):
    compress_store(store, tmp_path / "jpeg", quality=80)
    export_store(tmp_path / "jpeg", tmp_path / "out", to="folders", quality=99)
    crops = CropStore.open(tmp_path / "jpeg").crops
    for row, line in enumerate(read_index(tmp_path / "out")):
        content = (tmp_path / "out" / line["file"]).read_bytes()
        assert content == crops.encoded(row)


@pytest.mark.parametrize("to", ["folders", "rec", "tar"])
def test_damage_is_not_exported(store, tmp_path, to):
    with (store / "crops.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(DataError, match=r"row 0 \(C/0.jpg\) is damaged"):
        export_store(store, tmp_path / "out", to=to)
    assert os.listdir(tmp_path) == ["s"]


def test_what_cannot_be(store, tmp_path, monkeypatch):
    with pytest.raises(FileError, match="is there already: choose another name"):
        export_store(store, tmp_path, to="tar")
    with pytest.raises(ParameterError, match="shard_size must be at least 1, got 0"):
        export_store(store, tmp_path / "out", to="tar", shard_size=0)
    with pytest.raises(ParameterError, match="JPEG quality must be in"):
        export_store(store, tmp_path / "out", to="tar", quality=0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facever.data.store.exporting._add_member", full)
    with pytest.raises(FileError, match=r"cannot write .*out: No space left"):
        export_store(store, tmp_path / "out", to="tar")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["s"]
    # What a killed run left does not matter.
    (tmp_path / ".out.partial" / "C").mkdir(parents=True)
    export_store(store, tmp_path / "out", to="folders")
    assert sorted(os.listdir(tmp_path)) == ["out", "s"]
