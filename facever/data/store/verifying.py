"""Compare a crop store with its checksums."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt32

from facever.data.store.checksums import (
    DIFFERS,
    crop_checksums,
    damaged_files,
    load_checksums,
)
from facever.data.store.crop_bytes import crops_header, read_crop_bytes, row_blocks
from facever.data.store.crop_store import Crops, known_template, open_crops
from facever.data.store.folder import (
    CHECKSUMS_FILE,
    CROPS_FILE,
    CROPS_TABLE,
    JPEG_FILE,
    check_finished,
)
from facever.data.store.jpeg import JpegCrops
from facever.data.store.tables import read_names
from facever.errors import FaceverError, FileError
from facever.progress import Advance, ignore_progress


@dataclass(frozen=True)
class Damage:
    """What of a store is not as it was written.

    Attributes:
        files: What is wrong with each damaged file, by the file's name.
        crops: Row and source of each damaged crop; the source is empty where the
            table of the crops is damaged, too.
    """

    files: dict[str, str]
    crops: list[tuple[int, str]]

    def __bool__(self) -> bool:
        return bool(self.files or self.crops)


def count_checked(folder: Path) -> int:
    """How many crops ``find_damage`` has to read; 0 where it cannot tell."""
    try:
        return len(load_checksums(folder))
    except FileError:
        return 0


def find_damage(folder: Path, advance: Advance = ignore_progress) -> Damage:
    """Read a whole store and compare it with its checksums.

    Args:
        folder: The store's folder.
        advance: Function that is told the progress, one unit for each crop.

    Raises:
        FileError: If the folder is not a finished store.
    """
    check_finished(folder)
    files = dict.fromkeys(damaged_files(folder), DIFFERS)
    try:
        crops = open_crops(folder, known_template(folder))
    except FileError as error:
        name = JPEG_FILE if (folder / JPEG_FILE).exists() else CROPS_FILE
        return Damage({**files, name: str(error)}, [])
    if not isinstance(crops, JpegCrops) and not _is_framed(folder, crops.shape):
        files[CROPS_FILE] = "its header or length is not that of the crops in it"
    try:
        checksums = load_checksums(folder)
    except FileError as error:
        return Damage({**files, CHECKSUMS_FILE: str(error)}, [])
    if len(checksums) != len(crops):
        reason = f"it is of {len(checksums)} crops, there are {len(crops)}"
        return Damage({**files, CHECKSUMS_FILE: reason}, [])
    rows = _damaged_rows(crops, checksums, advance)
    sources = _sources(folder, len(crops))
    return Damage(files, [(row, sources[row]) for row in rows])


def _is_framed(folder: Path, shape: tuple[int, ...]) -> bool:
    """Whether the array has the header that we write, and no byte too many."""
    num_crops, height, width, _ = shape
    header = crops_header(num_crops, (height, width, 3))
    path = folder / CROPS_FILE
    with path.open("rb") as file:
        has_header = file.read(len(header)) == header
    whole = len(header) + math.prod(shape)
    return has_header and path.stat().st_size == whole


def _damaged_rows(
    crops: Crops, checksums: UInt32[np.ndarray, " crops"], advance: Advance
) -> list[int]:
    damaged: list[int] = []
    for rows in row_blocks(np.arange(len(crops))):
        found = crop_checksums(read_crop_bytes(crops, rows))
        damaged += rows[found != checksums[rows]].tolist()
        advance(len(rows))
    return damaged


def _sources(folder: Path, num_crops: int) -> list[str]:
    try:
        sources = read_names(folder / CROPS_TABLE).sources
    except FaceverError:
        sources = []
    return sources if len(sources) == num_crops else [""] * num_crops
