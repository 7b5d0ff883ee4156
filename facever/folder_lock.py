"""A folder that one process holds at a time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facever.errors import FaceverError, FileError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, for this process alone.

    At the end the folder is taken away if it is still empty.

    Raises:
        FileError: If it cannot be made or another process is writing to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except FaceverError:
        raise
    except OSError as error:
        raise FileError(
            f"cannot write to {folder}: {error.strerror or error}; choose another place"
        ) from None
    try:
        yield
    finally:
        if lock >= 0:
            os.close(lock)
        with suppress(OSError):
            folder.rmdir()


def lock_folder(folder: Path) -> int:
    """Hold the folder for this process; the system lets go of it at any end.

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
