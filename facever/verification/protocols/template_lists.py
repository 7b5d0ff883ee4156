"""Lists of templates: sets of photos of one person, as IJB-B and IJB-C compare them.

Three files in the layout in which InsightFace publishes IJB's lists, and IJB's own CSV
files:

- ``ijbc_face_tid_mid.txt``: a line for each photo of a template: its name, the number
  of the template, and the number of the medium (a still image or a video) that it is
  of. Media of one number in two templates have nothing to do with each other.
- ``ijbc_template_pair_label.txt``: two templates, and 1 where both show one person.
- ``ijbc_name_5pts_score.txt``: a photo, five landmarks, and the detector's score.
- ``ijbc_1N_gallery_G1.csv`` and others: the columns ``TEMPLATE_ID`` and ``SUBJECT_ID``,
  a row for each photo.

References:
    Whitelam et al., IARPA Janus Benchmark-B Face Dataset, CVPR Workshops 2017.
    Maze et al., IARPA Janus Benchmark - C: Face Dataset and Protocol, ICB 2018.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from facever.csv_tables import is_number, read_csv
from facever.errors import DataError, FileError
from facever.foreign_files import check_regular
from facever.verification.photo_matching import match_photos
from facever.verification.protocols.identity_list import IdentityList
from facever.verification.protocols.text import read_lines

_LIST = "lines such as '1.jpg 1 69544': a photo, its template and its medium"
_PAIRS = "lines such as '1 11065 1': two templates, and 1 for one person or 0 for two"
_SCORES = "lines of a photo, perhaps other numbers, and a score from 0"
_CHUNK_LINES = 2**18
_MAX_DIGITS = 18


@dataclass(frozen=True)
class TemplateList:
    """Which photos make each template, and which of them are of one medium.

    Attributes:
        photos: Every photo that a line names, once, in alphabetical order.
        ids: The number of every template, once, ascending.
        photo: Place in ``photos`` of each line's photo.
        template: Place in ``ids`` of each line's template.
        medium: Number of each line's medium.
    """

    photos: list[str]
    ids: Int64[np.ndarray, " templates"]
    photo: Int64[np.ndarray, " lines"]
    template: Int64[np.ndarray, " lines"]
    medium: Int64[np.ndarray, " lines"]

    @property
    def num_media(self) -> int:
        """Number of media, each counted in each of its templates."""
        return len(np.unique([self.template, self.medium], axis=1)[0])

    def find(
        self, numbers: Int64[np.ndarray, " wanted"]
    ) -> Int64[np.ndarray, " wanted"]:
        """Place in ``ids`` of each template, -1 where it is not listed."""
        places = np.searchsorted(self.ids, numbers).clip(max=len(self.ids) - 1)
        found: Int64[np.ndarray, " wanted"] = np.where(
            self.ids[places] == numbers, places, -1
        )
        return found


@dataclass(frozen=True)
class TemplatePairs:
    """Pairs of templates with their truth.

    Attributes:
        left: Place of each pair's first template among a list's ``ids``.
        right: Place of each pair's second template.
        same: True where both show one person.
    """

    left: Int32[np.ndarray, " pairs"]
    right: Int32[np.ndarray, " pairs"]
    same: Bool[np.ndarray, " pairs"]

    def __len__(self) -> int:
        return len(self.same)


def read_templates(path: Path) -> TemplateList:
    """Read which photos make each template, as in ``ijbc_face_tid_mid.txt``.

    Args:
        path: The file, in UTF-8; a photo's name may hold spaces. Blank lines are
            skipped, and the order of lines makes no difference.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is of another form, or names a photo of a template again.
    """
    names: list[str] = []
    numbers: list[tuple[int, int]] = []
    lines: dict[tuple[str, int], int] = {}
    for line, text in read_lines(path, _LIST):
        name, *both = text.rsplit(None, 2)
        if len(both) != 2 or not all(map(_is_whole, both)):
            raise DataError(f"{path}, line {line}: expected {_LIST}, got {text!r}")
        template, medium = map(int, both)
        if (first := lines.setdefault((name, template), line)) != line:
            raise DataError(
                f"{path}, line {line}: expected a new photo of template {template}, "
                f"got {name} of line {first} again"
            )
        names.append(name)
        numbers.append((template, medium))
    photos = sorted(set(names))
    place_of = {name: place for place, name in enumerate(photos)}
    templates, media = np.array(numbers, np.int64).T
    ids, template_places = np.unique(templates, return_inverse=True)
    photo = np.array([place_of[name] for name in names], np.int64)
    return TemplateList(photos, ids, photo, template_places, media)


def read_template_pairs(path: Path, listed: TemplateList) -> TemplatePairs:
    """Read which templates are compared, as in ``ijbc_template_pair_label.txt``.

    Args:
        path: The file. IJB-C's 15.7 million lines take a few seconds; in memory are 9
            bytes a pair, twice at the end, and a part of the text.
        listed: The templates that the pairs name.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is of another form or names an unknown template, or all
            pairs are of one kind.
    """
    parts: list[TemplatePairs] = []
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig") as file:
            start = 1
            while chunk := list(islice(file, _CHUNK_LINES)):
                if lines := [line for line in chunk if not line.isspace()]:
                    parts.append(_read_pairs(path, start, chunk, lines, listed))
                start += len(chunk)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not a text file in UTF-8 (byte {error.start}); expected "
            f"{_PAIRS}"
        ) from None
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror}; expected {_PAIRS}"
        ) from None
    if not parts:
        raise DataError(f"{path} is empty; expected {_PAIRS}")
    same = np.concatenate([part.same for part in parts])
    num_genuine = int(np.count_nonzero(same))
    if num_genuine in (0, same.size):
        raise DataError(
            f"{path}: expected pairs of one person and pairs of two, got "
            f"{num_genuine:,} and {same.size - num_genuine:,}"
        )
    return TemplatePairs(
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.right for part in parts]),
        same,
    )


def _read_pairs(
    path: Path, start: int, chunk: list[str], lines: list[str], listed: TemplateList
) -> TemplatePairs:
    try:
        rows = np.loadtxt(lines, np.int64, comments=None, ndmin=2)
    except ValueError:
        rows = np.empty((0, 0), np.int64)
    if rows.shape == (len(lines), 3):
        left, right = listed.find(rows[:, 0]), listed.find(rows[:, 1])
        truth = rows[:, 2]
        if ((truth == 0) | (truth == 1)).all() and min(left.min(), right.min()) >= 0:
            return TemplatePairs(
                left.astype(np.int32), right.astype(np.int32), truth == 1
            )
    raise next(_wrong_lines(path, start, chunk, listed))


def _wrong_lines(
    path: Path, start: int, chunk: list[str], listed: TemplateList
) -> Iterator[DataError]:
    """What is wrong with each line of a chunk that is wrong somewhere."""
    for line, text in enumerate(chunk, start=start):
        fields = text.split()
        if not fields:
            continue
        where = f"{path}, line {line}"
        if (
            len(fields) != 3
            or not all(map(_is_whole, fields))
            or fields[2] not in ("0", "1")
        ):
            yield DataError(f"{where}: expected {_PAIRS}, got {text.strip()!r}")
            continue
        for field, place in zip(
            fields, listed.find(np.array(fields[:2], np.int64)).tolist(), strict=False
        ):
            if place < 0:
                yield DataError(
                    f"{where}: template {field} is unknown; the list of templates has "
                    f"{len(listed.ids):,}, from {listed.ids[0]} to {listed.ids[-1]}"
                )


def read_template_subjects(path: Path, listed: TemplateList) -> IdentityList:
    """Read who is in each template, as in ``ijbc_1N_gallery_G1.csv``.

    Args:
        path: CSV with the columns ``TEMPLATE_ID`` and ``SUBJECT_ID`` and perhaps
            others; IJB has a row for each photo of a template.
        listed: The templates that the file names.

    Returns:
        The numbers of the templates in the place of photos, and who is in each.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not of that form, names an unknown template, or gives a
            template to two people.
    """
    known = set(listed.ids.tolist())
    subject_of: dict[int, str] = {}
    for row in read_csv(path, ["TEMPLATE_ID", "SUBJECT_ID"], ignore_others=True):
        if not _is_whole(row["TEMPLATE_ID"]):
            raise row.wrong("TEMPLATE_ID", "a whole number")
        template, subject = int(row["TEMPLATE_ID"]), row["SUBJECT_ID"]
        if template not in known:
            raise row.wrong("TEMPLATE_ID", "a template of the list of templates")
        if not subject:
            raise row.wrong("SUBJECT_ID", "a person")
        if (earlier := subject_of.setdefault(template, subject)) != subject:
            raise DataError(
                f"{row.place}: template {template} is of subject {subject} here, and "
                f"of {earlier} before; a template shows one person"
            )
    if not subject_of:
        raise DataError(f"{path} names no template")
    return IdentityList(list(map(str, subject_of)), list(subject_of.values()))


def read_photo_scores(
    path: Path, photos: Sequence[str]
) -> Float64[np.ndarray, " photos"]:
    """Read the detector's score of each photo, as in ``ijbc_name_5pts_score.txt``.

    Args:
        path: The file: lines of a photo and numbers with spaces between, of which the
            last is the score. Further photos are passed over.
        photos: The photos whose scores are wanted.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is of another form, a score is negative or not finite, or
            a photo has none or two.
    """
    score_of: dict[str, float] = {}
    for line, text in read_lines(path, _SCORES):
        fields = text.split()
        num_numbers = 0
        while num_numbers < len(fields) - 1 and is_number(fields[-1 - num_numbers]):
            num_numbers += 1
        score = float(fields[-1]) if num_numbers else np.nan
        if not 0 <= score < np.inf:
            raise DataError(f"{path}, line {line}: expected {_SCORES}, got {text!r}")
        name = text.rsplit(None, num_numbers)[0]
        if name in score_of:
            raise DataError(f"{path}, line {line}: {name} has a score already")
        score_of[name] = score
    rows = match_photos(photos, list(score_of)).rows
    missing = np.flatnonzero(rows < 0)
    if missing.size:
        raise DataError(
            f"{path} has no score for {missing.size:,} of {len(photos):,} photos of "
            f"the templates, such as {photos[missing[0]]}"
        )
    scores: Float64[np.ndarray, " photos"] = np.array(list(score_of.values()))[rows]
    return scores


def _is_whole(field: str) -> bool:
    return field.isascii() and field.isdigit() and len(field) <= _MAX_DIGITS
