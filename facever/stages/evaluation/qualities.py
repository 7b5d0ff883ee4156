"""Qualities of the photos of an evaluation: from a table, or measured here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from facever.csv_tables import is_number, read_csv
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.progress import progress_bar
from facever.stages.evaluation.features import Features
from facever.verification.evaluation import Evaluation
from facever.verification.photo_matching import match_photos
from facever.verification.quality import discard_curve
from facever.verification.reporting.sections.quality import Qualities
from facever.verification.uncertainty.error_rates import error_rates

_CHUNK_CROPS = 1024
# What rounding to half precision leaves of embeddings of one length.
_SAME_LENGTH = 1e-3
_Rows = Int64[np.ndarray, " rows"]
_Values = Float64[np.ndarray, " rows"]


def _fits(store: CropStore, rows: _Rows) -> _Values:
    fits: _Values = -store.residuals[rows]
    return fits


def _scores(store: CropStore, rows: _Rows) -> _Values:
    scores: _Values = store.scores[rows]
    return scores


def _eye_distances(store: CropStore, rows: _Rows) -> _Values:
    eyes = store.landmarks[rows, :2]
    distances: _Values = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1)
    return distances


def _sharpness(store: CropStore, rows: _Rows) -> _Values:
    """Variance of the Laplacian of each crop's brightness (Pech-Pacheco et al., 2000).

    It is of the aligned crop, so a small face that was enlarged counts as blurred.
    """
    values = np.empty(len(rows))
    with progress_bar("sharpness", len(rows), "crops") as advance:
        for start in range(0, len(rows), _CHUNK_CROPS):
            chunk = rows[start : start + _CHUNK_CROPS]
            for place, crop in enumerate(store.crops[chunk.tolist()], start=start):
                grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
                values[place] = cv2.Laplacian(grey, cv2.CV_64F).var()
            advance(len(chunk))
    return values


OF_CROPS: Mapping[str, Callable[[CropStore, _Rows], _Values]] = MappingProxyType(
    {
        "landmark-fit": _fits,
        "detector-score": _scores,
        "eye-distance": _eye_distances,
        "sharpness": _sharpness,
    }
)
"""Qualities that a crop store gives, higher is better; NaN is not known."""

EMBEDDING_LENGTH = "embedding-length"


def check_qualities(
    wanted: Sequence[str], photos: Sequence[str], has_crops: bool
) -> None:
    """Refuse what is no quality, before the work begins.

    Args:
        wanted: Names of qualities, or paths of CSV files.
        photos: The photos that the pairs name.
        has_crops: Whether there will be crops.

    Raises:
        ParameterError: If one is neither, or needs crops.
        DataError: If a file is not of its form.
    """
    for each in wanted:
        if each in OF_CROPS and not has_crops:
            raise ParameterError(
                f"--quality {each} is measured on crops: give --photos or --crops, too"
            )
        if each not in (*OF_CROPS, EMBEDDING_LENGTH) and not Path(each).is_file():
            raise ParameterError(
                f"--quality must be {EMBEDDING_LENGTH}, {', '.join(OF_CROPS)} or a CSV "
                f"file of photos and numbers, got {each!r}"
            )
        if each not in (*OF_CROPS, EMBEDDING_LENGTH):
            list(_read_table(Path(each), photos))


def find_qualities(
    wanted: Sequence[str], evaluation: Evaluation, features: Features
) -> Qualities | None:
    """What qualities say of an evaluation's errors.

    The threshold is that of the strictest false match rate that the pairs can show.

    Args:
        wanted: Names of qualities, or paths of CSV files, whose first column holds the
            photos and whose others a quality each, under its name.
        evaluation: The evaluation.
        features: The embeddings of its photos, and their crops.

    Returns:
        The curves; None without a quality.

    Raises:
        DataError: If a table is not of that form, or names no photo of the pairs, or
            there are too few pairs to set a threshold.
    """
    if not wanted:
        return None
    rates = error_rates(evaluation)
    if rates is None or not rates.at_fmr:
        raise DataError(
            "too few pairs to set a threshold for --quality: it takes 10 impostor "
            "pairs and a genuine one"
        )
    at = rates.at_fmr[-1]
    photos = evaluation.pairs.sources
    curves = {
        name: discard_curve(evaluation, at.threshold, quality_of)
        for each in wanted
        for name, quality_of in _quality(each, photos, features)
    }
    notes = [
        f"{name}: {curve.num_photos_without:,} photos have none; their "
        f"{curve.num_pairs_left_out:,} pairs are left out"
        for name, curve in curves.items()
        if curve.num_photos_without
    ]
    return Qualities(at.target_fmr, at.threshold, curves, tuple(notes))


def _quality(
    wanted: str, photos: Sequence[str], features: Features
) -> Iterator[tuple[str, dict[str, float]]]:
    """The name of each quality, and its values by the pairs' names of photos."""
    if wanted == EMBEDDING_LENGTH:
        lengths = np.linalg.norm(features.embeddings.astype(np.float64), axis=1)
        if np.ptp(lengths) <= _SAME_LENGTH * lengths.mean():
            raise DataError(
                "the embeddings are all of one length, so --quality embedding-length "
                "says nothing; it takes embeddings that nobody has normalised"
            )
        yield wanted, _by_photo(photos, features.images, lengths)
    elif wanted in OF_CROPS:
        store = features.store
        assert store is not None
        rows = match_photos(photos, store.sources).rows
        found = rows[rows >= 0]
        values = OF_CROPS[wanted](store, found)
        if np.isnan(values).all():
            raise DataError(f"{store.folder} does not know {wanted} of its crops")
        names = [photo for photo, row in zip(photos, rows, strict=True) if row >= 0]
        yield wanted, _known(dict(zip(names, values.tolist(), strict=True)))
    else:
        yield from _read_table(Path(wanted), photos)


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
    for name in names:
        yield (
            name,
            {
                photo: lines[there[row]][name]
                for photo, row in zip(photos, rows, strict=True)
                if row >= 0 and name in lines[there[row]]
            },
        )
