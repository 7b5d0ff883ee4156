"""The tables of a crop store, as csv files that any tool opens.

Names may come from file systems that are not UTF-8: bytes that are no text are kept as
surrogates in memory (``surrogateescape``) and as themselves in the files.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float64, Int64

from facever.errors import DataError, FileError

CROP_COLUMNS = "row identity label source x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score".split()
FAILURE_COLUMNS = ["source", "reason"]
_NUMBER_COLUMNS = CROP_COLUMNS[4:]
_TYPES = {
    "row": pa.int64(),
    "identity": pa.binary(),
    "label": pa.int64(),
    "source": pa.binary(),
    **dict.fromkeys(_NUMBER_COLUMNS, pa.float64()),
}


@dataclass(frozen=True)
class Names:
    """Who and what the crops of a store are.

    Attributes:
        identities: Names of the identities, sorted; a label is an index into them.
        labels: Label of each crop.
        sources: Source of each crop, unique.
    """

    identities: list[str]
    labels: Int64[np.ndarray, " crops"]
    sources: list[str]


def read_names(path: Path) -> Names:
    """Read the names of ``crops.csv``, and none of its many numbers.

    Raises:
        FileError: If the file is missing or is not a table of this kind.
        DataError: If the labels do not number the sorted identities or a source occurs
            twice.
    """
    table = _read_columns(path, ["identity", "label", "source"])
    encoded = table["identity"].combine_chunks().dictionary_encode()
    distinct = _as_texts(encoded.dictionary)
    identities, place = label_identities(distinct)
    labels = place[encoded.indices.to_numpy()]
    sources = _as_texts(table["source"])
    written = table["label"].to_numpy()
    if not np.array_equal(written, labels) or len(set(sources)) != len(sources):
        raise DataError(
            f"{path}: labels must number the sorted identities and sources be unique; "
            "align the photos again into a new folder"
        )
    return Names(identities, labels, sources)


def read_numbers(path: Path) -> Float64[np.ndarray, "crops 11"]:
    """Read the landmarks (x1, y1 .. y5) and the score of each crop.

    Raises:
        FileError: If the file is missing or is not a table of this kind.
    """
    table = _read_columns(path, _NUMBER_COLUMNS)
    numbers = np.empty((table.num_rows, len(_NUMBER_COLUMNS)))
    for column, name in enumerate(_NUMBER_COLUMNS):
        numbers[:, column] = table[name].to_numpy()
    return numbers


def label_identities(
    identities: Sequence[str],
) -> tuple[list[str], Int64[np.ndarray, " crops"]]:
    """Number the sorted identities.

    Returns:
        The distinct identities, sorted, and the index of each given one among them.

    >>> label_identities(["Bob", "Ann", "Bob"])
    (['Ann', 'Bob'], array([1, 0, 1]))
    """
    distinct = sorted(set(identities))
    index = {identity: label for label, identity in enumerate(distinct)}
    labels = np.array([index[identity] for identity in identities], dtype=np.int64)
    return distinct, labels


def _read_columns(path: Path, columns: list[str]) -> Any:
    header = ",".join(CROP_COLUMNS).encode()
    try:
        with path.open("rb") as file:
            if file.readline().rstrip(b"\r\n") != header:
                raise FileError(f"{path}: expected the columns {header.decode()}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                # Only a quoted value can hold a line break, and looking for them
                # makes reading slower.
                is_quoted = content.find(b'"') >= 0
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=is_quoted),
            convert_options=pyarrow.csv.ConvertOptions(
                check_utf8=False,
                column_types=_TYPES,
                # A missing number is the text "nan", and an empty one an error.
                null_values=[],
                include_columns=columns,
            ),
        )
    except FileNotFoundError:
        raise FileError(f"{path} is missing: the crop store is damaged") from None
    except pa.ArrowInvalid as error:
        raise FileError(f"{path} is damaged: {error}") from None


def _as_texts(column: Any) -> list[str]:
    try:
        texts: list[str] = column.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:
        return [value.decode(errors="surrogateescape") for value in column.to_pylist()]
    return texts
