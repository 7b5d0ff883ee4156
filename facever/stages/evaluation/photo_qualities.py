"""Qualities of the photos of an evaluation: from a table, or measured here."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from facever.csv_tables import is_number, read_csv
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.faces.quality import FACE_QUALITIES, check_least
from facever.progress import progress_bar
from facever.verification.photo_matching import match_photos

_CHUNK_CROPS = 1024
# What rounding to half precision leaves of embeddings of one length.
_SAME_LENGTH = 1e-3

EMBEDDING_LENGTH = "embedding-length"


def check_photo_cutoffs(
    min_quality: Mapping[str, float], photos: Sequence[str], has_crops: bool
) -> None:
    """Refuse cut-offs that cannot be meant, before the work begins.

    Args:
        min_quality: The least of some qualities, by their names or paths of CSV files.
        photos: The photos that the pairs name.
        has_crops: Whether there will be crops.

    Raises:
        ParameterError: If one is not finite, or as ``check_qualities``.
        DataError: If a file is not of its form, or has several qualities.
    """
    for wanted, least in min_quality.items():
        check_least(wanted, least)
        names = check_qualities([wanted], photos, has_crops, "--min-quality")
        if len(names) > 1:
            raise DataError(
                f"{wanted} has several qualities ({', '.join(names)}): for a cut-off "
                "leave one column beside that of the photos"
            )
    check_qualities([*min_quality], photos, has_crops, "--min-quality")


def check_qualities(
    wanted: Sequence[str], photos: Sequence[str], has_crops: bool, option: str
) -> list[str]:
    """Refuse what is no quality, before the work begins.

    Args:
        wanted: Names of qualities, or paths of CSV files.
        photos: The photos that the pairs name.
        has_crops: Whether there will be crops.
        option: The option that names them.

    Returns:
        The name of each quality.

    Raises:
        ParameterError: If one is neither, or needs crops, or two have one name.
        DataError: If a file is not of its form.
    """
    names: list[str] = []
    for each in wanted:
        if each in FACE_QUALITIES and not has_crops:
            raise ParameterError(
                f"{option} {each} is measured on crops: give --photos or --crops, too"
            )
        if each not in (*FACE_QUALITIES, EMBEDDING_LENGTH) and not Path(each).is_file():
            raise ParameterError(
                f"{option} must be {EMBEDDING_LENGTH}, {', '.join(FACE_QUALITIES)} or "
                f"a CSV file of photos and numbers; {each!r} is none of these, and "
                "there is no such file"
            )
        if each in (*FACE_QUALITIES, EMBEDDING_LENGTH):
            names.append(each)
        else:
            names += [name for name, _ in _read_table(Path(each), photos)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParameterError(
            f"{option}: {twice[0]} is given {names.count(twice[0])} times; leave one "
            "out, or rename its column"
        )
    return names


def measure_quality(
    wanted: str,
    photos: Sequence[str],
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    store: CropStore | None,
) -> Iterator[tuple[str, dict[str, float]]]:
    """The values of a quality, or of each that a table has.

    Args:
        wanted: The name of a quality, or the path of a CSV file, whose first column
            holds the photos and whose others a quality each, under its name.
        photos: The photos, as a protocol spells them.
        embeddings: A row for each photo that has one, of any length.
        images: Source of each row.
        store: The crops of the photos, where there are any.

    Returns:
        The name of each quality, and its values by the photos' names; photos of which
        it is not known are left out.

    Raises:
        DataError: If a table is not of that form, or there is nothing to measure on.
    """
    if wanted == EMBEDDING_LENGTH:
        lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        if len(lengths) and np.ptp(lengths) <= _SAME_LENGTH * lengths.mean():
            raise DataError(
                "the embeddings are all of one length, so the quality embedding-length "
                "says nothing; it takes embeddings that nobody has normalised"
            )
        yield wanted, _by_photo(photos, images, lengths)
    elif wanted in FACE_QUALITIES:
        assert store is not None
        rows = match_photos(photos, store.sources).rows
        found = rows[rows >= 0]
        values = FACE_QUALITIES[wanted](
            store.landmarks[found], store.scores[found], _read_crops(store, found)
        )
        if np.isnan(values).all():
            raise DataError(f"{store.folder} does not know {wanted} of its crops")
        names = [photo for photo, row in zip(photos, rows, strict=True) if row >= 0]
        yield wanted, _known(dict(zip(names, values.tolist(), strict=True)))
    else:
        yield from _read_table(Path(wanted), photos)


def _read_crops(
    store: CropStore, rows: Int64[np.ndarray, " rows"]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    with progress_bar("sharpness", len(rows), "crops") as advance:
        for start in range(0, len(rows), _CHUNK_CROPS):
            chunk = rows[start : start + _CHUNK_CROPS]
            yield from store.crops[chunk.tolist()]
            advance(len(chunk))


def _by_photo(
    photos: Sequence[str], there: Sequence[str], values: Float64[np.ndarray, " photos"]
) -> dict[str, float]:
    rows = match_photos(photos, there).rows
    return {
        photo: float(values[row])
        for photo, row in zip(photos, rows.tolist(), strict=True)
        if row >= 0
    }


def _known(quality_of: Mapping[str, float]) -> dict[str, float]:
    return {photo: value for photo, value in quality_of.items() if value == value}


def _read_table(
    path: Path, photos: Sequence[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    lines: dict[str, dict[str, float]] = {}
    names: list[str] = []
    for row in read_csv(path, None):
        first, *names = row.values
        if not names:
            raise DataError(
                f"{path}: expected a column of photos and a column for each quality, "
                f"separated by commas; got one column, {first!r}"
            )
        if row[first] in lines:
            raise row.wrong(first, "each photo once")
        for name in names:
            if row[name] and not (
                is_number(row[name]) and np.isfinite(float(row[name]))
            ):
                raise row.wrong(name, "a number, or nothing where it is not known")
        lines[row[first]] = {name: float(row[name]) for name in names if row[name]}
    if not lines:
        raise DataError(f"{path} names columns and no photo")
    there = list(lines)
    rows = match_photos(photos, there).rows.tolist()
    if max(rows, default=-1) < 0:
        raise DataError(
            f"{path}: no line names a photo of the pairs, such as {photos[0]!r}; the "
            f"first line names {there[0]!r}"
        )
    for name in names:
        yield (
            name,
            {
                photo: lines[there[row]][name]
                for photo, row in zip(photos, rows, strict=True)
                if row >= 0 and name in lines[there[row]]
            },
        )
