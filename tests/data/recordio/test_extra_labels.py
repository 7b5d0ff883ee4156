"""Labels behind the first, in records that are packed by hand."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facever.csv_tables import read_csv
from facever.data.recordio.extra_labels import write_extra_labels
from facever.data.recordio.photos import list_record_photos
from facever.data.store.crop_store import CropStore
from facever.errors import ParameterError

MAGIC = 0xCED7230A


def photo():
    file = io.BytesIO()
    Image.new("RGB", (96, 112), (90, 40, 20)).save(file, "PNG")
    return file.getvalue()


def write_rec(path, labels, content=b"photo"):
    """A record for each list of labels; one label alone stands in the header."""
    written = b""
    for key, (first, *others) in enumerate(labels):
        flag = 1 + len(others) if others else 0
        record = struct.pack("<IfQQ", flag, first, key, 0)
        record += struct.pack(f"<{flag}f", *[first, *others][:flag]) + content
        # A magic number inside is where MXNet cuts a record into parts.
        places = [
            at
            for at in range(0, len(record) - 3, 4)
            if record[at : at + 4] == struct.pack("<I", MAGIC)
        ]
        parts, start = [], 0
        for at in places:
            parts.append(record[start:at])
            start = at + 4
        parts.append(record[start:])
        for number, part in enumerate(parts):
            kind = (
                0 if len(parts) == 1 else 1 + (number > 0) + (number == len(parts) - 1)
            )
            written += struct.pack("<II", MAGIC, len(part) | kind << 29)
            written += part + b"\0" * (-len(part) % 4)
    path.write_bytes(written)
    return path


FLOATS = st.floats(width=32, allow_nan=False) | st.just(
    struct.unpack("<f", struct.pack("<I", MAGIC))[0]
)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(FLOATS, max_size=6)), min_size=1))
def test_they_are_written_as_they_stand(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("labels")
    path = write_rec(folder / "a.rec", [[first, *more] for first, more in labels])
    expected = {
        f"{key:08}": np.array(more, np.float32)
        for key, (_, more) in enumerate(labels)
        if more
    }
    listing = list_record_photos(path)
    out = folder / "labels.csv"
    # Two labels of which the second is 0 or 1 are InsightFace's.
    odd = [more for more in expected.values() if len(more) > 1 or more[0] not in (0, 1)]
    said = f"{len(odd)} photos have labels behind the first, which is the person; "
    assert [note.startswith(said) for note in listing.notes] == [True] * bool(odd)
    if not expected:
        with pytest.raises(ParameterError, match="the source has none: leave the opt"):
            write_extra_labels(out, listing.photos)
        assert not out.exists()
        return
    write_extra_labels(out, listing.photos)
    rows = {row["source"]: row["labels"] for row in read_csv(out, ["source", "labels"])}
    assert rows.keys() == expected.keys()
    for source, text in rows.items():
        values = np.array([float(each) for each in text.split(" ")], np.float32)
        np.testing.assert_array_equal(values, expected[source])


def test_by_command(tmp_path, command):
    labels = [[0, 31, 0.25], [1], [0, 33], [1, 0.1]]
    path = write_rec(tmp_path / "a.rec", labels, photo())
    out, kept = tmp_path / "crops", tmp_path / "labels.csv"
    done = command("align", path, out, "--detector", "crops", "--extra-labels", kept)
    assert done.code == 0
    assert "  3 photos have labels behind the first, which is the person" in done.out
    assert kept.read_text().splitlines() == [
        "source,labels",
        "00000000,31.0 0.25",
        "00000002,33.0",
        "00000003,0.1",
    ]
    store = CropStore.open(out)
    assert store.sources == [f"{key:08}" for key in range(4)]
    assert store.labels.tolist() == [0, 1, 0, 1]
    done = command("align", out, tmp_path / "c", "--extra-labels", kept)
    assert done.code == 2
    assert "the source has none: leave the option out" in done.err
    assert not (tmp_path / "c").exists()
