import io
import json
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FileError, PhotoError
from facever.faces.templates import CARD_POINTS
from facever.stages.align import align
from facever.verification.protocols.pair_bin import read_bin, write_bin

MAX_PIXELS = 10**6


def png(seed=0, size=(112, 112), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return pixels, file.getvalue()


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def facts(path):
    return [(photo.source, photo.identity) for photo in find_photos(path).photos]


def reason_of(photo):
    with pytest.raises(PhotoError) as error:
        photo.read(MAX_PIXELS)
    return str(error.value)


@pytest.fixture
def sources(tmp_path):
    """The same photos in every kind of source, each with its own identity."""
    photos = [png(seed) for seed in range(4)]
    coded = [content for _, content in photos]
    names = ["Ann", "Ann", "Bo", "Bo"]
    folder = tmp_path / "folder"
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number}.png").write_bytes(coded[number])
    flat = tmp_path / "flat"
    flat.mkdir()
    lines = ["source,identity,note"]
    for number, name in enumerate(names):
        (flat / f"{number}.png").write_bytes(coded[number])
        lines.append(f"{number}.png,{name},x")
    (flat / "list.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "shards").mkdir()
    members = [
        (f"{number}.{suffix}", content)
        for number, name in enumerate(names)
        for suffix, content in (("png", coded[number]), ("txt", name.encode()))
    ]
    tar(tmp_path / "one.tar", members)
    tar(tmp_path / "shards/0.tar", members[:4])
    tar(tmp_path / "shards/1.tar", members[4:])
    (tmp_path / "pairs.bin").write_bytes(pickle.dumps((coded, [True, True])))
    content = b""
    for number, name in enumerate(names):
        label = float(name == "Bo")
        record = struct.pack("<IfQQ", 0, label, number, 0) + coded[number]
        head = struct.pack("<II", 0xCED7230A, len(record))
        content += head + record + b"\0" * (-len(record) % 4)
    (tmp_path / "train.rec").write_bytes(content)
    table = pa.table({"image": coded, "identity": names})
    pq.write_table(table, tmp_path / "one.parquet")
    kinds = ["folder", "flat/list.csv", "one.tar", "shards", "pairs.bin", "train.rec"]
    kinds += ["one.parquet"]
    return [tmp_path / kind for kind in kinds], [pixels for pixels, _ in photos]


def test_every_source_gives_the_same_crops(sources, tmp_path):
    paths, pixels = sources
    for number, path in enumerate(paths):
        listing = find_photos(path)
        assert len({photo.source for photo in listing.photos}) == 4
        for photo, expected in zip(listing.photos, pixels, strict=True):
            assert len(pickle.dumps(photo)) < 600
            np.testing.assert_array_equal(photo.read(MAX_PIXELS), expected)
        workers = 2 if path.name == "train.rec" else 1
        out = tmp_path / f"crops-{number}"
        align(path, out, detector="crops", workers=workers)
        store = CropStore.open(out)
        np.testing.assert_array_equal(store.crops, np.array(pixels)[:, :, 8:104])
        assert store.labels.tolist() == [0, 0, 1, 1]
        # And a store is a source itself.
        again = tmp_path / f"again-{number}"
        align(out, again, detector="crops", workers=1)
        np.testing.assert_array_equal(CropStore.open(again).crops, store.crops)
        assert CropStore.open(again).sources == store.sources


@pytest.mark.parametrize("suffix", ["", ".dat", ".jpg_large"])
def test_photos_in_files_are_recognised_by_content(tmp_path, suffix):
    pixels, content = png(0)
    name = f"Ann/1{suffix}"
    members = [(name, content), ("Ann/2.cfg", b"notes"), ("Bo/3", b"")]
    (tmp_path / "Ann").mkdir()
    (tmp_path / name).write_bytes(content)
    (tmp_path / "Ann" / "2.cfg").write_bytes(b"notes")
    (tmp_path / "list.txt").write_text(f"{name}\n")
    (tmp_path / "list.csv").write_text(f"source,identity\n{name},Ann\n")
    tar(tmp_path / "a.tar", members)
    for source in ("a.tar", "list.txt", "list.csv"):
        [photo] = find_photos(tmp_path / source).photos
        assert (photo.source, photo.identity) == (name, "Ann")
        np.testing.assert_array_equal(photo.read(MAX_PIXELS), pixels)
    assert find_photos(tmp_path / "a.tar").skipped == {".cfg": 1, "": 1}
    (tmp_path / "list.txt").write_text("Ann/2.cfg\n")
    with pytest.raises(DataError, match=r"2\.cfg has no photo's suffix, such as \.jpg"):
        find_photos(tmp_path / "list.txt")


def test_names_of_tar_shards_and_pairs(sources):
    folder, _, one, shards, pairs, *_ = sources[0]
    assert facts(folder)[0] == ("Ann/0.png", "Ann")
    assert facts(one)[0] == ("0.png", "Ann")
    assert facts(shards)[-1] == ("1/3.png", "Bo")
    assert facts(pairs)[:2] == [("000000", "pair-000000"), ("000001", "pair-000000")]


def test_who_is_in_a_tar(tmp_path):
    _, photo = png()
    points = CARD_POINTS.tolist()
    members = [
        ("./a/b/1.png", photo),
        ("a/b/1.json", json.dumps({"identity": "../../Zoë", "landmarks": points})),
        ("a/b/1.cls", "8"),
        ("a.x/2.left.png", photo),
        ("a.x/2.cls", "12\n"),
        ("a.x/3.png", photo),
        ("4.jpg", photo),
        ("4.txt", "/etc/.hidden 王"),
        ("5.png", photo),
        ("5.json", "{"),
        ("6.png", photo),
        ("6.txt", " \n"),
        ("7.png", photo),
        ("7.json", json.dumps({"identity": 3, "landmarks": [[1, 2]]})),
        ("8.png", photo),
        ("8.json", "[" * 100_000),
        ("9.png", photo),
        ("9.txt", b"\xff"),
        ("9.mp4", "film"),
        ("10.png", photo),
        ("10.json", json.dumps({"label": 17, "landmarks": [[10**400] * 2] * 5})),
        ("11.png", photo),
        ("11.json", json.dumps({"label": 17})),
        ("11.cls", "3"),
    ]
    coded = [(n, c.encode() if isinstance(c, str) else c) for n, c in members]
    listing = find_photos(tar(tmp_path / "a.tar", coded))
    photos = {found.source: found for found in listing.photos}
    assert {name: found.identity for name, found in photos.items()} == {
        "a/b/1.png": "../../Zoë",
        "a.x/2.left.png": "12",
        "a.x/3.png": "a.x",
        "4.jpg": "/etc/.hidden 王",
        **dict.fromkeys(["5.png", "6.png", "7.png", "8.png", "9.png"], ""),
        "10.png": "",
        "11.png": "17",
    }
    assert listing.has_landmarks
    np.testing.assert_array_equal(photos["a/b/1.png"].landmarks, CARD_POINTS)
    assert reason_of(photos["5.png"]) == "its .json is damaged"
    assert reason_of(photos["6.png"]) == "its identity is empty"
    assert "not five pairs" in reason_of(photos["7.png"])
    assert reason_of(photos["8.png"]) == "its .json is damaged"
    assert reason_of(photos["10.png"]) == "its landmarks are no numbers"
    assert reason_of(photos["9.png"]) == "its .txt is not UTF-8 text"
    assert listing.skipped == {".mp4": 1}


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", ".."])
def test_members_outside_are_refused(tmp_path, name):
    path = tar(tmp_path / "a.tar", [("a.png", b""), (name, b"")])
    with pytest.raises(DataError, match="is not a path below"):
        find_photos(path)


def test_a_member_named_twice_is_refused(tmp_path):
    path = tar(tmp_path / "a.tar", [("a.png", b"1"), ("./a.png", b"2")])
    with pytest.raises(DataError, match=r"a.png is in the tar file twice"):
        find_photos(path)


def test_links_in_a_tar_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        file.addfile(tarfile.TarInfo("a.png"))
    listing = find_photos(tmp_path / "a.tar")
    assert [photo.source for photo in listing.photos] == ["a.png"]
    assert listing.skipped == {".png": 3}
    assert reason_of(listing.photos[0]) == "byte 2048: empty file"


def test_a_damaged_tar_says_where_and_gives_the_rest(tmp_path):
    _, photo = png(size=(20, 20))
    path = tar(tmp_path / "a.tar", [(f"{n}.png", photo) for n in range(4)])
    whole = path.read_bytes()
    one = 512 + (len(photo) + 511) // 512 * 512
    path.write_bytes(whole[:one] + b"x" * 20 + whole[one + 20 :])
    photos = find_photos(path).photos
    assert [p.source for p in photos] == ["0.png", f"byte-{one}", "2.png", "3.png"]
    assert reason_of(photos[1]) == f"byte {one}: no member begins here"
    path.write_bytes(whole[: 3 * one + 600])
    photos = find_photos(path).photos
    assert [p.source for p in photos] == ["0.png", "1.png", "2.png", "3.png"]
    assert reason_of(photos[3]) == f"byte {3 * one + 512}: the tar file is cut off"
    path.write_bytes(whole[: 3 * one + 100])
    photos = find_photos(path).photos
    assert [p.source for p in photos[:3]] == ["0.png", "1.png", "2.png"]
    assert reason_of(photos[3]) == f"byte {3 * one}: no member begins here"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(FileError, match="no tar file"):
        find_photos(path)


COORDINATES = ",".join(f"{axis}{point}" for point in range(1, 6) for axis in "xy")


def test_landmarks_of_a_csv_take_the_place_of_the_network(tmp_path):
    pixels, photo = png()
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(photo)
    points = ",".join(str(value) for value in np.add(CARD_POINTS, (8, 0)).ravel())
    (tmp_path / "list.csv").write_text(
        f"source,identity,{COORDINATES}\na.png,A,{points}\nsub/../b.png,B{',' * 10}\n"
    )
    with pytest.raises(DataError, match=r"line 3: 'sub/../b.png' is not a path below"):
        find_photos(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text(
        f"\ufeffsource,identity,{COORDINATES}\na.png,A,{points}\nb.png,B{',' * 10}\n"
    )
    align(tmp_path / "list.csv", tmp_path / "crops", workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert store.settings["detector"] == "landmarks"
    assert np.abs(store.crops[0].astype(int) - pixels[:, 8:104]).max() <= 1
    assert store.failures == {"b.png": "no landmarks are listed"}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("source\na.png", "with the columns source, identity"),
        ("source,identity,x1\na.png,A,1", "expected the columns y1, x2"),
        (
            f"source,identity,{COORDINATES}\na.png,A,1,2,3,4,5,6,7,8,9,x",
            "line 2, column y5: expected a finite number, got 'x'",
        ),
        (
            f"source,identity,{COORDINATES}\na.png,A,1,2,3,4,inf,6,7,8,9,1",
            "line 2, column x3: expected a finite number, got 'inf'",
        ),
        ("source,identity\na.png", "line 2: expected 2 values"),
        ("source,identity\na.png,A,B", "line 2: expected 2 values"),
        (
            "source,identity\na.png, ",
            "line 2, column identity: expected a name",
        ),
        ("source,identity\n../a.png,A", "line 2: '../a.png' is not a path below"),
        ("source,identity\n/a.png,A", "line 2: '/a.png' is not a path below"),
        ("source,identity\n,A", "line 2: '' is not a path below"),
        ("source,identity\na.txt,A", "line 2: a.txt has no photo's suffix"),
        ("source,identity\na.png,A\n./a.png,A", "line 3: a.png is listed twice"),
    ],
)
def test_lines_of_a_csv_that_are_refused(tmp_path, lines, why):
    (tmp_path / "list.csv").write_text(lines)
    with pytest.raises(DataError, match=why):
        find_photos(tmp_path / "list.csv")


def test_identities_of_any_text_stay_labels(tmp_path):
    """Slashes, dots and any script: no folder is made of them."""
    _, photo = png(size=(112, 96))
    names = ["../up", "/root", ".hidden", "Ünï cödé", "王", "a\nb", 'q"uote', "c:\\d"]
    (tmp_path / "a").mkdir()
    members = []
    for number, name in enumerate(names):
        members += [(f"{number}.png", photo), (f"{number}.txt", name.encode())]
    tar(tmp_path / "a" / "a.tar", members)
    align(tmp_path / "a", tmp_path / "crops", detector="crops", workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert [store.identities[label] for label in store.labels] == names
    assert sorted(os.listdir(tmp_path)) == ["a", "crops"]


def test_a_photo_that_would_expand_is_refused_in_every_source(tmp_path):
    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", bytes(100))
    tar(tmp_path / "a.tar", [("a.png", bomb)])
    record = struct.pack("<IfQQ", 0, 1.0, 0, 0) + bomb
    record += b"\0" * (-len(record) % 4)
    (tmp_path / "a.rec").write_bytes(
        struct.pack("<II", 0xCED7230A, len(record)) + record
    )
    (tmp_path / "a.bin").write_bytes(pickle.dumps(([bomb, bomb], [True])))
    for name, where in (
        ("a.tar", "byte 512"),
        ("a.rec", "byte 0"),
        ("a.bin", "photo 0"),
    ):
        reason = reason_of(find_photos(tmp_path / name).photos[0])
        assert reason.startswith(f"{where}: too large: ")


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileError, match="no such file or folder"):
        find_photos(tmp_path / "none.rec")
    with pytest.raises(FileError, match="no photos in"):
        find_photos(tar(tmp_path / "a.tar", []))
    (tmp_path / "a.csv").write_text("source,identity\n")
    with pytest.raises(FileError, match="no photos in"):
        find_photos(tmp_path / "a.csv")


def test_a_single_photo_is_a_source(tmp_path):
    pixels, content = png(3)
    (tmp_path / "Ann Lee.PNG").write_bytes(content)
    [photo] = find_photos(str(tmp_path / "Ann Lee.PNG")).photos
    assert (photo.source, photo.identity) == ("Ann Lee.PNG", "Ann Lee")
    np.testing.assert_array_equal(photo.read(MAX_PIXELS), pixels)


def test_a_turned_jpeg_in_a_bin_is_one_photo_for_every_reader(tmp_path):
    """Aligning and evaluating a pair set decode its photos alike: upright."""
    upright = np.full((112, 112, 3), 40, np.uint8)
    upright[:30, :40] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # Turned by 180 degrees.
    file = io.BytesIO()
    turned = Image.fromarray(np.ascontiguousarray(upright[::-1, ::-1]))
    turned.save(file, "JPEG", quality=95, exif=exif)
    path = tmp_path / "turned.bin"
    write_bin(path, [file.getvalue()] * 40, [True, False] * 10)
    align(path, tmp_path / "crops", detector="crops", workers=1)
    stored = CropStore.open(tmp_path / "crops").crops[0]
    judged = read_bin(path).decode(0, 1).crops[0]
    np.testing.assert_array_equal(stored, judged)
    difference = np.abs(judged.astype(int) - upright[:, 8:104])
    assert difference.mean() < 3


def test_a_source_without_photos_says_what_it_was_taken_for(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"no photos in .*, taken for a folder of pho"):
        find_photos(tmp_path / "empty")
    (tmp_path / "list.txt").write_text("# nobody\n")
    with pytest.raises(FileError, match="taken for a list of photos"):
        find_photos(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.idx", "give the .rec"),
        ("x.NPY", "embeddings are an .npz"),
        ("m.safetensors", "it is a model file"),
        ("m.onnx", "it is a model file"),
    ],
)
def test_what_is_taken_for_photos_by_mistake(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_bytes(b"0\t0\n")
    with pytest.raises(FileError, match=words):
        find_photos(tmp_path / name)
