"""An index in a file of the gallery's folder; it can always be built again."""

import itertools
import json
import logging
import secrets
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from facever.errors import FileError
from facever.files import put_in_place
from facever.gallery.indexes.index import Index
from facever.gallery.meta import GalleryMeta

_log = logging.getLogger(__name__)

INDEX_NAME = "gallery.index"
_FORMAT = 2

# The header is filled with spaces to a multiple of this: what follows is aligned.
_ALIGNMENT = 64
_MOST_HEADER = 2**16
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class IndexFile:
    """What an index file holds; the content is mapped, not read.

    Attributes:
        numbers: The numbers of the index's rows, ascending.
        newest: Number and id of the newest row when the file was written.
        content: The index's parts, one after the other.
    """

    numbers: Int64[np.ndarray, " rows"]
    newest: tuple[int, str]
    content: UInt8[np.ndarray, " bytes"]


def write_index(
    folder: Path,
    meta: GalleryMeta,
    kind: type[Index],
    numbers: Int64[np.ndarray, " rows"],
    newest: tuple[int, str],
    parts: Iterable[np.ndarray],
) -> bool:
    """Write an index under a temporary name and put it in place, if that is possible.

    The first line is JSON; the numbers of the rows and the parts follow, and a CRC-32
    of all this. If it cannot be written, that is logged as a warning: somebody who may
    only read can still search.

    Args:
        folder: The gallery's folder.
        meta: The gallery's metadata.
        kind: The class of the index.
        numbers: The numbers of its rows, ascending.
        newest: Number and id of the newest row of the gallery.
        parts: What the index is made from when the file is read.

    Returns:
        Whether it was written.

    Raises:
        FileError: If ``parts`` raises it, since the database is damaged.
    """
    header = _header(meta, kind) | {
        "writer": kind.writer,
        "num_rows": len(numbers),
        "newest": newest,
    }
    line = json.dumps(header).encode()
    line += b" " * (-(len(line) + 1) % _ALIGNMENT) + b"\n"
    rows = numbers.astype("<i8")
    # Two readers may build at the same time: each writes under a name of its own.
    temporary = folder / f".{INDEX_NAME}.{secrets.token_hex(4)}.partial"
    try:
        with temporary.open("wb") as file:
            file.write(line)
            checksum = zlib.crc32(line)
            for part in itertools.chain((rows,), parts):
                file.write(part.data)
                checksum = zlib.crc32(part.data, checksum)
            file.write(_CHECKSUM.pack(checksum))
        put_in_place(temporary, folder / INDEX_NAME)
    except FileError:
        raise
    except OSError as error:
        _log.warning(
            "%s: cannot write %s (%s), so it is built again at every start; make room "
            "there",
            folder,
            INDEX_NAME,
            error.strerror or error,
        )
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def read_index(folder: Path, meta: GalleryMeta, kind: type[Index]) -> IndexFile | None:
    """Map the index, None if the file is for another gallery, model or kind.

    Raises:
        FileError: If the file is damaged, or written by something else than what is
            installed.
    """
    path = folder / INDEX_NAME
    if path.exists() and not path.is_file():
        raise FileError(f"{path} is damaged (it is a pipe, a device or a folder)")
    try:
        # A private mapping (copy on write): torch warns of arrays that are read-only.
        content = np.memmap(path, np.uint8, "c")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError:
        raise FileError(f"{path} is damaged (it is empty)") from None
    line, _, _ = content[:_MOST_HEADER].tobytes().partition(b"\n")
    try:
        header: dict[str, Any] = json.loads(line)
        num_rows, [number, entry_id] = int(header.pop("num_rows")), header.pop("newest")
        newest = int(number), str(entry_id)
        writer = header.pop("writer")
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
        raise FileError(f"{path} is damaged (no header)") from None
    if header != _header(meta, kind):
        return None
    if writer != kind.writer:
        raise FileError(f"{path} was written by {writer}, this is {kind.writer}")
    [checksum] = _CHECKSUM.unpack(content[-_CHECKSUM.size :].data)
    if zlib.crc32(content[: -_CHECKSUM.size].data) != checksum:
        raise FileError(f"{path} is damaged (its checksum differs)")
    start = len(line) + 1
    end = start + 8 * num_rows
    numbers = content[start:end].view("<i8").astype(np.int64)
    return IndexFile(numbers, newest, np.asarray(content[end : -_CHECKSUM.size]))


def remove_index(folder: Path) -> None:
    """Remove the index file, if there is one: nobody reads it any more."""
    (folder / INDEX_NAME).unlink(missing_ok=True)


def _header(meta: GalleryMeta, kind: type[Index]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "gallery_id": meta.gallery_id,
        "model_fingerprint": meta.model_fingerprint,
        "embedding_size": meta.embedding_size,
        "kind": kind.kind,
    }
