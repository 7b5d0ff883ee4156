"""The tables of a crop store, as csv files that any tool opens.

Names may come from file systems that are not UTF-8: bytes that are no text are kept as
surrogates in memory (``surrogateescape``) and as themselves in the files.
"""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float64, Int64

from facever.choices import OneFace
from facever.errors import DataError, FileError
from facever.faces.detection import ONE_FACE_RULES
from facever.faces.landmark_fit import measure_residuals

POINT_COLUMNS = "x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score".split()
FACE_COLUMNS = ["residual", "num_faces", *(f"by_{rule}" for rule in ONE_FACE_RULES)]
CROP_COLUMNS = "row identity label source".split() + POINT_COLUMNS + FACE_COLUMNS
FAILURE_COLUMNS = ["source", "reason"]
NUMBER_COLUMNS = POINT_COLUMNS + FACE_COLUMNS
_HEADERS = [
    ",".join(columns).encode()
    for columns in (CROP_COLUMNS, CROP_COLUMNS[: -len(FACE_COLUMNS)])
]
_TYPES = {
    "row": pa.int64(),
    "identity": pa.binary(),
    "label": pa.int64(),
    "source": pa.binary(),
    **dict.fromkeys(NUMBER_COLUMNS, pa.float64()),
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


def read_numbers(
    path: Path, columns: Sequence[str]
) -> Float64[np.ndarray, "crops columns"]:
    """Read numbers of each crop.

    Args:
        path: The file ``crops.csv``.
        columns: Some of ``POINT_COLUMNS`` and ``FACE_COLUMNS``. The latter are NaN in a
            store that was written before there were any.

    Raises:
        FileError: If the file is missing or is not a table of this kind.
    """
    table = _read_columns(path, list(columns))
    numbers = np.empty((table.num_rows, len(columns)))
    for column, name in enumerate(columns):
        numbers[:, column] = table[name].to_numpy()
    return numbers


def crop_numbers(
    landmarks: Float64[np.ndarray, "crops 5 2"],
    scores: Float64[np.ndarray, " crops"],
    num_faces: int | None = None,
    taken_by: Sequence[Sequence[OneFace]] | None = None,
) -> list[list[float]]:
    """The numbers of a photo's crops, as the columns have them.

    Args:
        landmarks: In the photo, pixels; NaN where unknown.
        scores: The detector's; NaN where unknown.
        num_faces: The number of faces that were found in the photo.
        taken_by: The rules for one face that take each crop's face; None where other
            faces of the photo are not known.
    """
    num_found = np.nan if num_faces is None or taken_by is None else num_faces
    by_rule = (
        np.full((len(scores), len(ONE_FACE_RULES)), np.nan)
        if taken_by is None
        else [[rule in rules for rule in ONE_FACE_RULES] for rules in taken_by]
    )
    numbers: list[list[float]] = np.column_stack(
        [
            landmarks.reshape(len(scores), 10),
            scores,
            measure_residuals(landmarks),
            np.full(len(scores), num_found),
            by_rule,
        ]
    ).tolist()
    return numbers


def number_texts(numbers: Sequence[float]) -> Iterator[str]:
    """Numbers as they stand in the table: landmarks and score with every digit."""
    yield from map(repr, numbers[: len(POINT_COLUMNS)])
    yield from (f"{number:g}" for number in numbers[len(POINT_COLUMNS) :])


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
    try:
        with path.open("rb") as file:
            if file.readline().rstrip(b"\r\n") not in _HEADERS:
                raise FileError(f"{path}: expected the columns {_HEADERS[0].decode()}")
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
                include_missing_columns=True,
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
