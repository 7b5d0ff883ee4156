"""Landmarks that a text file lists, in place of a detector."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from facever.csv_tables import is_number
from facever.errors import DataError, FileError
from facever.faces.landmark_fit import FITTING_RESIDUAL, find_misfit, residuals
from facever.faces.photo_source import PHOTO_SUFFIXES, PhotoListing, suffix_of
from facever.foreign_files import read_text

_SPACES = re.compile(r"[\s,;]+")
_SEPARATORS = (re.compile("\t"), re.compile(";"), re.compile(","), _SPACES)
_MAX_NUMBERS = 20
_NUM_JUDGED = 500


@dataclass(frozen=True)
class LandmarkList:
    """What a landmark file says.

    Attributes:
        points: By the name of the photo, as the file spells it.
        notes: What was guessed about the file's columns, a line each.
    """

    points: dict[str, Float64[np.ndarray, "5 2"]]
    notes: tuple[str, ...] = ()


def read_landmarks(path: Path | str) -> LandmarkList:
    """Read a landmark file.

    Each line has the photo's path below the photo folder and ten numbers, separated by
    tabs, commas, semicolons or spaces: x and y of left eye, right eye, nose, left and
    right mouth corner, in pixels. Lines before the first that has numbers are a head,
    as CelebA's; a whole number in front of the path is left out, as in InsightFace's
    ``.lst``. Where a line has more than ten numbers (a label, a score, a box), those
    ten side by side are taken that fit a face best over the whole file; they may also
    be five times x and then five times y, as InsightFace writes them. Lines with NaN or
    infinity, as for faces that nobody found, are left out and counted in the notes.

    Raises:
        FileError: If the file is missing or no text.
        DataError: If a line is not like that or names a photo again.
    """
    path = Path(path)
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(f"{path} is no landmark file: it is not UTF-8 text") from None
    except OSError as error:
        raise FileError(f"no landmark file at {path}: {error.strerror}") from None
    rows: dict[str, list[float]] = {}
    not_finite: dict[str, int] = {}
    num_numbers = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, values = _split(line)
        if not rows and _is_head(name, values):
            continue
        where = f"{path}, line {number}"
        num_numbers = num_numbers or len(values)
        if not 10 <= len(values) <= _MAX_NUMBERS:
            raise DataError(
                f"{where}: expected a photo and 10 numbers, separated by tabs, commas "
                f"or spaces, got {len(values)} numbers"
            )
        if len(values) != num_numbers:
            raise DataError(
                f"{where}: expected {num_numbers} numbers, as in the lines before, got "
                f"{len(values)}"
            )
        if name in rows:
            raise DataError(f"{where}: {name} is listed twice")
        rows[name] = values
        if not np.isfinite(values).all():
            not_finite[name] = number
    if not_finite.keys() == rows.keys():
        raise FileError(
            f"{path} is no landmark file: no line has a photo and 10 finite numbers"
        )
    known = {name: values for name, values in rows.items() if name not in not_finite}
    points, notes = _choose_columns(np.array(list(known.values())))
    if not_finite:
        first = next(iter(not_finite.values()))
        note = (
            f"{len(not_finite)} lines of the list of landmarks have numbers that are "
            f"not finite, such as line {first}, and are left out"
        )
        notes = (*notes, note)
    return LandmarkList(dict(zip(known, points, strict=True)), notes)


def match_landmarks(
    names: Sequence[str], photos: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find the photos that a landmark file names.

    A name may begin with ``./`` or a longer path than the photo's, lack folders or the
    suffix, or be written with backslashes.

    Args:
        names: As the file spells them.
        photos: The sources of the photos.

    Returns:
        For each photo that is found the name in the file, and what there is to say.

    Raises:
        DataError: If no photo is found, or a name may mean two photos.

    Examples:
        >>> match_landmarks(["2"], ["Ann/1.jpg", "Ann/2.jpg"])[0]
        {'Ann/2.jpg': '2'}
    """
    whole = {_plain(photo): photo for photo in photos}
    stems = _index((_stem(plain), photo) for plain, photo in whole.items())
    tails = _index(
        (tail, photo) for plain, photo in whole.items() for tail in _tails(_stem(plain))
    )
    found: dict[str, str] = {}
    unknown: list[str] = []
    for name in names:
        plain = _plain(name)
        stem = _stem(plain)
        if plain in whole:
            candidates = [whole[plain]]
        else:
            candidates = stems.get(stem) or tails.get(stem, [])
            for tail in _tails(stem):
                candidates = candidates or stems.get(tail, [])
            same = [c for c in candidates if suffix_of(c) == suffix_of(plain)]
            candidates = same or candidates
        if len(candidates) > 1:
            raise DataError(
                f"{name} in the list of landmarks may mean {candidates[0]} or "
                f"{candidates[1]}: write the folder, too"
            )
        if not candidates:
            unknown.append(name)
        elif candidates[0] in found:
            raise DataError(
                f"{name} and {found[candidates[0]]} in the list of landmarks both mean "
                f"{candidates[0]}"
            )
        else:
            found[candidates[0]] = name
    if not found:
        raise DataError(
            f"the list of landmarks names none of the {len(photos)} photos: it says "
            f"{names[0]!r}, the photos are called {photos[0]!r}"
        )
    return found, tuple(_say_matches(found, unknown, len(photos)))


def with_landmarks(listing: PhotoListing, known: LandmarkList) -> PhotoListing:
    """The photos with the landmarks that a file lists, in place of their own.

    Raises:
        DataError: See ``match_landmarks``.
    """
    photos = listing.photos
    found, notes = match_landmarks(list(known.points), [p.source for p in photos])
    points = {photo: known.points[name] for photo, name in found.items()}
    return replace(
        listing,
        photos=[replace(p, landmarks=points.get(p.source)) for p in photos],
        has_landmarks=True,
        notes=(*listing.notes, *known.notes, *notes),
    )


def _say_matches(
    found: dict[str, str], unknown: Sequence[str], num_photos: int
) -> Iterator[str]:
    changed = [(name, photo) for photo, name in found.items() if name != photo]
    if changed:
        name, photo = changed[0]
        yield f"{name!r} in the list of landmarks is taken for {photo!r}, and so on"
    if unknown:
        yield (
            f"{len(unknown)} lines of the list of landmarks name no photo, such as "
            f"{unknown[0]!r}"
        )
    if len(found) < num_photos:
        yield f"the list of landmarks has none for {num_photos - len(found)} photos"


def _split(line: str) -> tuple[str, list[float]]:
    """The photo's name and the numbers at the line's end."""
    line = line.strip().rstrip("\t,;")
    name, values = line, list[float]()
    for separator in _SEPARATORS:
        fields = separator.split(line)
        start = len(fields)
        while start > 1 and is_number(fields[start - 1]):
            start -= 1
        if len(fields) - start <= len(values):
            continue
        values = [float(field) for field in fields[start:]]
        gaps = [gap.span() for gap in separator.finditer(line)]
        name = line[: gaps[start - 1][0]]
        if start == 2 and separator is not _SPACES and fields[0].strip().isdecimal():
            name = name[gaps[0][1] :]
        if len(values) >= 10:
            break
    return name.strip().strip('"'), values


def _is_head(name: str, values: Sequence[float]) -> bool:
    """Whether a line has no photo: CelebA's count, or names of columns."""
    return not values and suffix_of(name) not in PHOTO_SUFFIXES


def _choose_columns(
    values: Float64[np.ndarray, "lines numbers"],
) -> tuple[Float64[np.ndarray, "lines 5 2"], tuple[str, ...]]:
    """The ten columns, in pairs, that fit faces best; the first ten where none fit."""
    judged = values[:: max(1, len(values) // _NUM_JUDGED)]
    num_numbers = values.shape[1]
    starts = range(num_numbers - 9)
    ways = [(start, is_apart) for is_apart in (False, True) for start in starts]
    fits = np.array([_middle(residuals(_take(judged, *way))) for way in ways])
    best = int(fits[: len(starts)].argmin())
    if fits.min() < min(fits[best] / 2, FITTING_RESIDUAL):
        best = int(fits.argmin())
    elif fits[best] > FITTING_RESIDUAL:
        misfits = [find_misfit(_take(judged, *way)) for way in ways]
        left = [np.inf if misfit is None else misfit.residual for misfit in misfits]
        best = int(np.argmin(left)) if np.isfinite(left).any() else best
    start, is_apart = ways[best]
    notes = []
    if num_numbers > 10:
        notes.append(
            f"the landmarks are numbers {start + 1} to {start + 10} of the "
            f"{num_numbers} in each line of the list"
        )
    if is_apart:
        notes.append("the list of landmarks has five times x, then five times y")
    return _take(values, start, is_apart), tuple(notes)


def _take(
    values: Float64[np.ndarray, "lines numbers"], start: int, is_apart: bool
) -> Float64[np.ndarray, "lines 5 2"]:
    ten = values[:, start : start + 10]
    return ten.reshape(-1, 2, 5).swapaxes(1, 2) if is_apart else ten.reshape(-1, 5, 2)


def _middle(values: Float64[np.ndarray, " lines"]) -> float:
    """The median of what is known; infinity for nothing."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.inf


def _plain(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _stem(name: str) -> str:
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix in PHOTO_SUFFIXES else name


def _tails(name: str) -> Iterator[str]:
    """The name, then what is left of it without its first folders."""
    while True:
        yield name
        _, slash, name = name.partition("/")
        if not slash:
            return


def _index(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for key, photo in pairs:
        index.setdefault(key, []).append(photo)
    return index
