"""Files and folders that are there as a whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facever.errors import FaceverError, FileError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, renamed onto it when the block ends well.

    The folder is made at the start, so a place that cannot be written is found before
    long work in the block. If the block fails the temporary file is taken away.

    Args:
        path: The final name.

    Yields:
        The name to write to.

    Raises:
        FileError: If the file cannot be written there.
    """
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; choose another name")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
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
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is made where there is none.

    Raises:
        FileError: If it cannot be written.
    """
    with _told(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses, in a line that names the file."""
    try:
        yield
    except FaceverError:
        raise
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; make room there or "
            "choose another place"
        ) from None
