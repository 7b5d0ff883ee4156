"""The crop store: aligned crops and their table in files that any tool can open.

A store is a folder:

- ``crops.npy``: uint8 ``[N, height, width, 3]``, RGB, memory-mapped; in a compressed
  store ``crops.jpg`` and ``crops.offsets.npy`` instead (see ``jpeg``);
- ``crops.csv``: one line a crop: row, identity, label, source, the five landmarks in
  the photo (``x1`` .. ``y5``, pixels), the detector's score, the landmarks' residual,
  the number of faces in the photo, and for each rule for one face whether it takes this
  one (``by_largest`` ..); what is not known is ``nan``;
- ``failures.csv``: the ledger: source, reason;
- ``checksums.npy``: uint32 ``[N]``, of each crop (see ``checksums``);
- ``store.json``: how the crops were made (``settings``), of which photos (a
  fingerprint), their number, and the digests of the files above;
- ``left_out.csv``, only in a store that was chosen from another: row, identity, source
  there and the reason of each crop that was not.

A source is the path of the photo below the source folder, with ``/``. Where one photo
gave several crops the second has the source ``photo.jpg#2`` and so on, so that a source
names one crop only. Labels number the sorted identities that have at least one crop.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt32

from facever.csv_tables import read_csv
from facever.data.store.checked_crops import CheckedCrops, StoredCrops
from facever.data.store.checksums import load_checksums, map_array
from facever.data.store.folder import (
    CROPS_FILE,
    CROPS_TABLE,
    FAILURES_FILE,
    JPEG_FILE,
    STORE_FILE,
    check_finished,
)
from facever.data.store.jpeg import JpegCrops
from facever.data.store.tables import (
    FACE_COLUMNS,
    FAILURE_COLUMNS,
    POINT_COLUMNS,
    read_names,
    read_numbers,
)
from facever.errors import DataError, FileError
from facever.faces.landmark_fit import measure_residuals
from facever.faces.templates import (
    DEFAULT_TEMPLATE,
    Template,
    require_window,
    template_of,
)
from facever.foreign_files import read_json

JPEG_SETTING = "jpeg_quality"

Crops = StoredCrops | CheckedCrops


@dataclass(frozen=True)
class CropStore:
    """Crops and what is known of each, read-only.

    Attributes:
        folder: The store's folder.
        crops: A memory map, or JPEGs that are decoded when indexed: a slice or a few
            rows of it read only what they need.
        identities: Names of the identities, sorted; a label is an index into them.
        labels: Label of each crop.
        sources: Source of each crop, unique.
        failures: The photos without a crop, with the reasons.
        settings: The settings that the crops were made with.
        template: What the crops look like.
        fingerprint: Fingerprint of what the store holds (see ``fingerprint_of``).
        checksums: CRC-32 of each crop's bytes in the file.
    """

    folder: Path
    crops: StoredCrops
    identities: list[str]
    labels: Int64[np.ndarray, " crops"]
    sources: list[str]
    failures: dict[str, str]
    settings: dict[str, Any]
    template: Template
    fingerprint: str
    checksums: UInt32[np.ndarray, " crops"]

    def __len__(self) -> int:
        return len(self.sources)

    def identity_of(self, row: int) -> str:
        """Who is on the crop of a row."""
        return self.identities[int(self.labels[row])]

    @property
    def landmarks(self) -> Float64[np.ndarray, "crops 5 2"]:
        """In the photo, pixels, x then y; NaN where unknown."""
        return self._points[:, :10].reshape(-1, 5, 2)

    @property
    def scores(self) -> Float64[np.ndarray, " crops"]:
        """The detector's confidence, in [0, 1]; NaN where unknown."""
        return self._points[:, 10]

    @property
    def residuals(self) -> Float64[np.ndarray, " crops"]:
        """How far landmarks are from the template, in distances of its eyes.

        See ``facever.faces.landmark_fit``; NaN where they are unknown.
        """
        return self._faces[:, 0]

    @property
    def num_faces(self) -> Float64[np.ndarray, " crops"]:
        """How many faces were found in each crop's photo; NaN where unknown."""
        return self._faces[:, 1]

    @property
    def by_rule(self) -> Float64[np.ndarray, "crops rules"]:
        """1 where a rule for one face takes the crop's, 0 where it takes another.

        The columns are those of ``ONE_FACE_RULES``; NaN where unknown.
        """
        return self._faces[:, 2:]

    def numbers(
        self, rows: Int64[np.ndarray, " rows"]
    ) -> Float64[np.ndarray, "rows columns"]:
        """All that ``crops.csv`` says of these rows in numbers, in its order."""
        return np.hstack([self._points[rows], self._faces[rows]])

    def crops_for(self, template: Template) -> CheckedCrops:
        """The crops as a model of a template takes them, checked when they are read.

        They are whole, or some of the rows and columns where the store's crops contain
        those of the template.

        Raises:
            MismatchError: If the store's crops do not serve; the message says what to
                do.
        """
        window = require_window(template, self.template, str(self.folder))
        return CheckedCrops(self.folder, self.crops, self.checksums, window)

    # Read when first asked for: few ask, and it takes longer than all the rest.
    @cached_property
    def _points(self) -> Float64[np.ndarray, "crops 11"]:
        return read_numbers(self.folder / CROPS_TABLE, POINT_COLUMNS)

    @cached_property
    def _faces(self) -> Float64[np.ndarray, "crops columns"]:
        numbers = read_numbers(self.folder / CROPS_TABLE, FACE_COLUMNS)
        if len(numbers) and np.isnan(numbers[:, 0]).all():
            # A store that was written before residuals were kept.
            numbers[:, 0] = measure_residuals(self.landmarks)
        return numbers

    @classmethod
    def open(cls, folder: Path | str) -> "CropStore":
        """Open the store in a folder.

        Args:
            folder: The folder that ``facever align`` or ``facever data`` wrote.

        Raises:
            FileError: If the folder is not a finished crop store or is damaged.
            DataError: If its files contradict each other.
        """
        folder = Path(folder)
        check_finished(folder)
        about = _read_about(folder / STORE_FILE)
        template = settings_template(folder, about["settings"])
        crops = open_crops(folder, template)
        names = read_names(folder / CROPS_TABLE)
        ledger = read_csv(folder / FAILURES_FILE, FAILURE_COLUMNS, exact=True)
        failures = {row["source"]: row["reason"] for row in ledger}
        checksums = load_checksums(folder)
        if not len(crops) == len(names.sources) == about["num_crops"]:
            raise DataError(
                f"{folder} holds {len(crops)} crops, {CROPS_TABLE} "
                f"{len(names.sources)} and {STORE_FILE} says {about['num_crops']}: the "
                "store is damaged, align the photos again into a new folder"
            )
        if len(checksums) != len(crops):
            raise DataError(
                f"{folder} holds {len(crops)} crops and {len(checksums)} checksums: "
                "the store is damaged; facever data verify says more"
            )
        return cls(
            folder=folder,
            crops=crops,
            identities=names.identities,
            labels=names.labels,
            sources=names.sources,
            failures=failures,
            settings=about["settings"],
            template=template,
            fingerprint=about["fingerprint"],
            checksums=checksums,
        )


def crop_source(photo: str, face: int) -> str:
    """The source of a photo's crop: the photo itself, then ``photo#2`` and so on.

    Args:
        photo: The photo's source.
        face: Number of the crop among those of the photo, from 0.

    >>> [crop_source("A/1.jpg", face) for face in range(3)]
    ['A/1.jpg', 'A/1.jpg#2', 'A/1.jpg#3']
    """
    return photo if face == 0 else f"{photo}#{face + 1}"


def photo_of(source: str) -> str:
    """The photo that a crop was cut from.

    >>> photo_of("A/1.jpg#2"), photo_of("A/1.jpg"), photo_of("A/no#dots.jpg")
    ('A/1.jpg', 'A/1.jpg', 'A/no#dots.jpg')
    """
    photo, mark, number = source.rpartition("#")
    return photo if mark and number.isascii() and number.isdigit() else source


def fingerprint_of(crops: Iterable[tuple[str, str]], failures: Iterable[str]) -> str:
    """SHA-256 of what a store holds, whoever wrote it in how many parts.

    Args:
        crops: Source and identity of each crop, in the order of the rows.
        failures: Sources of the photos in the ledger, in its order.
    """
    digest = hashlib.sha256()
    for pair in crops:
        digest.update(json.dumps(pair).encode())
    for source in failures:
        digest.update(json.dumps([source]).encode())
    return digest.hexdigest()


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
        if not isinstance(about["settings"], dict):
            raise TypeError("settings must be an object")
        return {
            **about,
            "fingerprint": str(about["fingerprint"]),
            "num_crops": int(about["num_crops"]),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path} is damaged: {error}") from None


def settings_template(folder: Path, settings: Mapping[str, Any]) -> Template:
    """The template of a store with these settings.

    Raises:
        FileError: If this version of facever does not know it.
    """
    template = template_of(settings.get("template", DEFAULT_TEMPLATE.description))
    if template is None:
        raise FileError(
            f"{folder} holds crops of a template that this version of facever does "
            "not know: update facever, or align the photos again"
        )
    return template


def known_template(folder: Path) -> Template | None:
    """The template of a store that may be damaged; None if its files do not say."""
    try:
        return settings_template(folder, _read_about(folder / STORE_FILE)["settings"])
    except FileError:
        return None


def open_crops(folder: Path, template: Template | None) -> StoredCrops:
    """The crops of a store, whatever its other files are like.

    Args:
        folder: The store's folder.
        template: What its crops look like; None takes pixels of any shape, and JPEGs as
            bytes alone.

    Raises:
        FileError: If their file is missing or damaged.
    """
    if (folder / JPEG_FILE).exists():
        return JpegCrops(folder, (template or DEFAULT_TEMPLATE).shape)
    path = folder / CROPS_FILE
    crops: UInt8[np.ndarray, "crops high wide 3"] = map_array(path)
    shape = template.shape if template else (*crops.shape[1:3], 3)
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != shape:
        raise FileError(
            f"{path}: expected uint8 crops of {shape}, got {crops.dtype} {crops.shape}"
        )
    return crops
