import io
import pickle
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facever.data.recordio.photos import RecordPart, list_record_photos
from facever.errors import DataError, FileError, PhotoError
from facever.faces.photo_source import NoPhoto

MAX_PIXELS = 10**6
MAGIC = 0xCED7230A


def jpeg(number):
    """A small photo of one colour that tells its number."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (10 * number, 40, 255 - 20 * number)).save(file, "JPEG")
    return file.getvalue()


def part(content):
    head = struct.pack("<II", MAGIC, len(content))
    return head + content + b"\0" * (-len(content) % 4)


def header(key, *labels, scalar=0.0, second=0):
    flat = struct.pack(f"<{len(labels)}f", *labels)
    return struct.pack("<IfQQ", len(labels), scalar, key, second) + flat


def layout(labels, photos=None):
    """The records of an InsightFace file, by key, in their order in the file."""
    photos = photos or [jpeg(number) for number in range(len(labels))]
    records = {
        key: header(key, label, 1) + photo
        for key, (label, photo) in enumerate(zip(labels, photos, strict=True), start=1)
    }
    starts = [key for key in records if key == 1 or labels[key - 1] != labels[key - 2]]
    first = len(labels) + 1
    records[0] = header(0, first, first + len(starts))
    for number, start in enumerate(starts):
        stop = [*starts, first][number + 1]
        records[first + number] = header(first + number, start, stop)
    return records


def write(path, records, with_index=True):
    content, lines = b"", []
    for key, record in records.items():
        lines.append(f"{key}\t{len(content)}\n")
        content += part(record)
    path.write_bytes(content)
    if with_index:
        path.with_suffix(".idx").write_text("".join(lines))
    return content


def listed(path):
    """What can be read, and the reasons for the rest."""
    found = {photo.source: photo for photo in list_record_photos(path).photos}
    good = {
        name: photo.identity
        for name, photo in found.items()
        if isinstance(photo.part, RecordPart)
    }
    reasons = {
        name: photo.part.reason
        for name, photo in found.items()
        if isinstance(photo.part, NoPhoto)
    }
    assert len(good) + len(reasons) == len(found)
    return good, reasons


@pytest.mark.parametrize("first_key", [1, 0])
def test_photos_identities_and_label_gaps(tmp_path, first_key):
    path = tmp_path / "train.rec"
    # Without an index records are counted from 0, as MXNet's rec2idx does.
    write(path, layout([3, 3, 3, 10, 10, 4096]), with_index=first_key == 1)
    good, reasons = listed(path)
    assert reasons == {}
    identities = ["00000003"] * 3 + ["00000010"] * 2 + ["00004096"]
    keys = [f"{key:08d}" for key in range(first_key, first_key + 6)]
    assert good == dict(zip(keys, identities, strict=True))
    photos = pickle.loads(pickle.dumps(list_record_photos(path).photos))
    assert len(pickle.dumps(photos[0])) < 500
    for number, photo in enumerate(photos):
        expected = np.asarray(Image.open(io.BytesIO(jpeg(number))).convert("RGB"))
        difference = photo.read(MAX_PIXELS).astype(int) - expected
        assert np.abs(difference).max() <= 2


def test_a_shuffled_file_has_labels_only(tmp_path):
    path = tmp_path / "train.rec"
    labels = [5, 2, 5, 0]
    records = {
        key: header(key, scalar=float(label)) + jpeg(key)
        for key, label in enumerate(labels)
    }
    write(path, records, with_index=False)
    good, reasons = listed(path)
    assert reasons == {}
    assert list(good.values()) == ["00000005", "00000002", "00000005", "00000000"]
    assert list(good) == [f"{key:08d}" for key in range(4)]


def test_a_file_that_leaves_keys_empty(tmp_path):
    path = tmp_path / "train.rec"
    records = {key: header(0, scalar=1.0) + jpeg(key) for key in range(3)}
    write(path, records)
    assert list(listed(path)[0]) == ["00000000", "00000001", "00000002"]
    path.with_suffix(".idx").unlink()
    good, reasons = listed(path)
    assert reasons == {}
    assert list(good) == ["00000000", "00000001", "00000002"]


LABELS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 7]


def png(number):
    """A photo of one grey."""
    file = io.BytesIO()
    Image.new("L", (2, 2), number).save(file, "PNG")
    return file.getvalue()


# Thousands of short runs: too many to check the types of each.
@pytest.mark.usefixtures("types_unchecked")
def test_every_flipped_byte_costs_its_own_photo_at_most(tmp_path):
    """Whatever happens to a record, all others are read as they were.

    The format has no checksum: another label or another pixel is not noticed.
    """
    path = tmp_path / "train.rec"
    labels = [0, 0, 1, 7]
    records = layout(labels, [png(number) for number in range(len(labels))])
    whole = write(path, records)
    owners = [key for key, record in records.items() for _ in part(record)]
    starts = {key: owners.index(key) for key in records}
    truth = read_photos(path)
    assert len(truth) == len(labels)
    for at, key in enumerate(owners):
        name, inside = f"{key:08d}", at - starts[key]
        for flip in (1, 255):
            broken = bytearray(whole)
            broken[at] ^= flip
            path.write_bytes(broken)
            found = read_photos(path)
            framing, label = inside < 8 + 4, 8 + 24 <= inside < 8 + 28
            if key == 0 and label:
                # Where the photos end, which is said if it leaves photos out.
                shown = bool(list_record_photos(path).notes)
                assert shown == (len(found) < len(truth)), (at, inside, flip)
                assert found.items() <= truth.items()
                continue
            own, expected = found.pop(name, None), dict(truth)
            true = expected.pop(name, None)
            assert found == expected, (at, key, inside, flip)
            if own is not None and true is not None and not label:
                assert own[0] == true[0], (at, key, inside, flip)
            if framing and key in range(1, 5) and own is not None:
                assert own == true, (at, key, inside, flip)


def read_photos(path):
    """Identity and pixels of every photo that can be read, by name."""
    found = {}
    for photo in list_record_photos(path).photos:
        with suppress(PhotoError):
            found[photo.source] = photo.identity, photo.read(MAX_PIXELS).tobytes()
    return found


def rec2idx(content):
    """The index that MXNet's tool makes: records are counted from 0."""
    places, at = {}, 0
    while at < len(content):
        places[len(places)] = at
        (length,) = struct.unpack_from("<I", content, at + 4)
        at += 8 + length + -length % 4
    return places


def as_insightface(path):
    """Label and photo by key, as MXFaceDataset reads them: seek, unpack, imdecode."""
    content = path.read_bytes()
    index = path.with_suffix(".idx")
    if index.exists():
        lines = index.read_text().split("\n")
        places = dict(map(int, line.split("\t")) for line in lines if line)
    else:
        places = rec2idx(content)

    def unpack(key):
        magic, size = struct.unpack_from("<II", content, places[key])
        assert magic == 0xCED7230A
        record = content[places[key] + 8 :][: size % 2**29]
        flag, label = struct.unpack_from("<If", record)
        photo = record[24 + 4 * flag :]
        return flag, struct.unpack_from(f"<{flag}f", record, 24) or (label,), photo

    flag, labels, photo = unpack(0) if 0 in places else (0, (), b"photo")
    keys = places
    if not index.exists():
        # Nothing says which key the photos end before.
        keys = [key for key in places if unpack(key)[2]]
    elif flag and not photo:
        # Only a record 0 that is no photo itself describes others.
        keys = range(1, int(labels[0]))
    return {key: (int(unpack(key)[1][0]), unpack(key)[2]) for key in keys}


photo_records = st.lists(
    st.tuples(
        st.integers(0, 9),  # The class.
        st.lists(st.sampled_from([0.0, 1.0, 0.25, -3.0]), max_size=3),
        st.booleans(),  # Whether a lone label stands in the header.
        # What the header says is the key. A magic number in it would be cut out, which
        # part() does not.
        st.integers(0, 2**64 - 1).filter(lambda key: MAGIC not in divmod(key, 2**32)),
    ),
    min_size=1,
    max_size=9,
)


@given(
    records=photo_records,
    shown=st.integers(0, 9),
    has_record_0=st.booleans(),
    order=st.randoms(use_true_random=False),
    index_is=st.sampled_from(["whole", "listing one twice", "short of one", "gone"]),
)
def test_files_are_read_as_insightface_reads_them(
    tmp_path_factory, records, shown, has_record_0, order, index_is
):
    path = tmp_path_factory.mktemp("forms") / "train.rec"
    content = {}
    for key, (label, more, flat, own_key) in enumerate(records, start=has_record_0):
        alone = header(own_key, scalar=float(label))
        several = header(own_key, label, *more, scalar=5.0)
        content[key] = (alone if flat and not more else several) + png(key)
    num_shown = min(shown, len(records)) if has_record_0 else len(records)
    if has_record_0:
        content[0] = header(7, num_shown + 1, num_shown + 4)
    keys = list(content)
    order.shuffle(keys)
    write(path, {key: content[key] for key in keys})
    index = path.with_suffix(".idx")
    unlisted = index_is in ("short of one", "gone")
    if index_is == "listing one twice" and not has_record_0:
        line = index.read_text().split("\n")[0].split("\t")
        index.write_text(f"{index.read_text()}99\t{line[1]}\n")
    if unlisted:
        with path.open("ab") as file:
            file.write(part(header(0, scalar=1.0) + png(77)))
    if index_is == "gone":
        index.unlink()
    listing = list_record_photos(path)
    found = {
        int(photo.source): (int(photo.identity), photo.part.read(path))
        for photo in listing.photos
    }
    assert found == as_insightface(path)
    counts = [
        note.split()[0] for note in listing.notes if "photos are left out" in note
    ]
    if index_is == "gone":
        assert len(found) == len(records) + 1
        assert counts == []
        return
    left_out = [len(records) - num_shown, int(unlisted)]
    assert counts == [str(count) for count in left_out if count]


def renumbered(records, kept):
    """Photos under new keys from 1 on, whose headers keep the old ones."""
    photos = [record for key, record in records.items() if key in kept]
    return dict(enumerate(photos, start=1))


def people_change(kind):
    """What people do to a file, with every photo's label, in its order."""
    labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 7]
    records = layout(labels)
    if kind == "a photo is taken out and the others get new keys":
        left = [key for key in range(1, 11) if key != 5]
        changed = renumbered(records, left)
        # The records of the identities are copied as they were.
        rest = {key: record for key, record in records.items() if key not in range(11)}
        return {**changed, 0: records[0], **rest}, [labels[key - 1] for key in left]
    if kind == "a person is taken out and the records of the identities written anew":
        left = [1, 2, 3, 8, 9, 10]
        rest = {0: header(0, 7, 10)}
        rest |= {7: header(7, 1, 4), 8: header(8, 4, 6), 9: header(9, 6, 7)}
        return {**renumbered(records, left), **rest}, [0, 0, 0, 2, 2, 7]
    if kind == "records are copied behind those of the identities":
        # As InsightFace's dataset: record 0 ends the photos.
        return {**records, 14: header(14, 5, 1) + jpeg(3)}, labels
    if kind == "two files are joined":
        other = layout([0, 0, 1], [jpeg(number) for number in (10, 11, 12)])
        joined = [records[key] for key in range(1, 11)]
        joined += [header(key, 8 + key // 3, 1) + other[key][32:] for key in (1, 2, 3)]
        return dict(enumerate(joined, start=1)), [*labels, 8, 8, 9]
    if kind == "photos with one label among those with two":
        for key in (2, 9, 10):
            records[key] = header(key, scalar=labels[key - 1]) + records[key][32:]
        return records, labels
    if kind == "labels of any number and meaning behind the first":
        for key in (2, 9, 10):
            label = labels[key - 1]
            more = header(key, label, 0.25, -1, 300, scalar=5.0)
            records[key] = more + records[key][32:]
        return records, labels
    assert kind == "one label for the photos of several identities"
    for key in (6, 7, 10):
        records[key] = header(key, 1, 0) + records[key][32:]
    return records, [0, 0, 0, 1, 1, 1, 1, 2, 2, 1]


@pytest.mark.parametrize(
    "kind",
    [
        "a photo is taken out and the others get new keys",
        "a person is taken out and the records of the identities written anew",
        "records are copied behind those of the identities",
        "two files are joined",
        "photos with one label among those with two",
        "labels of any number and meaning behind the first",
        "one label for the photos of several identities",
    ],
)
def test_files_that_people_changed_are_read_whole(tmp_path, kind):
    path = tmp_path / "train.rec"
    records, labels = people_change(kind)
    write(path, records)
    good, reasons = listed(path)
    assert reasons == {}
    assert {int(name): int(identity) for name, identity in good.items()} == dict(
        enumerate(labels, start=1)
    )
    for photo in list_record_photos(path).photos:
        assert photo.read(MAX_PIXELS).shape == (8, 8, 3)


def test_an_unsorted_file_is_read_by_its_labels(tmp_path):
    path = tmp_path / "train.rec"
    labels = [0, 1, 0, 2, 1, 2]
    write(path, layout(labels))
    good, reasons = listed(path)
    assert reasons == {}
    assert [int(identity) for identity in good.values()] == labels


@pytest.mark.parametrize("num_photos", [9, 8])
def test_limits_that_a_float_has_rounded(tmp_path, num_photos):
    """As in Glint360K, whose 17 million photos are more than such a float counts."""
    path = tmp_path / "train.rec"
    base = 2**24 + 1
    records, labels = {}, [1, 1, 1, 2, 2, 2, 3, 3, 3][:num_photos]
    for number, label in enumerate(labels):
        key = base + number
        records[key] = header(key, label, 1) + jpeg(number)
    first = base + len(labels)
    records[0] = header(0, first, first + 3)
    for number in range(3):
        start = base + 3 * number
        records[first + number] = header(first + number, start, start + 3)
    assert struct.unpack("<f", struct.pack("<f", base + 3))[0] == base + 3
    assert struct.unpack("<f", struct.pack("<f", base + 6))[0] != base + 6
    write(path, records)
    good, _ = listed(path)
    assert [int(identity) for identity in good.values()] == labels
    assert list_record_photos(path).notes == ()


def test_damage_is_named_by_byte_and_key(tmp_path):
    path = tmp_path / "train.rec"
    records = layout(LABELS)
    whole = bytearray(write(path, records))
    second = len(part(records[1]))
    whole[second] ^= 1
    path.write_bytes(whole)
    good, reasons = listed(path)
    assert len(good) == len(LABELS) - 1
    assert reasons == {
        "00000002": f"byte {second}: expected the magic number of a record"
    }
    path.with_suffix(".idx").unlink()
    # Counted with the others, so that the names of these stay.
    assert list(listed(path)[1]) == ["00000001"]
    assert "00000009" in listed(path)[0]


def test_the_index_of_a_file_that_was_cut(tmp_path):
    path = tmp_path / "train.rec"
    records = layout(LABELS)
    whole = write(path, records)
    stop = len(b"".join(part(records[key]) for key in (1, 2, 3)))
    path.write_bytes(whole[:stop])
    good, reasons = listed(path)
    assert list(good) == ["00000001", "00000002", "00000003"]
    assert len(reasons) == len(records) - 3
    assert reasons["00000004"] == f"byte {stop}: the file ends before it"
    # Where record 0 came first, it says which of those that are gone were photos.
    head = {0: records[0]}
    whole = write(path, {**head, **records})
    path.write_bytes(whole[: stop + len(part(records[0]))])
    good, reasons = listed(path)
    assert list(good) == ["00000001", "00000002", "00000003"]
    assert [int(name) for name in reasons] == list(range(4, len(LABELS) + 1))


@pytest.mark.parametrize(
    "line",
    ["1", "x\t2", "1\t-2", "1\t2\t3", "0\t4", "1\t" + "9" * 17],
)
def test_an_index_that_is_none(tmp_path, line):
    path = tmp_path / "train.rec"
    write(path, {0: header(0, scalar=1.0) + jpeg(0)})
    path.with_suffix(".idx").write_text(f"0\t0\n{line}\n")
    with pytest.raises(DataError, match="line 2"):
        list_record_photos(path)


def test_headers_and_photos_that_are_none(tmp_path):
    path = tmp_path / "train.rec"
    photo = jpeg(1)
    records = {
        1: header(1, scalar=1.0) + photo,
        2: header(2, scalar=-1.0) + photo,
        3: header(3, scalar=0.5) + photo,
        4: header(4, scalar=float("nan")) + photo,
        5: header(5, scalar=1.0, second=1) + photo,
        6: header(6, 1.0, scalar=2.0) + photo,
        13: header(13, scalar=1.0) + photo,
        7: header(7, scalar=1.0),
        8: header(8)[:-1],
        9: header(9, scalar=1.0) + photo + b"\0",
        10: struct.pack("<IfQQ", 2**32 - 1, 0, 10, 0) + photo,
        11: header(11, scalar=1.0) + b"no photo",
        12: header(12, 4, 3),
    }
    write(path, records)
    good, reasons = listed(path)
    read = [1, 5, 6, 13, 9]
    assert list(good) == [f"{key:08d}" for key in (*read, 11)]
    # Record 12 describes others and is no photo.
    assert set(reasons) == {f"{key:08d}" for key in records if key != 12} - set(good)
    photos = {photo.source: photo for photo in list_record_photos(path).photos}
    for name, photo in photos.items():
        if int(name) in read:
            assert photo.read(MAX_PIXELS).shape == (8, 8, 3)
            assert photo.identity == "00000001"
        else:
            with pytest.raises(PhotoError):
                photo.read(MAX_PIXELS)
    for key in (2, 3, 4):
        assert "no whole number" in reasons[f"{key:08d}"]
    assert "too short for its header" in reasons["00000008"]
    assert "too short for its header" in reasons["00000010"]
    assert "holds no photo" in reasons["00000007"]


def test_a_file_that_is_gone_or_changed(tmp_path):
    path = tmp_path / "train.rec"
    with pytest.raises(FileError, match="No such file"):
        list_record_photos(path)
    write(path, {0: header(0, scalar=1.0) + jpeg(0)})
    [photo] = list_record_photos(path).photos
    with pytest.raises(PhotoError, match="byte 4: no record begins here"):
        RecordPart(4).read(path)
    assert photo.part.read(path) == jpeg(0)


@pytest.mark.parametrize("spacing", [4, 8, 16])
def test_a_heap_of_magic_numbers_is_one_damage(tmp_path, spacing):
    path = tmp_path / "magic.rec"
    path.write_bytes(b"\x0a\x23\xd7\xce".ljust(spacing, b"\xff") * 20_000)
    listing = list_record_photos(path)
    [photo] = listing.photos
    with pytest.raises(PhotoError, match="byte 0"):
        photo.read(10**6)


@pytest.mark.parametrize("size", [0, 4, 20])
def test_many_records_without_a_header_are_one_damage(tmp_path, size):
    path = tmp_path / "short.rec"
    write(path, {0: header(0, scalar=1.0) + jpeg(0)}, with_index=False)
    short = struct.pack("<II", 0xCED7230A, size) + bytes(size)
    path.write_bytes(short + path.read_bytes() + short * 20_000)
    first, photo, last = list_record_photos(path).photos
    assert [first.source, photo.source, last.source] == [
        f"{number:08d}" for number in range(3)
    ]
    with pytest.raises(PhotoError, match="byte 0: the record is too short for its"):
        first.read(10**6)
    with pytest.raises(PhotoError, match="20000 records in a row are too short for a"):
        last.read(10**6)
    photo.read(10**6)
