import csv
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.csv_tables import write_csv
from facever.data.store.tables import (
    CROP_COLUMNS,
    FACE_COLUMNS,
    POINT_COLUMNS,
    crop_numbers,
    label_identities,
    number_texts,
    read_names,
    read_numbers,
)
from facever.errors import FileError
from facever.faces.templates import CARD_POINTS

# Any text that a file name can be, also of bytes that are not UTF-8.
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([os.fsdecode(bytes([byte])) for byte in (0x80, 0xC3, 0xFF)])
    | st.sampled_from(',"\n\r# \N{ZERO WIDTH SPACE}'),
    max_size=12,
)
floats = st.floats(width=64)
# A residual, a number of faces, and whether each of four rules takes this one.
face_numbers = st.tuples(
    st.integers(0, 6600).map(lambda parts: parts / 10_000) | st.just(float("nan")),
    st.integers(1, 999_999) | st.just(float("nan")),
    *[st.sampled_from([0.0, 1.0, float("nan")])] * 4,
)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            names, names, st.lists(floats, min_size=11, max_size=11), face_numbers
        ),
        unique_by=lambda record: record[1],
        max_size=8,
    )
)
def test_records_are_read_as_the_csv_module_reads_them(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "crops.csv"
    labels = label_identities([record[0] for record in records])[1]
    write_csv(
        path,
        CROP_COLUMNS,
        [
            [row, identity, labels[row], source, *number_texts([*points, *face])]
            for row, (identity, source, points, face) in enumerate(records)
        ],
    )
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        expected = list(csv.reader(file))[1:]
    found = read_names(path)
    assert found.sources == [row[3] for row in expected]
    assert [found.identities[label] for label in found.labels] == [
        row[1] for row in expected
    ]
    assert found.identities == sorted({row[1] for row in expected})
    numbers = np.array([row[4:] for row in expected], np.float64).reshape(-1, 17)
    np.testing.assert_array_equal(read_numbers(path, POINT_COLUMNS), numbers[:, :11])
    np.testing.assert_array_equal(read_numbers(path, FACE_COLUMNS), numbers[:, 11:])
    given_numbers = [[*points, *face] for _, _, points, face in records]
    np.testing.assert_array_equal(
        numbers, np.array(given_numbers, np.float64).reshape(-1, 17)
    )


def test_the_numbers_of_a_photo_s_crops():
    assert FACE_COLUMNS == (
        "residual num_faces by_prominent by_largest by_center by_best".split()
    )
    landmarks = np.stack([CARD_POINTS + 7, CARD_POINTS[[1, 0, 2, 4, 3]]])
    first, second = crop_numbers(
        landmarks, np.array([0.5, 0.25]), 3, [["largest", "best"], []]
    )
    assert first[:11] == [*(CARD_POINTS + 7).ravel(), 0.5]
    assert first[11:] == [0, 3, 0, 1, 0, 1]
    assert second[11:] == [pytest.approx(0.64, abs=0.005), 3, 0, 0, 0, 0]
    unknown = crop_numbers(np.full((1, 5, 2), np.nan), np.array([np.nan]), 1)
    assert np.isnan(unknown).all()


@pytest.mark.parametrize("content", [b"", b"row,identity\n", b"\xff\xfe"])
def test_a_file_with_other_columns_is_refused(tmp_path, content):
    path = tmp_path / "crops.csv"
    path.write_bytes(content)
    with pytest.raises(FileError, match="expected the columns row,identity,label"):
        read_names(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="is missing: the crop store is damaged"):
        read_numbers(tmp_path / "crops.csv", FACE_COLUMNS)
