"""Files that strangers may have made, read whole: regular ones, of a limited size.

A pipe may never come to its end, a device has none, and a folder that somebody sent can
hold either under the name of a file, or a link to one.
"""

import errno
import json
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 4 << 30
"""The largest list, table, config or report that is read."""


def check_regular(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Refuse what is no regular file, or too large to be read whole.

    Raises:
        OSError: Also of what the system refuses; ``strerror`` says what is wrong.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        reason = "not a file, but a pipe, a device or a folder"
        raise OSError(errno.EINVAL, reason, str(path))
    if found.st_size > max_bytes:
        reason = f"too large: the file has over {max_bytes} bytes"
        raise OSError(errno.EFBIG, reason, str(path))


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: As ``check_regular`` raises it.
    """
    check_regular(path, max_bytes)
    return path.read_bytes()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a regular file; its line ends become line feeds.

    Raises:
        OSError: As ``check_regular`` raises it.
        UnicodeDecodeError: If it is not text in this encoding.
    """
    check_regular(path)
    return path.read_text(encoding=encoding, errors=errors)


def read_json(path: Path) -> Any:
    """What a regular file of JSON says.

    Raises:
        OSError: As ``check_regular`` raises it.
        ValueError: If it is not JSON in UTF-8, or nested too deeply.
    """
    return parse_json(read_bytes(path))


def parse_json(text: str | bytes) -> Any:
    """What a text of JSON says.

    Raises:
        ValueError: If it is not JSON, or nested too deeply.

    >>> parse_json("[" * 10**6)
    Traceback (most recent call last):
    ValueError: JSON that is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
