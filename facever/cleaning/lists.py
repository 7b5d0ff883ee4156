"""Lists of suggestions that a person reads, edits and then applies.

Every list is a csv whose first column says what happens when it is applied:

- ``duplicates.csv``: ``remove`` takes the right photo away. Proposed where both photos
  are of one identity; which of two names is wrong, only a person sees.
- ``outliers.csv``: ``remove`` takes the photo away.
- ``lookalikes.csv``: ``merge`` gives the photos of the right identity to the left one.
  Never proposed: twins look alike, too.
- ``overlap.csv``: ``remove`` takes the identity out of the training set.
- ``overlap_photos.csv``: ``remove`` takes the photo out of the training set.

``keep`` leaves things as they are.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facever.cleaning.suggestions import Overlap, Suggestions
from facever.csv_tables import CsvRow, read_csv, write_csv
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FileError
from facever.files import whole_file
from facever.foreign_files import read_json

KEEP, REMOVE, MERGE = "keep", "remove", "merge"

DUPLICATES = "duplicates.csv"
OUTLIERS = "outliers.csv"
LOOKALIKES = "lookalikes.csv"
OVERLAP = "overlap.csv"
OVERLAP_PHOTOS = "overlap_photos.csv"
ABOUT_FILE = "cleaning.json"

COLUMNS = {
    DUPLICATES: "action cosine left left_identity right right_identity".split(),
    OUTLIERS: (
        "action own_cosine source identity nearest_identity nearest_cosine".split()
    ),
    LOOKALIKES: "action cosine left left_photos right right_photos".split(),
    OVERLAP: "action cosine identity test_identity".split(),
    OVERLAP_PHOTOS: "action cosine source test_source".split(),
}
_ACTIONS = {
    DUPLICATES: (REMOVE, KEEP),
    OUTLIERS: (REMOVE, KEEP),
    LOOKALIKES: (MERGE, KEEP),
    OVERLAP: (REMOVE, KEEP),
    OVERLAP_PHOTOS: (REMOVE, KEEP),
}
Row = Sequence[object]


def suggestion_rows(store: CropStore, found: Suggestions) -> dict[str, list[Row]]:
    """The lists of one set, the worst first."""
    duplicates: list[Row] = []
    for left, right, cosine in found.duplicates.triples():
        who = store.identity_of(left), store.identity_of(right)
        action = REMOVE if who[0] == who[1] else KEEP
        duplicates.append(
            (
                action,
                f"{cosine:.4f}",
                store.sources[left],
                who[0],
                store.sources[right],
                who[1],
            )
        )
    worst = found.outliers
    outliers: list[Row] = [
        (
            REMOVE,
            f"{own:.4f}",
            store.sources[row],
            store.identity_of(row),
            store.identities[nearest],
            f"{cosine:.4f}",
        )
        for row, own, nearest, cosine in zip(
            worst.rows.tolist(),
            worst.own_cosine.tolist(),
            worst.nearest.tolist(),
            worst.nearest_cosine.tolist(),
            strict=True,
        )
    ]
    counts = found.num_photos
    lookalikes: list[Row] = [
        (
            KEEP,
            f"{cosine:.4f}",
            store.identities[left],
            counts[left],
            store.identities[right],
            counts[right],
        )
        for left, right, cosine in found.lookalikes.triples()
    ]
    return {DUPLICATES: duplicates, OUTLIERS: outliers, LOOKALIKES: lookalikes}


def overlap_rows(
    store: CropStore, test: CropStore, found: Overlap
) -> dict[str, list[Row]]:
    """The lists of a training set beside a test set, the most alike first."""
    return {
        OVERLAP: [
            (REMOVE, f"{cosine:.4f}", store.identities[left], test.identities[right])
            for left, right, cosine in found.identities.triples()
        ],
        OVERLAP_PHOTOS: [
            (REMOVE, f"{cosine:.4f}", store.sources[left], test.sources[right])
            for left, right, cosine in found.duplicates.triples()
        ],
    }


def write_list(path: Path, rows: Iterable[Row]) -> None:
    """Write a list under one of the names of ``COLUMNS``."""
    with whole_file(path) as temporary:
        write_csv(temporary, COLUMNS[path.name], rows, for_people=True)


def write_cleaning_json(folder: Path, about: Mapping[str, object]) -> None:
    """Write what lists are of, the last file of a run, with their digests."""
    lists = {
        name: _digest(folder / name) for name in COLUMNS if (folder / name).exists()
    }
    with whole_file(folder / ABOUT_FILE) as temporary:
        text = json.dumps({**about, "lists": lists}, indent=2)
        temporary.write_text(f"{text}\n", "utf-8")


def read_cleaning_json(folder: Path) -> dict[str, Any]:
    """Read what ``write_cleaning_json`` wrote.

    Raises:
        DataError: If the file is missing, as after a run that was stopped, or damaged.
    """
    try:
        about = read_json(folder / ABOUT_FILE)
        if {"store", "lists"} <= about.keys():
            return dict(about)
    except (OSError, ValueError, AttributeError):
        pass
    raise DataError(
        f"{folder} has no whole {ABOUT_FILE}: make the lists again, in another folder "
        "if these were edited"
    )


def check_unedited(folder: Path) -> None:
    """Refuse a folder with lists that somebody has edited.

    Raises:
        DataError: If there are such identities; the message names one.
    """
    if not (folder / ABOUT_FILE).exists():
        return
    for name, digest in read_cleaning_json(folder)["lists"].items():
        path = folder / name
        if path.exists() and _digest(path) != digest:
            raise DataError(
                f"{path} has been edited: apply it (--apply), or name another "
                "folder for new lists"
            )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class CleaningPlan:
    """What the lists of a folder say is to be done.

    Attributes:
        photos: The photos to remove, by source, with the reasons.
        identities: The identities to remove, with the reasons.
        merged: The identity that takes the photos of another, by the other's name.
    """

    photos: dict[str, str]
    identities: dict[str, str]
    merged: dict[str, str]


def read_plan(folder: Path) -> CleaningPlan:
    """Read the lists of a folder, as somebody may have edited them.

    Raises:
        FileError: If the folder has no list.
        DataError: If a list has other columns or an unknown action, or identities are
            merged in a circle.
    """
    photos: dict[str, str] = {}
    identities: dict[str, str] = {}
    merged: dict[str, str] = {}
    names = [name for name in COLUMNS if (folder / name).exists()]
    if not names:
        raise FileError(
            f"{folder} has no list of suggestions, such as {OUTLIERS}: make them with "
            "facever data clean STORE OUT --model MODEL"
        )
    for name in names:
        for row in _read_list(folder / name):
            if row["action"] == KEEP:
                continue
            if name == DUPLICATES:
                reason = f"near-duplicate of {row['left']} ({row['cosine']})"
                photos.setdefault(row["right"], reason)
            elif name == OUTLIERS:
                reason = f"outlier ({row['own_cosine']} to the others of its identity)"
                photos.setdefault(row["source"], reason)
            elif name == LOOKALIKES:
                merged[row["right"]] = row["left"]
            elif name == OVERLAP:
                reason = f"like {row['test_identity']} of the test set"
                identities.setdefault(row["identity"], f"{reason} ({row['cosine']})")
            else:
                reason = f"like {row['test_source']} of the test set"
                photos.setdefault(row["source"], f"{reason} ({row['cosine']})")
    return CleaningPlan(photos, identities, _resolved(folder, merged))


def _read_list(path: Path) -> Iterator[CsvRow]:
    for row in read_csv(path, COLUMNS[path.name], exact=True, for_people=True):
        if row["action"] not in _ACTIONS[path.name]:
            raise row.wrong("action", " or ".join(_ACTIONS[path.name]))
        yield row


def _resolved(folder: Path, merged: dict[str, str]) -> dict[str, str]:
    """Chains followed to their end: a to b and b to c is a to c."""
    found = {}
    for name in merged:
        seen = [name]
        while seen[-1] in merged:
            seen.append(merged[seen[-1]])
            if seen[-1] in seen[:-1]:
                raise DataError(
                    f"{folder / LOOKALIKES} merges {' into '.join(seen)}: set one of "
                    f"the lines to {KEEP}"
                )
        found[name] = seen[-1]
    return found
