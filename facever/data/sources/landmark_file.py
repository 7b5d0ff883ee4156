"""Landmarks that a text file lists, in place of a detector."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from facever.errors import DataError, FileError


def read_landmarks(path: Path | str) -> dict[str, Float64[np.ndarray, "5 2"]]:
    """Read a landmark file.

    Each line has a source (the photo's path below the photo folder) and ten numbers,
    separated by tabs: x and y of left eye, right eye, nose, left and right mouth
    corner, in pixels. Empty lines are left out.

    Raises:
        FileError: If the file is missing or no text.
        DataError: If a line is not like that or names a photo again.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(f"{path} is no landmark file: it is not UTF-8 text") from None
    except OSError as error:
        raise FileError(f"no landmark file at {path}: {error.strerror}") from None
    landmarks: dict[str, Float64[np.ndarray, "5 2"]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source, *values = line.split("\t")
        where = f"{path}, line {number}"
        if len(values) != 10:
            raise DataError(
                f"{where}: expected a photo and 10 numbers, separated by tabs, got "
                f"{len(values)} numbers"
            )
        if source in landmarks:
            raise DataError(f"{where}: {source} is listed twice")
        try:
            points = np.array([float(value) for value in values])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        if not np.isfinite(points).all():
            raise DataError(f"{where}: landmarks must be finite")
        landmarks[source] = points.reshape(5, 2)
    return landmarks
