"""A gallery's entries in files that any tool can open, and back.

``people.parquet`` is one table with the columns id, name, source, added, fields (JSON)
and embedding (a list of float32). Any other name is a folder with ``entries.csv``, the
same columns without the embedding, and ``embeddings.npy``, float32 ``[rows, dim]`` in
the same order. ``gallery.json`` in the folder, or the table's metadata, says the model,
the threshold and the kind of index. Origins, which are paths of this machine, are left
out, for an export may go to others.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from facever.csv_tables import read_csv, write_csv
from facever.data.store.checksums import map_array
from facever.errors import DataError, FileError
from facever.files import check_folder_place, whole_file
from facever.foreign_files import parse_json, read_json
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Entry
from facever.gallery.meta import Threshold, threshold_from_json
from facever.progress import Advance, ignore_progress
from facever.results import plain

_ENTRIES_FILE = "entries.csv"
_EMBEDDINGS_FILE = "embeddings.npy"
_ABOUT_FILE = "gallery.json"
_COLUMNS = ["id", "name", "source", "added", "fields"]
_KEY = b"facever_gallery"


@dataclass(frozen=True)
class Export:
    """What an export holds.

    Attributes:
        entries: The entries, in the order they were added.
        embeddings: Embeddings of unit length.
        model_fingerprint: The model that made the embeddings; None if nobody said.
        model_details: What is worth knowing of that model.
        threshold: The gallery's threshold; None if it had none, and in exports of
            facever before it wrote them.
        index: Kind of index that the gallery was to be searched with; None likewise.
    """

    entries: list[Entry] = field(repr=False)
    embeddings: Float32[np.ndarray, "rows dim"] = field(repr=False)
    model_fingerprint: str | None
    model_details: dict[str, Any]
    threshold: Threshold | None
    index: str | None


def export_gallery(
    gallery: AnyGallery, out: Path, advance: Advance = ignore_progress
) -> int:
    """Write a gallery's entries to a parquet file, or to a folder of CSV and npy.

    Args:
        gallery: The gallery to read.
        out: A name that ends in ``.parquet``, or a folder.
        advance: Progress, one unit for each entry.

    Returns:
        How many entries there are.

    Raises:
        FileError: If it cannot be written; no file has its final name then.
    """
    info = gallery.info()
    about = {
        "model_fingerprint": info.model_fingerprint,
        "model_details": info.model_details,
        "embedding_size": info.embedding_size,
        "threshold": plain(info.threshold),
        "index": info.index,
    }
    if out.suffix == ".parquet":
        return _write_parquet(gallery, out, about, advance)
    check_folder_place(out)
    with (
        whole_file(out / _ENTRIES_FILE) as entries_file,
        whole_file(out / _EMBEDDINGS_FILE) as embeddings_file,
        whole_file(out / _ABOUT_FILE) as about_file,
    ):
        about_file.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        blocks = [np.empty((0, info.embedding_size), np.float32)]

        def rows() -> Iterator[list[str]]:
            for entries, embeddings in gallery.read():
                yield from map(_as_row, entries)
                blocks.append(embeddings)
                advance(len(entries))

        write_csv(entries_file, _COLUMNS, rows(), for_people=True)
        every = np.concatenate(blocks)
        with embeddings_file.open("wb") as binary:
            np.save(binary, every)
    return len(every)


def read_export(path: Path) -> Export:
    """Read what ``export_gallery`` wrote, or another tool in its form.

    Raises:
        FileError: If there is no such file or folder, or it cannot be read.
        DataError: If its parts contradict each other.
    """
    if not path.exists():
        raise FileError(f"{path}: no such export; name a .parquet file or a folder")
    try:
        if path.is_dir():
            about, rows, embeddings = _read_folder(path)
        else:
            about, rows, embeddings = _read_parquet(path)
        entries = [
            Entry(entry_id, name, source, added, parse_json(fields))
            for entry_id, name, source, added, fields in rows
        ]
        fingerprint, details = about["model_fingerprint"], about["model_details"]
        threshold = threshold_from_json(about.get("threshold"))
        index = about.get("index")
        if index is not None and not isinstance(index, str):
            raise ValueError(f"the kind of index is text, got {index!a}")
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not an export of a gallery ({error}); write one with gallery "
            "export"
        ) from None
    if embeddings.dtype != np.float32 or embeddings.ndim != 2:
        raise DataError(
            f"{path}: embeddings must be float32 [rows, dim], got {embeddings.dtype} "
            f"{list(embeddings.shape)}"
        )
    if len(entries) != len(embeddings):
        raise DataError(
            f"{path}: {len(entries)} entries and {len(embeddings)} embeddings; "
            "the two numbers must be equal"
        )
    for entry in entries:
        texts = (entry.id, entry.name, entry.source, entry.added)
        if not all(isinstance(text, str) and text for text in texts):
            raise DataError(
                f"{path}: id, name, source and added must be text, got {texts}"
            )
        if not isinstance(entry.fields, dict):
            raise DataError(f"{path}: fields must be a JSON object, got {entry.fields}")
    return Export(entries, embeddings, fingerprint, details, threshold, index)


def _as_row(entry: Entry) -> list[str]:
    fields = json.dumps(entry.fields, ensure_ascii=False)
    return [entry.id, entry.name, entry.source, entry.added, fields]


def _write_parquet(
    gallery: AnyGallery, out: Path, about: Mapping[str, Any], advance: Advance
) -> int:
    size = about["embedding_size"]
    schema = pa.schema(
        [
            *((column, pa.string()) for column in _COLUMNS),
            ("embedding", pa.list_(pa.float32(), size)),
        ],
        metadata={_KEY: json.dumps(about).encode()},
    )
    num_entries = 0
    with whole_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for entries, embeddings in gallery.read():
            columns = [
                pa.array(column) for column in zip(*map(_as_row, entries), strict=True)
            ]
            flat = pa.array(embeddings.ravel())
            lists = pa.FixedSizeListArray.from_arrays(flat, size)
            writer.write_table(pa.Table.from_arrays([*columns, lists], schema=schema))
            num_entries += len(entries)
            advance(len(entries))
    return num_entries


def _read_parquet(path: Path) -> tuple[Any, Iterator[Any], Any]:
    table = pq.read_table(path)
    about = parse_json((table.schema.metadata or {})[_KEY])
    rows = zip(*(table[column].to_pylist() for column in _COLUMNS), strict=True)
    lists = table["embedding"].combine_chunks()
    embeddings = lists.flatten().to_numpy(zero_copy_only=False)
    return about, rows, embeddings.reshape(-1, about["embedding_size"])


def _read_folder(path: Path) -> tuple[Any, Iterator[Any], Any]:
    about = read_json(path / _ABOUT_FILE)
    embeddings = np.array(map_array(path / _EMBEDDINGS_FILE))
    rows = read_csv(path / _ENTRIES_FILE, _COLUMNS, exact=True, for_people=True)
    return about, ([row[column] for column in _COLUMNS] for row in rows), embeddings
