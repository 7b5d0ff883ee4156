"""Lines, rows and numbers of text files, and the check for repeated pairs."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from facever.errors import DataError, FileError
from facever.foreign_files import read_bytes

_MODEL_SUFFIXES = (".safetensors", ".onnx")


def read_text(path: Path, kind: str) -> str:
    """The text of a protocol's file.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        kind: What it should be, for messages, such as ``"LFW's pairs file"``.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not text, or empty.
    """
    try:
        # Line ends stay as they are: a quoted field of a CSV may hold one.
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_model = path.suffix.lower() in _MODEL_SUFFIXES
        raise DataError(
            f"{path} is not a text file in UTF-8 (byte {error.start}); expected {kind}"
            + ("; a model is another argument" if is_model else "")
        ) from None
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror}; expected {kind}"
        ) from None
    if not text.strip():
        raise DataError(f"{path} is empty; expected {kind}")
    return text


def read_lines(path: Path, kind: str) -> list[tuple[int, str]]:
    """The lines of a protocol's file, numbered and stripped, without blank ones.

    Args:
        path: The file.
        kind: What it should be, for messages.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not text, or empty.
    """
    return [
        (number, line.strip())
        for number, line in enumerate(read_text(path, kind).splitlines(), start=1)
        if line.strip()
    ]


_SEPARATORS = ("\t", ",", ";", "|", None)
_NUM_TRIED_ROWS = 100


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: Number of its (last) line, from 1.
        fields: What stands between separators, without spaces around it, and without
            empty fields at the end.
    """

    line: int
    fields: list[str]


def read_rows(path: Path, kind: str) -> list[Row]:
    """The rows of a table in a text file, without blank ones.

    The separator is the one of tab, comma, semicolon, ``|`` and spaces that divides
    most of the first rows into three fields or more. Fields may be quoted as in CSV. A
    row without the separator, such as a header, is divided at its spaces.

    Args:
        path: The file.
        kind: What it should be, for messages.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not text, or without a row, or quotes in it do not end.
    """
    text = read_text(path, kind)

    def count_wide(separator: str | None) -> int:
        wide = 0
        with suppress(csv.Error):
            for row in islice(_divide(text, separator), _NUM_TRIED_ROWS):
                wide += len(row.fields) >= 3
        return wide

    separator = max(_SEPARATORS, key=count_wide)
    rows: list[Row] = []
    try:
        rows.extend(_divide(text, separator))
    except csv.Error as error:
        last = rows[-1].line if rows else 0
        raise DataError(
            f"{path}, behind line {last}: expected {kind}, in which quotes begin and "
            f"end a field ({error})"
        ) from None
    if not rows:
        raise DataError(f"{path} holds nothing but separators; expected {kind}")
    return [
        Row(line, fields if len(fields) > 1 else fields[0].split())
        for line, fields in rows
    ]


def _divide(text: str, separator: str | None) -> Iterator[Row]:
    if separator is None:
        for number, line in enumerate(StringIO(text), start=1):
            if fields := line.split():
                yield Row(number, fields)
        return
    reader = csv.reader(
        StringIO(text, newline=""),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
    )
    for found in reader:
        fields = [field.strip() for field in found]
        while fields and not fields[-1]:
            fields.pop()
        if fields:
            yield Row(reader.line_num, fields)


def is_count(field: str) -> bool:
    """Whether a field is a whole number from 1, in digits, of at most nine of them."""
    return field.isascii() and field.isdigit() and len(field) <= 9 and int(field) > 0


class SeenPairs:
    """The pairs that a reader has met, to refuse a pair that is listed again."""

    def __init__(self) -> None:
        self._places: dict[frozenset[str], tuple[Path, int]] = {}

    def add(self, path: Path, number: int, first: str, second: str) -> None:
        """Note a pair.

        Args:
            path: The file that lists it.
            number: Number of the line in that file.
            first: The first member of the pair.
            second: The second member of the pair; the order does not matter.

        Raises:
            DataError: If the pair was noted before.
        """
        pair = frozenset((first, second))
        if earlier := self._places.get(pair):
            file = "" if earlier[0] == path else f" of {earlier[0]}"
            raise DataError(
                f"{path}, line {number}: expected a new pair, got the pair of line "
                f"{earlier[1]}{file} again: {first} and {second}"
            )
        self._places[pair] = path, number
