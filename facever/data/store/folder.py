"""A crop store's folder: who may write to it, and how new files get into place.

New files are written to a folder inside, which is renamed to ``.ready`` when all are on
the disk; then they are moved into place one by one. A kill before the rename leaves the
store as it was; one after it is made good by the next writer.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facever.errors import FileError
from facever.files import hold_folder, naming_write_errors, put_in_place, sync

CROPS_FILE = "crops.npy"
JPEG_FILE = "crops.jpg"
OFFSETS_FILE = "crops.offsets.npy"
CHECKSUMS_FILE = "checksums.npy"
CROPS_TABLE = "crops.csv"
FAILURES_FILE = "failures.csv"
LEFT_OUT_FILE = "left_out.csv"
STORE_FILE = "store.json"
PARTIAL_FOLDER = ".partial"
READY_FOLDER = ".ready"
_COPY_FOLDER = ".copy"

# The store's description last: a folder with one is a store.
_MOVE_ORDER = (
    CROPS_FILE,
    JPEG_FILE,
    OFFSETS_FILE,
    CHECKSUMS_FILE,
    CROPS_TABLE,
    FAILURES_FILE,
    LEFT_OUT_FILE,
    STORE_FILE,
)


def check_finished(folder: Path) -> None:
    """Refuse a folder that is no store, or one that is being written or replaced.

    Raises:
        FileError: If the folder cannot be used; the message says what to do.
    """
    if not folder.is_dir():
        raise FileError(f"no crop store at {folder}: no such folder")
    if (folder / READY_FOLDER).exists():
        raise FileError(f"{folder} is half replaced: run the same command again")
    if (folder / STORE_FILE).exists():
        for path in folder.iterdir():
            if not (path.is_file() or path.is_dir()):
                raise FileError(f"{path} is a pipe, a device or a link to nothing")
        return
    if (folder / PARTIAL_FOLDER).exists():
        raise FileError(
            f"{folder} is not a finished crop store: run the same facever align again"
        )
    if (folder / _COPY_FOLDER).exists():
        raise FileError(
            f"{folder} is not a finished crop store: run the same facever data "
            "command again"
        )
    raise FileError(
        f"{folder} is not a crop store (no {STORE_FILE}): make one with "
        "facever align PHOTOS CROPS"
    )


def check_free(folder: Path) -> None:
    """Refuse to make a store in a folder that holds something else.

    Raises:
        FileError: If the folder holds something else; the message names it.
    """
    others = [path.name for path in folder.iterdir() if path.name[0] != "."]
    if others:
        raise FileError(
            f"{folder} is not empty and not a crop store (it holds {others[0]}): "
            "write into a new folder"
        )


@contextmanager
def hold_store(folder: Path) -> Iterator[None]:
    """Hold a store's folder, made if need be, for this process alone.

    A replacement that a kill interrupted is completed first. At the end the folder is
    taken away if it is still empty.

    Raises:
        FileError: If the folder cannot be made or another process is writing to it.
    """
    with hold_folder(folder):
        move_into_place(folder)
        yield


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A place to write all files of a store to; moved into a held folder at the end.

    Raises:
        FileError: If they cannot be written, such as on a full disk. What the folder
            held is as it was.
    """
    if (folder / PARTIAL_FOLDER).exists():
        raise FileError(
            f"{folder} holds crops of an unfinished facever align: run that again first"
        )
    copy = folder / _COPY_FOLDER
    remedy = "nothing in it was changed: make room and run the same command again"
    try:
        with naming_write_errors(folder, remedy):
            copy.mkdir()
            yield copy
            put_files_in_place(copy, folder)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def put_files_in_place(written: Path, folder: Path) -> None:
    """Move all files of a store into the folder that this process holds.

    Args:
        written: A folder inside the store's folder that holds the new files alone.
        folder: The store's folder.

    Raises:
        OSError: If the system refuses.
    """
    put_in_place(written, folder / READY_FOLDER)
    move_into_place(folder)


def move_into_place(folder: Path) -> None:
    """Complete what a kill interrupted, in a folder that this process holds.

    The files of a ``.ready`` folder go to where they belong; a copy that was not whole
    is taken away.
    """
    if (folder / _COPY_FOLDER).exists():
        shutil.rmtree(folder / _COPY_FOLDER)
    ready = folder / READY_FOLDER
    if not ready.exists():
        return
    for name in _MOVE_ORDER:
        if (ready / name).exists():
            os.replace(ready / name, folder / name)
    sync(folder)
    shutil.rmtree(ready)
