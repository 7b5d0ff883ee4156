"""Photos that a CSV file lists, with identities and perhaps landmarks."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from facever.errors import DataError, FileError
from facever.faces.photo_source import (
    PHOTO_SUFFIXES,
    PhotoListing,
    PhotoSource,
    safe_name,
    suffix_of,
)

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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            has_landmarks = "x1" in columns
            wanted = ["source", "identity", *LANDMARK_COLUMNS * has_landmarks]
            if lost := [name for name in wanted if name not in columns]:
                raise DataError(f"{path}: expected the columns {', '.join(lost)}")
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{where}: expected {len(columns)} values")
                source = safe_name(where, row["source"].strip())
                identity = row["identity"].strip()
                if suffix_of(source) not in PHOTO_SUFFIXES:
                    raise DataError(f"{where}: {source} has no photo's suffix")
                if not identity:
                    raise DataError(f"{where}: the identity is empty")
                if source in photos:
                    raise DataError(f"{where}: {source} is listed twice")
                points = _landmarks(where, row) if has_landmarks else None
                place = path.parent / source
                photos[source] = PhotoSource(source, identity, place, None, points)
    except UnicodeDecodeError:
        raise FileError(f"{path} is no list of photos: it is not UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    return PhotoListing(list(photos.values()), Counter(), has_landmarks)


def _landmarks(where: str, row: dict[str, str]) -> Float64[np.ndarray, "5 2"] | None:
    values = [row[column].strip() for column in LANDMARK_COLUMNS]
    if not any(values):
        return None
    try:
        points = np.array([float(value) for value in values])
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if not np.isfinite(points).all():
        raise DataError(f"{where}: landmarks must be finite")
    return points.reshape(5, 2)
