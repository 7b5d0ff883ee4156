import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.recordio import scan as record_scan
from facever.data.recordio.format import RecordFile
from facever.data.recordio.scan import scan_records
from facever.errors import FileError

MAGIC_BYTES = bytes.fromhex("0a23d7ce")


def part(kind, content, length=None):
    length = len(content) if length is None else length
    head = struct.pack("<II", 0xCED7230A, kind * 2**29 + length)
    return head + content + b"\0" * (-len(content) % 4)


def scan(path, content):
    path.write_bytes(content)
    file = RecordFile(path)
    found = scan_records(file)
    for offset, size in zip(found.offsets, found.sizes, strict=True):
        assert len(file.read(int(offset))) == size
    return found


def read_all(path, content):
    found = scan(path, content)
    file = RecordFile(path)
    return [file.read(int(offset)) for offset in found.offsets], found.damages


A, B, C = part(0, b"a" * 10), part(0, b"b" * 13), part(0, b"c" * 8)
LONG = part(1, b"l" * 8) + part(2, b"") + part(2, b"m" * 4) + part(3, b"end")
LONG_CONTENT = MAGIC_BYTES.join([b"l" * 8, b"", b"m" * 4, b"end"])


def test_a_file_without_damage(tmp_path):
    content = A + LONG + B + part(0, b"") + C
    found = scan(tmp_path / "a.rec", content)
    assert found.damages == {}
    assert found.offsets.tolist() == [0, 20, 68, 92, 100]
    assert found.sizes.tolist() == [10, len(LONG_CONTENT), 13, 0, 8]
    records, _ = read_all(tmp_path / "a.rec", content)
    assert records == [b"a" * 10, LONG_CONTENT, b"b" * 13, b"", b"c" * 8]


def test_the_search_is_right_where_its_pieces_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(record_scan, "_WORDS_AT_A_TIME", 3)
    records, damages = read_all(tmp_path / "a.rec", A + LONG + B + C)
    assert records == [b"a" * 10, LONG_CONTENT, b"b" * 13, b"c" * 8]
    assert damages == {}


CASES = {
    "magic of the first": (b"xxxx" + A[4:] + B + C, "bc", {0: "magic"}),
    "magic": (A + b"xxxx" + B[4:] + C, "ac", {20: "magic"}),
    "magic of the last": (A + B + b"xxxx" + C[4:], "ab", {44: "magic"}),
    "two magics": (A + b"xxxx" + B[4:] + b"xxxx" + C[4:], "a", {20: "m", 44: "m"}),
    "length, longer": (A + part(0, b"b" * 13, 17) + C, "ac", {20: "not lead"}),
    "length, into C": (A + part(0, b"b" * 13, 30) + C, "ac", {20: "not lead"}),
    "length, over C": (A + part(0, b"b" * 13, 32) + C, "ac", {20: "not lead"}),
    "length, huge": (A + part(0, b"b" * 13, 2**29 - 1) + C, "ac", {20: "not lead"}),
    "length, shorter": (A + part(0, b"b" * 13, 5) + C, "ac", {20: "not lead"}),
    "length, a byte less": (A + part(0, b"b" * 15, 14) + C, "ac", {20: "not zero"}),
    "filling": (A + B[:-1] + b"x" + C, "ac", {20: "not zero"}),
    "kind 5": (A + part(5, b"b") + C, "ac", {20: "kind"}),
    "a first part for a whole": (A + part(1, b"b") + C, "ac", {20: "last part"}),
    "a last part for a whole": (A + part(3, b"b" * 4) + C, "c", {0: "on", 20: "whose"}),
    "cut in a record": (A + B + C[:-1], "ab", {44: "cut off"}),
    "cut in a head": (A + B + C[:7], "ab", {44: "ends in the head"}),
    "cut in a magic": (A + B + C[:2], "ab", {44: "ends in the head"}),
    "other bytes behind": (A + B + b"xyz", "a", {20: "not lead"}),
    "no record at all": (b"x" * 50, "", {0: "magic"}),
    "three bytes": (b"xyz", "", {0: "magic"}),
    "a head only": (A[:8], "", {0: "cut off"}),
    "half a head": (A[:5], "", {0: "ends in the head"}),
}


@pytest.mark.parametrize("name", CASES)
def test_damages(tmp_path, name):
    content, left, reasons = CASES[name]
    records, damages = read_all(tmp_path / "a.rec", content)
    assert "".join(chr(record[0]) for record in records) == left
    assert list(damages) == list(reasons)
    for offset, reason in reasons.items():
        assert reason in damages[offset]


def test_a_record_whose_parts_are_broken_is_never_half_read(tmp_path):
    pieces = [part(1, b"l" * 8), part(2, b"m" * 4), part(3, b"end")]
    for missing in range(3):
        kept = b"".join(pieces[:missing] + pieces[missing + 1 :])
        records, damages = read_all(tmp_path / "a.rec", A + kept + B)
        if missing == 1:
            # A record of two parts is a record too: nothing in the format tells.
            assert records[1] == b"l" * 8 + MAGIC_BYTES + b"end"
            continue
        assert records[-1] == b"b" * 13
        assert len(records) == (1 if missing == 0 else 2)
        assert damages


@given(
    content=st.lists(
        st.one_of(
            st.binary(max_size=8),
            st.just(MAGIC_BYTES),
            st.builds(part, st.integers(0, 7), st.binary(max_size=9)),
            st.builds(part, st.just(0), st.binary(max_size=9), st.integers(0, 40)),
        ),
        max_size=12,
    ).map(b"".join)
)
def test_any_bytes_give_records_or_damages(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("scan") / "a.rec"
    path.write_bytes(content)
    if not content:
        with pytest.raises(FileError, match="empty"):
            RecordFile(path)
        return
    records, damages = read_all(path, content)
    found = scan(path, content)
    # Records do not overlap, and what is not in a record is named.
    assert all(np.diff(found.offsets) >= 8)
    assert all(found.offsets[:-1] + 8 + found.sizes[:-1] <= found.offsets[1:])
    assert not set(found.offsets.tolist()) & set(damages)
    if sum(len(part(0, record)) for record in records) < len(content):
        assert damages or any(MAGIC_BYTES in record for record in records)


def test_every_flipped_byte_of_the_framing_is_found(tmp_path):
    """Not only that: the damage is told at the byte of the record it is in."""
    whole = [A, B, LONG, C, A]
    content = b"".join(whole)
    starts = np.cumsum([0, *map(len, whole)])
    framing = {at for start in starts[:-1] for at in range(start, start + 8)} | {
        18,
        19,
        *range(41, 44),
    }
    expected, _ = read_all(tmp_path / "a.rec", content)
    for at in range(len(content)):
        for flip in (1, 32, 255):
            broken = bytearray(content)
            broken[at] ^= flip
            records, damages = read_all(tmp_path / "a.rec", bytes(broken))
            place = int(np.searchsorted(starts, at, side="right")) - 1
            if at in framing and place != 2:
                # One zero more or less in the length changes nothing that could be
                # seen here; the reader of photos sees it.
                if not damages:
                    assert at in range(starts[place] + 4, starts[place] + 5)
                    assert records[place].rstrip(b"\0") == expected[place]
                    continue
                assert min(damages) == starts[place]
            if damages:
                others = [r for i, r in enumerate(expected) if i != place]
                assert all(record in records for record in others[:place])
