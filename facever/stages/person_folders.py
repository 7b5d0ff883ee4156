"""Copies of photos in a folder for each person, which a later run may replace.

Beside the folder ``people`` lies ``people.csv``, which lists the copies as they were
written. A folder in which anything else is, or anything has changed, somebody works
with: it is left alone.
"""

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from facever.clustering.face_clusters import ALONE
from facever.csv_tables import read_csv, write_csv
from facever.data.store.exporting import DistinctNames
from facever.errors import DataError, FileError
from facever.faces.photo_source import PhotoSource
from facever.files import whole_file, whole_folder
from facever.progress import progress_bar

ALONE_NAME = "alone"
_COLUMNS = ("copy", "bytes", "modified")


def check_replaceable(people: Path) -> None:
    """Refuse a folder that holds what no earlier run has written.

    Raises:
        FileError: If there is anything but unchanged copies; it is named.
    """
    if not people.exists():
        return
    known = _read_table(_table_of(people))
    folders = {str(PurePosixPath(copy).parent) for copy in known}
    for path in sorted(people.rglob("*")):
        name = path.relative_to(people).as_posix()
        is_ours = name in folders if path.is_dir() else known.get(name) == _state(path)
        if not is_ours:
            raise FileError(
                f"{people} holds {name}, which is not as facever cluster --copy wrote "
                "it: rename or remove the folder, or choose another OUT"
            )
    if not people.is_dir():
        raise FileError(f"{people} is a file: rename it, or choose another OUT")


def write_person_folders(
    photos: Sequence[PhotoSource],
    clusters_on: Mapping[str, set[int]],
    num_clusters: int,
    people: Path,
) -> None:
    """Copy each photo into the folders of all who are on it.

    Args:
        photos: The photos.
        clusters_on: The clusters of the faces on a photo, by its source.
        num_clusters: Number of clusters.
        people: The folder; copies that an earlier run has written there are replaced.

    Raises:
        FileError: If there is anything but such copies, or it cannot be written.
    """
    digits = max(3, len(str(num_clusters)))
    names: dict[str, DistinctNames] = defaultdict(DistinctNames)
    check_replaceable(people)
    shutil.rmtree(people, ignore_errors=True)
    with (
        whole_folder(people) as temporary,
        progress_bar("copy", len(clusters_on), "photos") as advance,
    ):
        for place, photo in enumerate(photos):
            if photo.source not in clusters_on:
                continue
            on_it = clusters_on[photo.source]
            for number in sorted(on_it - {ALONE}) or [ALONE]:
                folder = (
                    ALONE_NAME if number == ALONE else f"person-{number + 1:0{digits}}"
                )
                (temporary / folder).mkdir(exist_ok=True)
                old = PurePosixPath(photo.source)
                name = names[folder].give(old.stem, place) + old.suffix
                _copy_photo(photo, temporary / folder / name)
            advance()
        copies = [path for path in temporary.rglob("*") if path.is_file()]
        rows = [
            (path.relative_to(temporary).as_posix(), *_state(path))
            for path in sorted(copies)
        ]
        with whole_file(_table_of(people)) as table:
            write_csv(table, _COLUMNS, rows)


def _table_of(people: Path) -> Path:
    return people.with_name(f"{people.name}.csv")


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _read_table(path: Path) -> dict[str, tuple[int, int]]:
    """The copies and their states; none where there is no such table."""
    try:
        return {
            row["copy"]: (int(row["bytes"]), int(row["modified"]))
            for row in read_csv(path, _COLUMNS, exact=True)
        }
    except (DataError, FileError, ValueError):
        return {}


def _copy_photo(photo: PhotoSource, path: Path) -> None:
    if photo.part is None:
        shutil.copyfile(photo.path, path)
        return
    content = photo.part.read(photo.path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:  # A frame of a video; crop stores are refused.
        Image.fromarray(content).save(path, quality=95)
