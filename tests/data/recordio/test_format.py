import pickle
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facever.data.recordio import writer as record_writer
from facever.data.recordio.format import RecordFile
from facever.data.recordio.writer import (
    RecordHeader,
    RecordWriter,
    unpack_record,
    write_record_photos,
)
from facever.errors import DataError, FileError

MAGIC_BYTES = bytes.fromhex("0a23d7ce")


def part(kind, content):
    """One part by the published format, written without the library."""
    head = struct.pack("<II", 0xCED7230A, kind * 2**29 + len(content))
    return head + content + b"\0" * (-len(content) % 4)


def record(content):
    """A record: one word at a time, as dmlc-core's writer goes over it."""
    pieces, start = [], 0
    for at in range(0, len(content) - 3, 4):
        if content[at : at + 4] == MAGIC_BYTES:
            pieces.append(content[start:at])
            start = at + 4
    pieces.append(content[start:])
    if len(pieces) == 1:
        return part(0, content)
    kinds = [1, *[2] * (len(pieces) - 2), 3]
    return b"".join(map(part, kinds, pieces))


def header(key, *labels, scalar=0.0):
    flat = struct.pack(f"<{len(labels)}f", *labels)
    return struct.pack("<IfQQ", len(labels), scalar, key, 0) + flat


contents = st.lists(
    st.one_of(st.just(MAGIC_BYTES), st.binary(max_size=9)), max_size=9
).map(b"".join)


@given(payloads=st.lists(contents, min_size=1, max_size=6))
@example(payloads=[b"", MAGIC_BYTES, MAGIC_BYTES * 3, b"abc" + MAGIC_BYTES])
def test_what_is_written_is_the_published_format(tmp_path_factory, payloads):
    path = tmp_path_factory.mktemp("records") / "train.rec"
    with RecordWriter(path) as writer:
        for key, payload in enumerate(payloads):
            writer.add(RecordHeader(key, label=float(key)), payload)
    raw = [
        header(key, scalar=float(key)) + payload for key, payload in enumerate(payloads)
    ]
    assert path.read_bytes() == b"".join(map(record, raw))
    lines = path.with_suffix(".idx").read_text().splitlines()
    offsets = np.cumsum([0, *(len(record(content)) for content in raw)])
    assert lines == [f"{key}\t{offsets[key]}" for key in range(len(raw))]
    records = pickle.loads(pickle.dumps(RecordFile(path)))
    assert [records.read(int(offset)) for offset in offsets[:-1]] == raw


def test_the_magic_number_in_the_header_is_cut_out_too(tmp_path):
    path = tmp_path / "a.rec"
    key = 0xCED7230A
    with RecordWriter(path) as writer:
        writer.add(RecordHeader(key), b"photo")
    assert path.read_bytes().count(MAGIC_BYTES) == 2
    assert unpack_record(RecordFile(path).read(0)) == (RecordHeader(key), b"photo")
    heads = RecordFile(path).heads(np.array([0]), 7)
    assert heads.tobytes() == RecordFile(path).read(0)[:28]


floats = st.floats(width=32, allow_nan=False)
integers = st.integers(0, 2**64 - 1)


@given(
    key=integers,
    second=integers,
    label=floats,
    labels=st.lists(floats, max_size=4).map(tuple),
    payload=st.binary(max_size=20),
)
def test_headers_come_back(key, second, label, labels, payload):
    written = RecordHeader(key, label, labels, second)
    content = written.pack() + payload
    assert content[:24] == struct.pack("<IfQQ", len(labels), label, key, second)
    assert unpack_record(content) == (written, payload)


def test_short_contents_are_refused():
    with pytest.raises(DataError, match="header of 24 bytes, got 23"):
        unpack_record(bytes(23))
    with pytest.raises(DataError, match="expected 4294967295 labels, got 8 bytes"):
        unpack_record(b"\xff" * 4 + bytes(28))


def test_insightface_layout(tmp_path):
    path = tmp_path / "train.rec"
    photos = [(4, b"four a"), (4, b"four b"), (9, b"nine")]
    write_record_photos(path, iter(photos))
    # By hand: photos 1 to 3, record 0 with the limits of the identities 4 and 5, and
    # these with the limits of their photos.
    expected = [
        header(1, 4, 1) + b"four a",
        header(2, 4, 1) + b"four b",
        header(3, 9, 1) + b"nine",
        header(0, 4, 6),
        header(4, 1, 3),
        header(5, 3, 4),
    ]
    assert path.read_bytes() == b"".join(map(record, expected))
    keys = [line.split("\t")[0] for line in (tmp_path / "train.idx").open()]
    assert keys == ["1", "2", "3", "0", "4", "5"]


def test_a_label_that_comes_back_is_refused_and_nothing_is_left(tmp_path):
    photos = [(1, b"a"), (2, b"b"), (1, b"c")]
    with pytest.raises(DataError, match="label 1 again at photo 3"):
        write_record_photos(tmp_path / "train.rec", photos)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_a_float_cannot_hold_are_refused(tmp_path):
    with pytest.raises(DataError, match="got 16777217 at photo 1"):
        write_record_photos(tmp_path / "train.rec", [(2**24 + 1, b"a")])


def test_a_record_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, "MAX_CONTENT_BYTES", 30)
    with (
        pytest.raises(DataError, match="record 3: a record has at most 30 bytes, got"),
        RecordWriter(tmp_path / "a.rec") as writer,
    ):
        writer.add(RecordHeader(3), bytes(7))


def test_files_that_are_no_records(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        RecordFile(tmp_path / "none.rec")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(FileError, match="the file is empty"):
        RecordFile(tmp_path / "empty.rec")


def test_reading_where_no_record_begins(tmp_path):
    path = tmp_path / "a.rec"
    whole = record(b"x" * 20) + part(1, b"abcd") + part(0, b"")
    path.write_bytes(whole + b"ab")
    records = RecordFile(path)
    assert records.read(0) == b"x" * 20
    for offset in (-4, 2, 4, len(whole), 10**12):
        with pytest.raises(FileError, match=f"byte {offset}: no record begins here"):
            records.read(offset)
    with pytest.raises(FileError, match="byte 40: expected another part"):
        records.read(28)
    path.write_bytes(part(0, b"abcd")[:-1])
    with pytest.raises(FileError, match="byte 0: the record is longer than the file"):
        RecordFile(path).read(0)
