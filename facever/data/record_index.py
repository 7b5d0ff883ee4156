"""Read the ``.idx`` file beside a ``.rec`` file."""

from pathlib import Path

from facever.errors import DataError, FileError

MAX_NUMBER = (1 << 53) - 1


def read_index(path: Path) -> dict[int, int]:
    """The byte where each record begins, by its key.

    Args:
        path: A line a record: the key, a tab and the byte, in digits.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is not like that, or names a key or a byte again.
    """
    index: dict[int, int] = {}
    offsets: set[int] = set()
    remedy = "without the file, the records are found by themselves"
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                key, tab, offset = line.rstrip(b"\r\n").partition(b"\t")
                if not (tab and _is_number(key) and _is_number(offset)):
                    raise DataError(
                        f"{path}, line {number}: expected a key, a tab and a byte; "
                        f"{remedy}"
                    )
                if int(key) in index or int(offset) in offsets:
                    raise DataError(
                        f"{path}, line {number}: key {int(key)} or byte {int(offset)} "
                        f"is listed twice; {remedy}"
                    )
                index[int(key)] = int(offset)
                offsets.add(int(offset))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    return index


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= 16 and int(digits) <= MAX_NUMBER
