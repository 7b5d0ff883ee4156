"""Photos in parquet files, as data sets are published and data engines write them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import DataError, FaceverError, FileError, PhotoError
from facever.faces.photo_source import PhotoListing, PhotoSource, safe_name
from facever.faces.photos import MAX_FILE_BYTES

PHOTO_COLUMNS = ("image", "photo", "crop", "jpg", "png", "img")
IDENTITY_COLUMNS = ("identity", "label")

# What pyarrow raises of a damaged file, names that are not UTF-8 among it.
_DAMAGE = (OSError, ValueError, LookupError, MemoryError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """A photo's row in a parquet file.

    Attributes:
        column: The column of the photos' bytes.
        group: The row group.
        row: The row in it.
    """

    column: str
    group: int
    row: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"row {self.row} of row group {self.group}"

    def read(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
        """The bytes of the photo.

        Raises:
            PhotoError: If there are none, or they cannot be read.
        """
        try:
            photo = _read_group(path, self.column, self.group)[self.row].as_py()
        except _DAMAGE as error:
            raise PhotoError(f"{self.where} cannot be read: {error}") from None
        if photo is None:
            raise PhotoError(f"{self.where} holds no photo")
        content: bytes = photo
        return content


def list_parquet_photos(path: Path) -> PhotoListing:
    """List the photos of a parquet file, or of all ``.parquet`` files in a folder.

    A column ``image``, ``photo``, ``crop``, ``jpg``, ``png`` or ``img`` has the bytes
    of the photos' files, or a structure with a field ``bytes``, as the data sets of
    Hugging Face have it. The column ``source`` names a photo; without it, the row's
    number does, in a folder behind the name of the file and a slash. The column
    ``identity``, or else ``label``, a name or a number, says who is in it; without it,
    everybody is somebody else.

    Raises:
        FileError: If a file cannot be read.
        DataError: If it has no photos, a source is no path or there twice, an identity
            is missing, or a row group is too large to be held in memory.
    """
    in_folder = path.is_dir()
    files = sorted(path.glob("*.parquet")) if in_folder else [path]
    photos: dict[str, PhotoSource] = {}
    for file in files:
        for photo in _list_file(file, f"{file.stem}/" if in_folder else ""):
            if photo.source in photos:
                raise DataError(f"{file}: {photo.source} is there twice")
            photos[photo.source] = photo
    return PhotoListing(list(photos.values()), Counter())


def _list_file(path: Path, before: str) -> Iterator[PhotoSource]:
    try:
        with pq.ParquetFile(path) as file:
            column = _find_photos(path, file)
            wanted = [
                name
                for name in ("source", *IDENTITY_COLUMNS)
                if name in file.schema_arrow.names
            ]
            sizes = [_check_group(path, file, group, column) for group in _groups(file)]
            table = file.read(columns=wanted).to_pydict() if wanted else {}
    except FaceverError:
        raise
    except _DAMAGE as error:
        raise FileError(f"{path} is no parquet file, or damaged: {error}") from None
    identities = next((table[name] for name in IDENTITY_COLUMNS if name in table), None)
    row = 0
    for group, size in enumerate(sizes):
        for place in range(size):
            where = f"{path}, row {row}"
            source = f"{before}{row:06d}"
            if "source" in table:
                source = safe_name(where, str(table["source"][row] or ""))
            identity = source if identities is None else identities[row]
            if identity is None or not str(identity).strip():
                raise DataError(f"{where}: the identity is empty")
            part = ParquetPart(column, group, place)
            yield PhotoSource(source, str(identity).strip(), path, part)
            row += 1


def _groups(file: pq.ParquetFile) -> range:
    return range(file.metadata.num_row_groups)


def _find_photos(path: Path, file: pq.ParquetFile) -> str:
    """The column of the photos' bytes, by its path."""
    for name in PHOTO_COLUMNS:
        if name not in file.schema_arrow.names:
            continue
        kind = file.schema_arrow.field(name).type
        if _holds_bytes(kind):
            return name
        is_structure = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if is_structure and _holds_bytes(kind.field("bytes").type):
            return f"{name}.bytes"
    raise DataError(
        f"{path} has no column of photos: expected {', '.join(PHOTO_COLUMNS[:-1])} "
        f"or {PHOTO_COLUMNS[-1]} with the bytes of image files, or a structure with "
        f"bytes; it has {', '.join(file.schema_arrow.names) or 'none'}"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_group(path: Path, file: pq.ParquetFile, group: int, column: str) -> int:
    """The rows of a group, whose photos can be held in memory."""
    about = file.metadata.row_group(group)
    for place in range(about.num_columns):
        chunk = about.column(place)
        if chunk.path_in_schema == column and (
            chunk.total_uncompressed_size > MAX_FILE_BYTES
        ):
            raise DataError(
                f"{path}: the photos of row group {group} have "
                f"{chunk.total_uncompressed_size:,} bytes, and are read together: "
                "write it with row groups of up to a thousand photos"
            )
    rows: int = about.num_rows
    return rows


@lru_cache(maxsize=1)
def _read_group(path: Path, column: str, group: int) -> Any:
    """The photos of a row group, which are asked for one after the other."""
    with pq.ParquetFile(path) as file:
        name, _, inside = column.partition(".")
        read = file.read_row_group(group, columns=[column])[name].combine_chunks()
        return read.field(inside) if inside else read
