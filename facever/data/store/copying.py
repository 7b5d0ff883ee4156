"""Write a new crop store from rows of others, as they stand in their files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from facever.csv_tables import write_csv
from facever.data.store.checksums import write_store_json
from facever.data.store.crop_bytes import CropsFile, read_checked_bytes, row_blocks
from facever.data.store.crop_store import (
    JPEG_SETTING,
    CropStore,
    fingerprint_of,
    settings_template,
)
from facever.data.store.folder import (
    CROPS_TABLE,
    FAILURES_FILE,
    LEFT_OUT_FILE,
    STORE_FILE,
    check_free,
    hold_store,
    new_files,
)
from facever.data.store.tables import (
    CROP_COLUMNS,
    FAILURE_COLUMNS,
    label_identities,
    number_texts,
)
from facever.errors import FileError
from facever.progress import Advance, ignore_progress

LEFT_OUT_COLUMNS = ["row", "identity", "source", "reason"]

Encode = Callable[[UInt8[np.ndarray, "high wide 3"]], bytes]


@dataclass(frozen=True)
class Part:
    """Rows of a store, in the order in which a new store has them."""

    store: CropStore
    rows: Int64[np.ndarray, " rows"]

    def crops(self) -> Iterator[tuple[str, str]]:
        """Source and identity of each row."""
        for row in self.rows.tolist():
            yield self.store.sources[row], self.store.identity_of(row)


@dataclass(frozen=True)
class Contents:
    """What a new store is to hold.

    Attributes:
        parts: The sources of the crops, in the order of the new rows.
        failures: The ledger of photos without a crop, with the reasons.
        settings: The settings that the crops were made with.
        encode: Turns the crops of an uncompressed store into the JPEGs of a compressed
            one; None copies them as they are.
        left_out: Row, identity, source and reason of each crop that the store it was
            chosen from holds and this one does not; None where nothing was chosen.
    """

    parts: Sequence[Part]
    failures: Mapping[str, str]
    settings: Mapping[str, Any]
    encode: Encode | None = None
    left_out: Sequence[tuple[int, str, str, str]] | None = None

    @property
    def num_crops(self) -> int:
        """Crops of all parts."""
        return sum(len(part.rows) for part in self.parts)

    def fingerprint(self) -> str:
        """Fingerprint of the crops and the ledger, see ``fingerprint_of``."""
        crops = (crop for part in self.parts for crop in part.crops())
        return fingerprint_of(crops, self.failures)


def write_new_store(
    out: Path, contents: Contents, advance: Advance = ignore_progress
) -> bool:
    """Write a store into a new folder, whole or not at all.

    Args:
        out: Folder that does not exist, is empty, or holds the same store already. In
            the last case it is left alone, so that a command for two stores can be run
            again.
        contents: The crops and tables to write.
        advance: Function that is told the progress, one unit for each crop.

    Returns:
        Whether the store was written; False where it was there already.

    Raises:
        FileError: If the folder holds something else or cannot be written.
        DataError: If a crop to be copied is damaged.
    """
    with hold_store(out):
        if (out / STORE_FILE).exists():
            _check_same(CropStore.open(out), contents)
            return False
        check_free(out)
        write_store(out, contents, advance)
    return True


def write_store(out: Path, contents: Contents, advance: Advance) -> None:
    """Write a store into a held folder, in place of what store is there.

    Raises:
        FileError: If it cannot be written; what was there is as it was.
        DataError: If a crop to be copied is damaged; what was there is as it was.
    """
    with new_files(out) as folder:
        write_csv(folder / CROPS_TABLE, CROP_COLUMNS, _table_rows(contents.parts))
        write_csv(folder / FAILURES_FILE, FAILURE_COLUMNS, contents.failures.items())
        if contents.left_out is not None:
            write_csv(folder / LEFT_OUT_FILE, LEFT_OUT_COLUMNS, contents.left_out)
        _write_crops(folder, contents, advance)
        about = {
            "settings": contents.settings,
            "fingerprint": contents.fingerprint(),
            "num_crops": contents.num_crops,
            "num_failures": len(contents.failures),
        }
        write_store_json(folder, about)


def _write_crops(folder: Path, contents: Contents, advance: Advance) -> None:
    compressed = JPEG_SETTING in contents.settings
    shape = settings_template(folder, contents.settings).shape
    with CropsFile(folder, contents.num_crops, shape, compressed=compressed) as file:
        for part in contents.parts:
            for rows in row_blocks(part.rows):
                written = read_checked_bytes(part.store, rows)
                if contents.encode:
                    written = [
                        contents.encode(np.frombuffer(crop, np.uint8).reshape(shape))
                        for crop in written
                    ]
                file.add(written)
                advance(len(rows))
        file.finish()


def _table_rows(parts: Sequence[Part]) -> Iterator[list[object]]:
    names = [identity for part in parts for _, identity in part.crops()]
    _, labels = label_identities(names)
    place = 0
    for part in parts:
        for rows in row_blocks(part.rows):
            numbers = part.store.numbers(rows).tolist()
            for row, crop in zip(rows.tolist(), numbers, strict=True):
                source = part.store.sources[row]
                texts = number_texts(crop)
                yield [place, names[place], labels[place], source, *texts]
                place += 1


def _check_same(there: CropStore, contents: Contents) -> None:
    same = (
        there.settings == contents.settings
        and there.fingerprint == contents.fingerprint()
        and (contents.encode is not None or _has_crops_of(there, contents))
    )
    if not same:
        raise FileError(
            f"{there.folder} holds another crop store already: write into a new folder"
        )


def _has_crops_of(there: CropStore, contents: Contents) -> bool:
    """Whether the checksums are those of the parts."""
    given = [part.store.checksums[part.rows] for part in contents.parts]
    return np.array_equal(there.checksums, np.concatenate(given))
