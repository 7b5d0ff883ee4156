"""An index in a file of the gallery's folder; it can always be built anew."""

import json
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from facever.errors import FileError
from facever.gallery.approximate import FaissIndex
from facever.gallery.meta import GalleryMeta

INDEX_NAME = "index.faiss"
_FORMAT = 1


@dataclass(frozen=True)
class IndexFile:
    """What an index file holds.

    Attributes:
        index: Ready to search.
        numbers: Of its rows, ascending.
    """

    index: FaissIndex
    numbers: Int64[np.ndarray, " rows"]


def write_index(
    folder: Path, meta: GalleryMeta, index: FaissIndex, numbers: Int64[np.ndarray, " n"]
) -> None:
    """Write an index under a temporary name and put it in place.

    The first line is JSON, with a checksum of all that follows: the numbers of the rows
    and what faiss writes.

    Raises:
        FileError: If it cannot be written.
    """
    rows = numbers.astype("<i8").tobytes()
    content = index.to_bytes().tobytes()
    header = _header(meta, index.kind) | {
        "num_rows": len(numbers),
        "checksum": zlib.crc32(content, zlib.crc32(rows)),
    }
    # Two readers may build at once: each has a name of its own.
    temporary = folder / f".{INDEX_NAME}.{secrets.token_hex(4)}.partial"
    try:
        with temporary.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(rows)
            file.write(content)
        temporary.replace(folder / INDEX_NAME)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileError(
            f"{folder}: cannot write {INDEX_NAME} ({error.strerror or error}); make "
            "room there"
        ) from error


def read_index(folder: Path, meta: GalleryMeta, kind: str) -> IndexFile | None:
    """Read the index of this kind, None if there is none for this gallery and model.

    Raises:
        FileError: If the file is damaged.
    """
    path = folder / INDEX_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror})") from error
    line, _, rest = content.partition(b"\n")
    try:
        header = json.loads(line)
        num_rows, checksum = header.pop("num_rows"), header.pop("checksum")
    except (ValueError, KeyError, AttributeError):
        raise FileError(f"{path} is damaged (no header)") from None
    if zlib.crc32(rest) != checksum:
        raise FileError(f"{path} is damaged (its checksum differs)")
    if header != _header(meta, kind):
        return None
    numbers = np.frombuffer(rest, "<i8", num_rows).astype(np.int64)
    index = FaissIndex.from_bytes(kind, np.frombuffer(rest, np.uint8)[8 * num_rows :])
    return IndexFile(index, numbers)


def remove_index(folder: Path) -> None:
    """Take the index file away, if there is one: nobody reads it any more."""
    (folder / INDEX_NAME).unlink(missing_ok=True)


def _header(meta: GalleryMeta, kind: str) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "gallery_id": meta.gallery_id,
        "model_fingerprint": meta.model_fingerprint,
        "embedding_size": meta.embedding_size,
        "kind": kind,
    }
