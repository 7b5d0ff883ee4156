import csv
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.csv_tables import write_csv
from facever.data.store.tables import (
    CROP_COLUMNS,
    label_identities,
    read_names,
    read_numbers,
)
from facever.errors import FileError

# Any text that a file name can be, also of bytes that are not UTF-8.
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([os.fsdecode(bytes([byte])) for byte in (0x80, 0xC3, 0xFF)])
    | st.sampled_from(',"\n\r# \N{ZERO WIDTH SPACE}'),
    max_size=12,
)
floats = st.floats(width=64)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(names, names, st.lists(floats, min_size=11, max_size=11)),
        unique_by=lambda record: record[1],
        max_size=8,
    )
)
def test_records_are_read_as_the_csv_module_reads_them(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "crops.csv"
    labels = label_identities([identity for identity, _, _ in records])[1]
    write_csv(
        path,
        CROP_COLUMNS,
        [
            [row, identity, labels[row], source, *map(repr, numbers)]
            for row, (identity, source, numbers) in enumerate(records)
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
    numbers = np.array([row[4:] for row in expected], np.float64).reshape(-1, 11)
    np.testing.assert_array_equal(read_numbers(path), numbers)


@pytest.mark.parametrize("content", [b"", b"row,identity\n", b"\xff\xfe"])
def test_a_file_with_other_columns_is_refused(tmp_path, content):
    path = tmp_path / "crops.csv"
    path.write_bytes(content)
    with pytest.raises(FileError, match="expected the columns row,identity,label"):
        read_names(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="is missing: the crop store is damaged"):
        read_numbers(tmp_path / "crops.csv")
