"""CSV files whose first line names the columns: read with checks, and written.

A message about a file's content names the file, the line and the column.

Text such as ``=1+1`` or ``@ann`` is a formula to the spreadsheet that opens a table,
and may do harm there. In tables for people it is written with an apostrophe before it,
and read without.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facever.errors import DataError, FileError
from facever.foreign_files import check_regular


@dataclass(frozen=True)
class CsvRow:
    """A line of a table; ``row["name"]`` is the value in a column.

    Attributes:
        path: The path of the file.
        line: The line of the file, from 1; the last one of a row with line breaks.
        values: The values by the names of their columns, none but the wanted ones.
    """

    path: Path
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def __contains__(self, column: str) -> bool:
        return column in self.values

    @property
    def place(self) -> str:
        """File and line, to begin a message with."""
        return f"{self.path}, line {self.line}"

    def wrong(self, column: str, expected: str) -> DataError:
        """The error that a value is not what its column holds.

        Args:
            column: The name of the column.
            expected: What a value of the column must be, such as ``"a whole number from
                1"``.
        """
        got = repr(self.values[column])
        return DataError(
            f"{self.place}, column {column}: expected {expected}, got {got}"
        )


def read_csv(
    path: Path,
    required: Sequence[str] | None,
    optional: Sequence[str] = (),
    *,
    exact: bool = False,
    for_people: bool = False,
    ignore_others: bool = False,
) -> Iterator[CsvRow]:
    """Read the rows of a table in UTF-8, with or without a byte order mark.

    The first line names the columns, in any order. Blank lines are skipped. Fields are
    separated by commas; one with a comma, a quote or a line break is quoted.

    Args:
        path: The path of the file.
        required: The columns that must be there; None takes whatever columns there are,
            each under a name of its own.
        optional: Columns that may be there.
        exact: Take values as they are, in files that facever writes itself: with spaces
            around them, and with bytes that are not UTF-8 as ``surrogateescape`` keeps
            them. In files that people write, spaces are taken off.
        for_people: Take off the apostrophe that ``write_csv`` put before formulas, as
            is done in files that people write.
        ignore_others: Skip columns with other names; they are an error otherwise, since
            one may be a misspelt name.

    Yields:
        Row after row.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not CSV in UTF-8, the columns are others or one is there
            twice, or a line has more or fewer values than there are columns.
    """
    expected = "expected CSV in UTF-8"
    if required is not None:
        expected += f" with the columns {', '.join(required)}"
    if optional:
        expected += f" and perhaps {', '.join(optional)}"
    header: list[str] = []
    columns: Sequence[str] = ()
    rows = None
    try:
        check_regular(path)
        with path.open(
            encoding="utf-8-sig",
            errors="surrogateescape" if exact else "strict",
            newline="",
        ) as file:
            rows = csv.reader(file, strict=True, skipinitialspace=not exact)
            for row in rows:
                fields = row if exact else [field.strip() for field in row]
                where = f"{path}, line {rows.line_num}"
                if not (fields if exact else any(fields)):
                    continue
                if not header:
                    header = fields
                    columns = header if required is None else [*required, *optional]
                    if twice := [c for c in columns if header.count(c) > 1]:
                        raise DataError(
                            f"{where}: expected each column once, got {twice[0]!r} "
                            f"{header.count(twice[0])} times; rename or remove one"
                        )
                    if not _fits(header, required or header, optional, ignore_others):
                        raise DataError(f"{where}: {expected}; got {', '.join(header)}")
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"{where}: expected {len(header)} values "
                        f"({', '.join(header)}), got {len(fields)}: {','.join(row)!r}"
                    )
                if for_people or not exact:
                    fields = [_FORMULA_KEPT.sub("", field) for field in fields]
                values = dict(zip(header, fields, strict=True))
                wanted = {c: values[c] for c in columns if c in values}
                yield CsvRow(path, rows.line_num, wanted)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}); "
            f"{expected}"
        ) from None
    except csv.Error as error:
        line = f", line {rows.line_num}" if rows else ""
        raise DataError(f"{path}{line}: not CSV ({error}); {expected}") from None
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"cannot read {path}: {reason}; {expected}") from None
    if not header:
        raise DataError(f"{path} is empty; {expected}")


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    for_people: bool = False,
) -> None:
    """Write a table that ``read_csv`` gives back, ``exact`` for odd names.

    Args:
        path: The file; see ``whole_file`` for a way to write it whole or not at all.
        columns: The names of the columns.
        rows: The rows, each with a value for each column; None is an empty value.
        for_people: Whether people open it in a spreadsheet: text that would be a
            formula gets an apostrophe then.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        # A lone carriage return ends a line for those who read, so it needs quotes,
        # which the csv module leaves out.
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:
            if for_people:
                row = [_without_formula(value) for value in row]
            odd = any(isinstance(value, str) and "\r" in value for value in row)
            (quoting if odd else writer).writerow(row)


# A spreadsheet takes off one apostrophe itself, so text that has one gets another.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_FORMULA_KEPT = re.compile(r"^'(?='*[=+\-@\t\r])")


def _without_formula(value: object) -> object:
    is_text = isinstance(value, str) and not is_number(value)
    return f"'{value}" if is_text and _FORMULA.match(str(value)) else value


def is_number(text: str) -> bool:
    """Whether a field of a table is a number, as ``float`` reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fits(
    header: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    ignore_others: bool,
) -> bool:
    wanted, there = {*required, *optional}, set(header)
    return there >= set(required) and (ignore_others or there <= wanted)
