"""Checksums of a crop store: what the disk gives back is what was written.

``checksums.npy`` holds the CRC-32 of each crop's bytes (of its pixels, or of its JPEG
in a compressed store), so damage is told by the crop. ``store.json`` holds the SHA-256
of every other file, and of itself without that entry. They find accidents, not forgers.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt32

from facever.data.store.folder import (
    CHECKSUMS_FILE,
    CROPS_TABLE,
    FAILURES_FILE,
    OFFSETS_FILE,
    STORE_FILE,
)
from facever.errors import FileError
from facever.foreign_files import parse_json, read_bytes


def map_array(path: Path) -> np.ndarray:
    """A memory map of the array in a file, read-only.

    Raises:
        FileError: If the file is missing, shorter than its header says or not of this
            kind.
    """
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileError(f"{path} is missing: its folder is damaged") from None
    except Exception as error:
        # A damaged header is evaluated as Python, which fails in ways of all kinds.
        raise FileError(f"{path} cannot be read: {error}") from None
    return mapped


DIGESTED_FILES = (CHECKSUMS_FILE, OFFSETS_FILE, CROPS_TABLE, FAILURES_FILE)
DIFFERS = "its bytes are not those that were written"
_DIGESTS = "sha256"


def crop_checksums(crops: Iterable[bytes | memoryview]) -> UInt32[np.ndarray, " crops"]:
    """CRC-32 of the bytes of each crop."""
    return np.fromiter((zlib.crc32(crop) for crop in crops), np.uint32)


def write_checksums(folder: Path, blocks: Iterable[np.ndarray]) -> None:
    """Write the checksums of the crops in a folder, given block by block."""
    none = np.empty(0, np.uint32)
    np.save(folder / CHECKSUMS_FILE, np.concatenate([none, *blocks]))


def load_checksums(folder: Path) -> UInt32[np.ndarray, " crops"]:
    """The checksums of the crops in a folder.

    Raises:
        FileError: If their file is missing or damaged.
    """
    path = folder / CHECKSUMS_FILE
    checksums: UInt32[np.ndarray, " crops"] = map_array(path)
    if checksums.dtype != np.uint32 or checksums.ndim != 1:
        raise FileError(
            f"{path}: expected one uint32 number a crop, got {checksums.dtype} "
            f"{checksums.shape}"
        )
    return np.array(checksums)


def write_store_json(folder: Path, about: Mapping[str, Any]) -> None:
    """Write ``store.json``, with digests of it and of the files that are there."""
    digests = {
        name: _digest_file(folder / name)
        for name in DIGESTED_FILES
        if (folder / name).exists()
    }
    digests[STORE_FILE] = _digest_text(_as_text({**about, _DIGESTS: digests}))
    text = _as_text({**about, _DIGESTS: digests})
    (folder / STORE_FILE).write_text(text, encoding="utf-8")


def damaged_files(folder: Path) -> list[str]:
    """The files of a store, but for the crops, that are not as they were written."""
    content = read_bytes(folder / STORE_FILE)
    try:
        about = parse_json(content)
        digests = dict(about[_DIGESTS])
        said = digests.pop(STORE_FILE)
        whole = _as_text(about).encode() == content
        intact = said == _digest_text(_as_text({**about, _DIGESTS: digests}))
    except (ValueError, TypeError, KeyError):
        return [STORE_FILE]
    if not (whole and intact):
        return [STORE_FILE]
    return [
        name
        for name, digest in digests.items()
        if not (folder / name).is_file() or _digest_file(folder / name) != digest
    ]


def _as_text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, indent=2) + "\n"


def _digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
