"""The crop store: aligned crops and their records in files that any tool can open.

A store is a folder:

- ``crops.npy``: uint8 ``[N, 112, 96, 3]``, RGB, memory-mapped;
- ``records.csv``: one line a crop: row, identity, label, source, the five landmarks in
  the photo (``x1`` .. ``y5``, pixels) and the detector's score; what is not known is
  ``nan``;
- ``failures.csv``: the ledger: source, reason;
- ``store.json``: how the crops were made (``settings``), from which list of photos (a
  fingerprint), and their number.

A source is the path of the photo below the source folder, with ``/``. Where one photo
gave several crops the second has the source ``photo.jpg#2`` and so on, so that a source
names one crop only. Labels number the sorted identities that have at least one crop.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from facever.errors import DataError, FileError

CROP_SHAPE = (112, 96, 3)
CROPS_FILE = "crops.npy"
RECORDS_FILE = "records.csv"
FAILURES_FILE = "failures.csv"
STORE_FILE = "store.json"
PARTIAL_FOLDER = ".partial"
READY_FOLDER = ".ready"
RECORD_COLUMNS = "row identity label source x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score".split()
FAILURE_COLUMNS = ["source", "reason"]


@dataclass(frozen=True)
class CropStore:
    """Crops and their records, read-only.

    Attributes:
        folder: Where the store lies.
        crops: A memory map: a slice of it reads only what it needs.
        identities: Sorted; a label is an index into it.
        labels: Of each crop.
        sources: Of each crop, unique.
        landmarks: In the photo, pixels, x then y; NaN where unknown.
        scores: The detector's confidence, in [0, 1]; NaN where unknown.
        failures: Photos without a crop, and why.
        settings: How the crops were made.
        fingerprint: Of the list of photos (see ``fingerprint_of``).
    """

    folder: Path
    crops: UInt8[np.ndarray, "crops 112 96 3"]
    identities: list[str]
    labels: Int64[np.ndarray, " crops"]
    sources: list[str]
    landmarks: Float64[np.ndarray, "crops 5 2"]
    scores: Float64[np.ndarray, " crops"]
    failures: dict[str, str]
    settings: dict[str, Any]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def open(cls, folder: Path | str) -> "CropStore":
        """Open the store in a folder.

        Args:
            folder: What ``facever align`` wrote.

        Raises:
            FileError: If the folder is not a finished crop store or is damaged.
            DataError: If its files contradict each other.
        """
        folder = Path(folder)
        about = _read_about(folder)
        crops = _map_crops(folder / CROPS_FILE)
        records = list(read_rows(folder / RECORDS_FILE, RECORD_COLUMNS))
        failures = dict(read_rows(folder / FAILURES_FILE, FAILURE_COLUMNS))
        if not len(crops) == len(records) == about["num_crops"]:
            raise DataError(
                f"{folder}: {CROPS_FILE} has {len(crops)} crops, {RECORDS_FILE} "
                f"{len(records)} and {STORE_FILE} says {about['num_crops']}: the store "
                "is damaged, align the photos again into a new folder"
            )
        identities, labels = label_identities([record[1] for record in records])
        sources = [record[3] for record in records]
        try:
            numbers = np.array([record[4:] for record in records], dtype=np.float64)
            written = np.array([record[2] for record in records], dtype=np.int64)
        except ValueError as error:
            raise DataError(f"{folder / RECORDS_FILE}: {error}") from None
        if not np.array_equal(written, labels) or len(set(sources)) != len(sources):
            raise DataError(
                f"{folder / RECORDS_FILE}: labels must number the sorted identities "
                "and sources be unique; align the photos again into a new folder"
            )
        numbers = numbers.reshape(len(records), 11)
        return cls(
            folder=folder,
            crops=crops,
            identities=identities,
            labels=labels,
            sources=sources,
            landmarks=numbers[:, :10].reshape(-1, 5, 2),
            scores=numbers[:, 10].copy(),
            failures=failures,
            settings=about["settings"],
            fingerprint=about["fingerprint"],
        )


def crop_source(photo: str, face: int) -> str:
    """The source of a photo's crop: the photo itself, then ``photo#2`` and so on."""
    return photo if face == 0 else f"{photo}#{face + 1}"


def photo_of(source: str) -> str:
    """The photo that a crop was cut from."""
    photo, mark, number = source.rpartition("#")
    return photo if mark and number.isascii() and number.isdigit() else source


def label_identities(
    identities: Sequence[str],
) -> tuple[list[str], Int64[np.ndarray, " crops"]]:
    """The sorted distinct identities, and of each given one its index there."""
    distinct = sorted(set(identities))
    index = {identity: label for label, identity in enumerate(distinct)}
    labels = np.array([index[identity] for identity in identities], dtype=np.int64)
    return distinct, labels


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The lines of a csv file with these columns, as text.

    Raises:
        FileError: If the file is missing or its header or a line is not as it should.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != list(columns):
                raise FileError(f"{path}: expected the columns {','.join(columns)}")
            for row in rows:
                if len(row) != len(columns):
                    raise FileError(
                        f"{path}, line {rows.line_num}: expected {len(columns)} "
                        f"values, got {len(row)}"
                    )
                yield row
    except FileNotFoundError:
        raise FileError(f"{path} is missing: the crop store is damaged") from None


def write_rows(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write a csv file that ``read_rows`` reads."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _read_about(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileError(f"no crop store at {folder}: no such folder")
    if (folder / READY_FOLDER).exists():
        raise FileError(f"{folder} is half replaced: run the same facever align again")
    path = folder / STORE_FILE
    if not path.exists():
        unfinished = (folder / PARTIAL_FOLDER).exists()
        raise FileError(
            f"{folder} is not a finished crop store: run the same facever align again"
            if unfinished
            else f"{folder} is not a crop store (no {STORE_FILE}): make one with "
            "facever align PHOTOS CROPS"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about["settings"], dict):
            raise TypeError("settings must be an object")
        return {
            "settings": about["settings"],
            "fingerprint": str(about["fingerprint"]),
            "num_crops": int(about["num_crops"]),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path} is damaged: {error}") from None


def _map_crops(path: Path) -> UInt8[np.ndarray, "crops 112 96 3"]:
    try:
        crops = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path} cannot be read: {error}") from None
    if crops.dtype != np.uint8 or crops.shape[1:] != CROP_SHAPE:
        raise FileError(
            f"{path}: expected uint8 crops of {CROP_SHAPE}, "
            f"got {crops.dtype} {crops.shape}"
        )
    return crops  # type: ignore[no-any-return]
