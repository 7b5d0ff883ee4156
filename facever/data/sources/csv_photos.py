"""Photos that a CSV file lists, with identities and perhaps landmarks."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from facever.csv_tables import CsvRow, read_csv
from facever.data.sources.folders import is_photo_file
from facever.errors import DataError
from facever.faces.photo_source import PhotoListing, PhotoSource, safe_name

LANDMARK_COLUMNS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]


def list_csv_photos(path: Path) -> PhotoListing:
    """List the photos of a CSV file.

    The columns are ``source``, the photo's path below the CSV's folder, ``identity``
    and, if landmarks are known, ``x1, y1`` to ``x5, y5`` (left eye, right eye, nose,
    left and right mouth corner; pixels), which may be empty together. Other columns are
    left out. The order is that of the lines.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a column is missing, or a line has another number of values, a
            photo outside the folder or listed before, an empty identity, or landmarks
            that are no finite numbers; the message names the line.
    """
    photos: dict[str, PhotoSource] = {}
    has_landmarks = False
    for row in read_csv(
        path, ["source", "identity"], LANDMARK_COLUMNS, ignore_others=True
    ):
        source = safe_name(row.place, row["source"])
        if not is_photo_file(path.parent / source):
            raise DataError(
                f"{row.place}: {source} has no photo's suffix, such as .jpg, and does "
                "not begin as a photo"
            )
        if not row["identity"]:
            raise row.wrong("identity", "a name")
        if source in photos:
            raise DataError(f"{row.place}: {source} is listed twice")
        has_landmarks = "x1" in row
        points = _landmarks(row) if has_landmarks else None
        place = path.parent / source
        photos[source] = PhotoSource(source, row["identity"], place, None, points)
    return PhotoListing(list(photos.values()), Counter(), has_landmarks)


def _landmarks(row: CsvRow) -> Float64[np.ndarray, "5 2"] | None:
    if lost := [column for column in LANDMARK_COLUMNS if column not in row]:
        raise DataError(f"{row.path}: expected the columns {', '.join(lost)}, too")
    if not any(row[column] for column in LANDMARK_COLUMNS):
        return None
    return np.array([_coordinate(row, c) for c in LANDMARK_COLUMNS]).reshape(5, 2)


def _coordinate(row: CsvRow, column: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise row.wrong(column, "a finite number")
    return number
