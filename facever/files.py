"""Files and folders that are there as a whole or not at all, and who may write them.

Before its work begins, a command calls ``check_file_place`` or ``check_folder_place``
for all that it will write, so that hours are not lost to a slip in a path.

Everything that facever writes goes through ``whole_file`` or ``whole_folder``, or
through ``put_in_place`` where a temporary name of another kind is needed: the content
is on the disk before it gets its final name, and the name is on the disk at the end. So
neither a kill nor a power cut leaves half of a file under the name of a whole one.
"""

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facever.errors import FaceverError, FileError, ParameterError

_ELSEWHERE = "choose another place"


@contextmanager
def naming_write_errors(
    path: Path, remedy: str = "make room there or choose another place"
) -> Iterator[None]:
    """Raise what the system refuses inside the block as an error that names a path.

    Args:
        path: What the block writes, a file or a folder.
        remedy: What to do about it, the end of the message.

    Raises:
        FileError: In the place of an ``OSError``; facever's own errors pass.
    """
    try:
        yield
    except FaceverError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"cannot write {path}: {reason}; {remedy}") from error


def check_file_place(path: Path) -> None:
    """Refuse a file that could not be written, before long work; nothing is changed.

    Raises:
        FileError: If a folder is there, or its own folder cannot be written or made.
    """
    with naming_write_errors(path, _ELSEWHERE):
        _refuse_folder(path)
        _try_to_write(path, path.parent)


def check_new_file(path: Path) -> None:
    """Refuse a file that is there already, or could not be written.

    Raises:
        FileError: If something is there, or its folder cannot be written or made.
    """
    check_file_place(path)
    if path.exists():
        raise FileError(f"{path} is there already: choose another name, or remove it")


def check_folder_place(path: Path) -> None:
    """Refuse a folder that could not be written or made, before long work; make none.

    Raises:
        FileError: If a file is there, or nothing can be written there.
    """
    with naming_write_errors(path, _ELSEWHERE):
        _try_to_write(path, path)


def address_hint(path: Path | str) -> str:
    """The end of a message about a file that is not there: is it an address?

    >>> address_hint("/data/a.jpg"), address_hint(Path("https://example.org/a.jpg"))
    ('', '; nothing is downloaded: fetch the file and give its path')
    """
    # A path has one of the two slashes alone.
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        return ""
    return "; nothing is downloaded: fetch the file and give its path"


def check_outside(out: Path, source: Path, name: str, source_name: str) -> None:
    """Refuse to write into a folder that is read.

    Args:
        out: What is to be written.
        source: What is read.
        name: What the command calls the one, for the message.
        source_name: What it calls the other.

    Raises:
        ParameterError: If ``out`` is the folder ``source``, or inside it.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise ParameterError(
            f"{name} must not be inside {source_name}, got {out} in {source}: it would "
            "be a part of its own source; write it beside it"
        )


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; choose another name")


def _try_to_write(path: Path, folder: Path) -> None:
    """Write to the folder or to the one it would be made in.

    Permissions would not tell: not of a disk that is mounted to be read alone, nor to
    an administrator.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        name = "it" if there == path else str(there)
        raise FileError(f"cannot write {path}: {name} is a file; {_ELSEWHERE}")
    # A file without a name, where the system has such: a kill leaves nothing.
    with tempfile.TemporaryFile(dir=there):
        pass


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, renamed onto it when the block ends well.

    The file is made at the start, so a place that cannot be written is found before
    long work in the block. If the block fails the temporary file is taken away.

    Args:
        path: The final name.

    Yields:
        The name to write to.

    Raises:
        FileError: If the file cannot be written there.
    """
    _refuse_folder(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with naming_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            yield temporary
            put_in_place(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder beside another name, renamed to it when the block ends well.

    What a killed run left of its own is taken away first.

    Args:
        path: The final name; nothing may be there but an empty folder.

    Yields:
        The empty folder to write to.

    Raises:
        FileError: If something is there or the folder cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileError(f"{path} is there already: choose another name")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with naming_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file or folder to its final name, when it is on the disk.

    Args:
        temporary: A file, or a folder with all that is in it, on the same file system.
        path: The final name; a file there is replaced, and so is an empty folder.

    Raises:
        OSError: If the system refuses.
    """
    _sync_tree(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk.

    Raises:
        OSError: If the system refuses.
    """
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return  # There, a folder cannot be opened.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no sync of a folder.
        if not (is_folder and error.errno == errno.EINVAL):
            raise
    finally:
        os.close(handle)


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for inside in path.iterdir():
            _sync_tree(inside)
    sync(path)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is made if it does not exist.

    Raises:
        FileError: If it cannot be written.
    """
    with naming_write_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, so that no other process writes to it.

    At the end the folder is taken away if it is still empty.

    Raises:
        FileError: If it cannot be made or another process is writing to it.
    """
    check_folder_place(folder)
    with naming_write_errors(folder, _ELSEWHERE):
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    try:
        yield
    finally:
        if lock >= 0:
            os.close(lock)
        with suppress(OSError):
            folder.rmdir()


def lock_folder(folder: Path) -> int:
    """Hold a folder for this process; the system lets go of it however that ends.

    Returns:
        A handle to close, or -1 where the system has no such locks.

    Raises:
        FileError: If another process holds it.
    """
    if sys.platform == "win32":
        return -1
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FileError(f"another process is writing to {folder}") from None
    return handle
