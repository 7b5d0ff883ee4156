import csv
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.data.store.crop_store import CropStore, crop_source, photo_of
from facever.data.store.writer import CropWriter
from facever.errors import DataError, FileError, MismatchError
from facever.faces.landmark_fit import residuals

SETTINGS = {"note": [[1.5, 2.0]], "face": "largest"}
LISTING = [("B/1.jpg", "B"), ("A/1.jpg", "A"), ("A/2.jpg", "A"), ("C/1.jpg", "C")]
FILES = ["checksums.npy", "crops.csv", "crops.npy", "failures.csv", "store.json"]


def crop_of(source, face=0):
    """Pixels that only this face of this photo has."""
    rng = np.random.default_rng([*source.encode(), face])
    return rng.integers(0, 256, (112, 96, 3), dtype=np.uint8)


def landmarks_of(source, face=0):
    return np.random.default_rng([*source.encode(), face]).normal(size=(5, 2)) * 100


def add(writer, source, num_faces=1):
    faces = range(num_faces)
    writer.add(
        source,
        np.stack([crop_of(source, face) for face in faces]),
        np.stack([landmarks_of(source, face) for face in faces]),
        np.array([0.5 + face / 10 for face in faces]),
    )


def write(folder, listing=LISTING, num_faces=1):
    with CropWriter(folder, SETTINGS, listing) as writer:
        for source in writer.missing:
            add(writer, source, num_faces)
        return writer.finish()


def check(store):
    """Every crop and record is that of its source."""
    faces = {}
    for row, source in enumerate(store.sources):
        photo = photo_of(source)
        face = faces[photo] = faces.get(photo, -1) + 1
        assert source == crop_source(photo, face)
        np.testing.assert_array_equal(store.crops[row], crop_of(photo, face))
        np.testing.assert_array_equal(store.landmarks[row], landmarks_of(photo, face))
        assert store.identities[store.labels[row]] == photo.split("/")[0]
        assert store.scores[row] == 0.5 + face / 10


def open_or_none(folder):
    try:
        return CropStore.open(folder)
    except FileError:
        return None


def read_files(folder):
    assert sorted(os.listdir(folder)) == FILES
    return {name: (folder / name).read_bytes() for name in FILES}


def test_round_trip(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        assert writer.missing == ["B/1.jpg", "A/1.jpg", "A/2.jpg", "C/1.jpg"]
        # Another order than the list's.
        add(writer, "A/2.jpg")
        writer.fail("C/1.jpg", "no face found, sorry")
        add(writer, "A/1.jpg", num_faces=2)
        add(writer, "B/1.jpg")
        writer.finish()
    store = CropStore.open(tmp_path / "s")
    assert store.sources == ["B/1.jpg", "A/1.jpg", "A/1.jpg#2", "A/2.jpg"]
    # C has no crop, so it has no label.
    assert store.identities == ["A", "B"]
    assert store.labels.tolist() == [1, 0, 0, 0]
    assert store.failures == {"C/1.jpg": "no face found, sorry"}
    assert store.settings == SETTINGS
    assert len(store) == 4
    assert isinstance(store.crops, np.memmap)
    check(store)


def test_the_files_are_what_any_tool_reads(tmp_path):
    write(tmp_path / "s", num_faces=2)
    crops = np.load(tmp_path / "s" / "crops.npy")
    assert crops.shape == (8, 112, 96, 3)
    with (tmp_path / "s" / "crops.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["row"] for record in records] == [str(row) for row in range(8)]
    assert records[3]["source"] == "A/1.jpg#2"
    assert records[3]["identity"] == "A"
    assert records[3]["label"] == "0"
    assert float(records[3]["y2"]) == landmarks_of("A/1.jpg", 1)[1, 1]
    about = json.loads((tmp_path / "s" / "store.json").read_text())
    assert about["num_crops"] == 8
    assert sorted(os.listdir(tmp_path / "s")) == FILES


def test_a_store_without_a_crop(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING[:1]) as writer:
        writer.fail("B/1.jpg", "empty file")
        store = writer.finish()
    assert len(store) == 0
    assert store.crops.shape == (0, 112, 96, 3)
    assert store.landmarks.shape == (0, 5, 2)
    assert store.identities == []


def test_odd_names_survive(tmp_path):
    sources = ['a,"b"/1.jpg', "ü\n/x.jpg", "\r/#3.jpg", os.fsdecode(b"\xff/1.jpg")]
    listing = [(source, source.split("/")[0]) for source in sources]
    with CropWriter(tmp_path / "s", SETTINGS, listing) as writer:
        for source in sources[:3]:
            writer.add(
                source,
                np.zeros((1, 112, 96, 3), np.uint8),
                np.full((1, 5, 2), np.nan),
                np.array([np.nan]),
            )
        writer.fail(sources[3], "odd, too")
        writer.finish()
    store = CropStore.open(tmp_path / "s")
    assert store.sources == sources[:3]
    assert store.failures == {sources[3]: "odd, too"}
    assert np.isnan(store.landmarks).all()
    with CropWriter(tmp_path / "s", SETTINGS, listing) as writer:
        assert writer.missing == []


def test_a_finished_store_is_left_alone(tmp_path):
    write(tmp_path / "s")
    before = read_files(tmp_path / "s")
    stamps = [os.stat(tmp_path / "s" / name).st_mtime_ns for name in FILES]
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        assert writer.missing == []
        writer.finish()
    assert read_files(tmp_path / "s") == before
    assert stamps == [os.stat(tmp_path / "s" / n).st_mtime_ns for n in FILES]


def test_new_photos_are_inserted_where_the_list_has_them(tmp_path):
    write(tmp_path / "s", LISTING[1:3], num_faces=2)
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        assert writer.missing == ["B/1.jpg", "C/1.jpg"]
        for source in writer.missing:
            add(writer, source, 2)
        writer.finish()
    write(tmp_path / "whole", num_faces=2)
    assert read_files(tmp_path / "s") == read_files(tmp_path / "whole")


def test_a_part_of_the_list_may_be_left_for_later(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        add(writer, "A/2.jpg")
        assert writer.finish().sources == ["A/2.jpg"]
    store = write(tmp_path / "s")
    assert store.sources == [source for source, _ in LISTING]
    check(store)


def test_another_order_or_identity_in_the_list_is_followed(tmp_path):
    write(tmp_path / "s")
    listing = [("C/1.jpg", "Z"), *LISTING[:3]]
    with CropWriter(tmp_path / "s", SETTINGS, listing) as writer:
        assert writer.missing == []
        store = writer.finish()
    assert store.sources == ["C/1.jpg", "B/1.jpg", "A/1.jpg", "A/2.jpg"]
    assert store.identities == ["A", "B", "Z"]
    np.testing.assert_array_equal(store.crops[0], crop_of("C/1.jpg"))


def test_unfinished_work_is_kept(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        add(writer, "B/1.jpg")
        writer.fail("A/1.jpg", "why")
        writer.commit()
        add(writer, "A/2.jpg")  # Never committed.
        del writer._partial._lines[:]
    with pytest.raises(FileError, match="not a finished crop store: run the same"):
        CropStore.open(tmp_path / "s")
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        assert writer.missing == ["A/2.jpg", "C/1.jpg"]
        add(writer, "A/2.jpg")
        add(writer, "C/1.jpg")
        store = writer.finish()
    check(store)
    assert store.failures == {"A/1.jpg": "why"}


@settings(max_examples=60, deadline=None)
@given(
    crop_bytes=st.integers(0, 128 + 3 * 112 * 96 * 3),
    journal_part=st.floats(0, 1),
    junk=st.binary(max_size=30),
)
def test_torn_ends_are_cut(tmp_path_factory, crop_bytes, journal_part, junk):
    folder = tmp_path_factory.mktemp("torn") / "s"
    listing = LISTING[:3]
    with CropWriter(folder, SETTINGS, listing) as writer:
        for source in writer.missing:
            add(writer, source)
            writer.commit()
    os.truncate(folder / ".partial" / "grown.npy", crop_bytes)
    journal = folder / ".partial" / "journal.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[: int(len(content) * journal_part)] + junk)
    with CropWriter(folder, SETTINGS, listing) as writer:
        missing = writer.missing
        if missing:
            add(writer, missing[0])
            writer.commit()
    # What was added behind the cut is found again.
    with CropWriter(folder, SETTINGS, listing) as writer:
        assert writer.missing == missing[1:]
    store = write(folder, listing)
    assert store.sources == [source for source, _ in listing]
    check(store)


def write_and_die(folder, step):
    """Write in a child that ends, as if killed, before or after its step-th rename."""
    replace, remove_tree = os.replace, shutil.rmtree
    num_steps = 0

    def die_at_step():
        nonlocal num_steps
        num_steps += 1
        if num_steps == step:
            os._exit(9)

    def counted_replace(*paths):
        die_at_step()
        replace(*paths)
        die_at_step()

    def counted_remove_tree(path):
        os.remove(path / "journal.jsonl")
        die_at_step()
        remove_tree(path)

    child = os.fork()
    if child == 0:
        os.replace, shutil.rmtree = counted_replace, counted_remove_tree
        write(folder, num_faces=2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("extend", "num_steps"), [(False, 15), (True, 13)])
def test_a_kill_at_any_step_of_finishing_is_made_good(tmp_path, extend, num_steps):
    write(tmp_path / "whole", num_faces=2)
    expected = read_files(tmp_path / "whole")
    for step in range(1, num_steps + 2):
        folder = tmp_path / f"s{step}"
        if extend:
            write(folder, LISTING[1:3], num_faces=2)
        # The last step is beyond the end: nothing is killed.
        assert write_and_die(folder, step) == (9 if step <= num_steps else 0)
        found = open_or_none(folder)
        assert found is None or len(found) in (4, 8)
        if found:
            check(found)
        with CropWriter(folder, SETTINGS, LISTING) as writer:
            assert writer.missing == []
        write(folder, num_faces=2)
        assert read_files(folder) == expected


def strip_columns(path, separator, num_kept):
    lines = path.read_text().splitlines()
    kept = [separator.join(line.split(separator)[:num_kept]) for line in lines]
    path.write_text("\n".join(kept) + "\n")


def test_a_store_of_before_residuals_were_kept(tmp_path):
    """It is read, and goes on to be written as one of today."""
    write(tmp_path / "s", LISTING[1:3])
    strip_columns(tmp_path / "s" / "crops.csv", ",", 15)
    store = CropStore.open(tmp_path / "s")
    check(store)
    np.testing.assert_array_equal(store.residuals, residuals(store.landmarks).round(4))
    assert np.isnan(store.num_faces).all()
    assert np.isnan(store.by_rule).all()
    write(tmp_path / "s")
    write(tmp_path / "t")
    assert read_files(tmp_path / "s") == read_files(tmp_path / "t")


def test_unfinished_work_of_before_residuals_were_kept_is_done_again(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        for source in writer.missing[:2]:
            add(writer, source)
            writer.commit()
    journal = tmp_path / "s" / ".partial" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[2]["faces"] = [face[:11] for face in lines[2]["faces"]]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        assert writer.missing == ["A/1.jpg", "A/2.jpg", "C/1.jpg"]
    write(tmp_path / "s")
    write(tmp_path / "t")
    assert read_files(tmp_path / "s") == read_files(tmp_path / "t")


def test_other_settings_are_refused(tmp_path):
    write(tmp_path / "s")
    other = {**SETTINGS, "face": "all"}
    message = "face 'largest' there, 'all' now.*write into a new folder"
    with pytest.raises(MismatchError, match=message):
        CropWriter(tmp_path / "s", other, LISTING)
    with CropWriter(tmp_path / "t", SETTINGS, LISTING) as writer:
        add(writer, "B/1.jpg")
        writer.commit()
    with pytest.raises(MismatchError, match=message):
        CropWriter(tmp_path / "t", other, LISTING)
    assert len(write(tmp_path / "t")) == 4


def test_photos_that_are_no_longer_listed_are_refused(tmp_path):
    write(tmp_path / "s")
    with pytest.raises(DataError, match=r"1 photos that are not.*B/1.jpg"):
        CropWriter(tmp_path / "s", SETTINGS, LISTING[1:])
    with pytest.raises(DataError, match="names a photo twice"):
        CropWriter(tmp_path / "t", SETTINGS, [*LISTING, LISTING[0]])


def test_two_writers_at_once_are_refused(tmp_path):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING):
        with pytest.raises(FileError, match="another process is writing"):
            CropWriter(tmp_path / "s", SETTINGS, LISTING)
    CropWriter(tmp_path / "s", SETTINGS, LISTING).close()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(FileError, match=r"not a crop store \(it holds holiday.txt\)"):
        CropWriter(tmp_path, SETTINGS, LISTING)
    with pytest.raises(FileError, match=r"cannot write .*holiday.txt"):
        CropWriter(tmp_path / "holiday.txt", SETTINGS, LISTING)


def test_a_full_disk_is_one_clear_error_and_work_goes_on_later(tmp_path, monkeypatch):
    with CropWriter(tmp_path / "s", SETTINGS, LISTING) as writer:
        add(writer, "B/1.jpg")
        writer.commit()

        def full(handle):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("facever.data.store.unfinished.os.fsync", full)
        add(writer, "A/1.jpg")
        with pytest.raises(FileError, match=r"cannot write .*No space left"):
            writer.commit()
        monkeypatch.undo()
    store = write(tmp_path / "s")
    check(store)
    assert len(store) == 4


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("store.json", b"{", "store.json is damaged"),
        ("store.json", b"[]", "store.json is damaged"),
        ("store.json", b'{"settings": {}, "num_crops": 4}', "fingerprint"),
        ("crops.npy", b"", "crops.npy cannot be read"),
        ("crops.npy", b"\x93NUMPY\x01", "crops.npy cannot be read"),
        ("crops.csv", b"a,b\n", "expected the columns row,identity"),
        ("failures.csv", b"source,reason\nx\n", "line 2: expected 2 values .*, got 1"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, why):
    write(tmp_path / "s")
    (tmp_path / "s" / name).write_bytes(content)
    with pytest.raises((FileError, DataError), match=why):
        CropStore.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("3,C,2", "3,C,x", "invalid value 'x'"),
        ("3,C,2", "3,C,", "invalid value ''"),
        ("B,1,B", "B,1,B,B", "Expected 21 columns, got 22"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, old, new, why):
    write(tmp_path / "s")
    path = tmp_path / "s" / "crops.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FileError, match=f"crops.csv is damaged: .*{why}"):
        CropStore.open(tmp_path / "s")


@pytest.mark.parametrize("bad", ["high", ""])
def test_numbers_are_read_when_asked_for(tmp_path, bad):
    write(tmp_path / "s")
    path = tmp_path / "s" / "crops.csv"
    path.write_text(path.read_text().replace(",0.5,", f",{bad},"))
    store = CropStore.open(tmp_path / "s")
    with pytest.raises(FileError, match=f"crops.csv is damaged: .*'{bad}'"):
        _ = store.scores


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("A,0,A/1.jpg", "A,1,A/1.jpg", "labels must number"),
        ("A/2.jpg", "A/1.jpg", "sources be unique"),
    ],
)
def test_contradictions_are_refused(tmp_path, old, new, why):
    write(tmp_path / "s")
    path = tmp_path / "s" / "crops.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=why):
        CropStore.open(tmp_path / "s")


def test_missing_crops_or_files_are_refused(tmp_path):
    write(tmp_path / "s")
    np.save(tmp_path / "s" / "crops.npy", np.zeros((3, 112, 96, 3), np.uint8))
    with pytest.raises(DataError, match=r"holds 3 crops, crops.csv 4"):
        CropStore.open(tmp_path / "s")
    np.save(tmp_path / "s" / "crops.npy", np.zeros((4, 112, 112, 3), np.uint8))
    with pytest.raises(FileError, match=r"expected uint8 crops.*112, 112"):
        CropStore.open(tmp_path / "s")
    (tmp_path / "s" / "failures.csv").unlink()
    np.save(tmp_path / "s" / "crops.npy", np.zeros((4, 112, 96, 3), np.uint8))
    with pytest.raises(FileError, match=r"cannot read .*failures.csv: No such file"):
        CropStore.open(tmp_path / "s")


def test_a_pickle_is_never_loaded(tmp_path):
    write(tmp_path / "s")
    array = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "s" / "crops.npy", array, allow_pickle=True)
    with pytest.raises(FileError, match="cannot be read"):
        CropStore.open(tmp_path / "s")


def test_folders_that_are_no_store(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        CropStore.open(tmp_path / "missing")
    with pytest.raises(FileError, match="make one with facever align"):
        CropStore.open(tmp_path)
