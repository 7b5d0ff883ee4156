"""What commands give back: objects that read as text, as dictionaries and as JSON."""

import json
import math
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from io import StringIO
from typing import Any

from facever.errors import FaceverError


@dataclass(frozen=True)
class Result(ABC):
    """What a stage found or did.

    Stages return one and print nothing; the console command prints its ``lines``, or
    with ``--json`` its ``to_dict``. Subclasses are frozen dataclasses.
    """

    @abstractmethod
    def lines(self) -> list[str]:
        """The result for a person, a line each."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can hold; NaN and infinity are None."""
        return plain_fields(self)

    def failure(self) -> FaceverError | None:
        """The error that a command ends with when it has shown this, if there is one.

        For a check that found damage, which a person wants to see all of.
        """
        return None

    def __str__(self) -> str:
        return "\n".join(map(printable, self.lines()))


# Line breaks and what steers a terminal, and what turns the order of letters around:
# names of people and files are what strangers typed.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


# JSON escapes the first of them itself; its own line breaks stay.
_BEYOND_JSON = re.compile(_STEERING.pattern.replace("\x00-\x1f", ""))


def printable(line: str) -> str:
    r"""A line of text in which control characters are escapes, as Python writes them.

    >>> printable("Ann\x1b[2J\nBob")
    'Ann\\x1b[2J\\nBob'
    """
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], line)


def counted(number: int, thing: str) -> str:
    """A number of things in words.

    >>> counted(1, "photo"), counted(1234, "photo")
    ('1 photo', '1,234 photos')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def plain(value: Any) -> Any:
    """A value as text, numbers, lists and dictionaries alone, for JSON.

    Paths become text, arrays and tuples lists, dataclasses dictionaries, by their own
    ``to_dict`` where they have one; NaN and infinity, which JSON does not have, None.

    >>> from pathlib import Path
    >>> plain({"out": Path("runs/crops"), "rate": float("nan"), "shape": (112, 96)})
    {'out': 'runs/crops', 'rate': None, 'shape': [112, 96]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return value.to_dict() if hasattr(value, "to_dict") else plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers, without importing it.
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(member) for member in value]
    return str(value)


def plain_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values, by name."""
    return {field.name: plain(getattr(value, field.name)) for field in fields(value)}


def as_json(content: Any) -> str:
    """Plain values as JSON that a person can read, too.

    Bytes of a file's name that are no text become JSON's escapes.
    """
    text = json.dumps(content, ensure_ascii=False, indent=2)
    text = _BEYOND_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode(errors="backslashreplace").decode()


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text under column names, as wide as the terminal.

    Args:
        columns: Their names; a table whose names are all empty has no header.
        rows: One text for each column; a column of numbers is set to the right.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=any(columns))
    for place, column in enumerate(columns):
        is_number = bool(rows) and all(_is_number(row[place]) for row in rows)
        table.add_column(
            column, justify="right" if is_number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    text = StringIO()
    width = shutil.get_terminal_size().columns
    # Names are what people typed: they are not markup.
    Console(file=text, width=width, markup=False, highlight=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip(" %").replace(",", "") or "0")
    except ValueError:
        return False
    return True
