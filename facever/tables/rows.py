"""Rows of a table: what a paper prints, what the runs of a cell came to."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from facever.results import Result

Run = TypeVar("Run", bound=Result)


@dataclass(frozen=True)
class CellResults(Generic[Run]):
    """All runs of one row, beside what the paper prints.

    Attributes:
        name: The name of the row.
        runs: The runs that ended, each with another seed.
        printed: What the paper prints, by the name of the number.
        of: The name of the cell in the recipe.
        values: The value of each key of the cell's sweep; empty without one.
        failures: Why a seed has no run, by the seed.
    """

    name: str
    runs: Sequence[Run]
    printed: Mapping[str, float] = field(default_factory=dict)
    of: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)

    def numbers(self, key: str, factor: float = 1.0) -> list[float]:
        """A number of every run that has it, times a factor."""
        found = (getattr(run, key) for run in self.runs)
        return [factor * number for number in found if number is not None]

    @property
    def failed(self) -> str:
        """In words, why seeds have no run; empty where all have one."""
        reasons = list(dict.fromkeys(self.failures.values()))
        if not reasons:
            return ""
        if not self.runs and len(reasons) == 1:
            return f"failed: {reasons[0]}"
        each = (f"seed {seed} failed: {why}" for seed, why in self.failures.items())
        return "; ".join(each)


def trained_with(cells: Sequence[CellResults[Run]]) -> str:
    """A sentence on the numbers that networks were trained with, where runs say."""
    found = {run.precision for cell in cells for run in cell.runs}  # type: ignore[attr-defined]
    taken = sorted({name for each in found for name in each.split(", ") if name})
    return f"Trained with {' and '.join(taken)}." if taken else ""


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation, ``0.81 ± 0.04``; empty without values."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


@dataclass(frozen=True)
class Measure:
    """A number of runs that a table shows.

    Attributes:
        key: The name of the number, as an attribute of runs and among what papers
            print.
        title: The title of its column.
        digits: Digits behind the point.
        factor: What the number of a run is multiplied by.
        is_compared: Whether the difference from the paper gets a column.
    """

    key: str
    title: str
    digits: int
    factor: float = 1.0
    is_compared: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table as texts.

    Attributes:
        columns: The titles of the columns.
        rows: A text for each column, row by row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def text_table(
    cells: Sequence[CellResults[Any]], measures: Sequence[Measure]
) -> TextTable:
    """What the paper prints beside ours; a spread is the deviation over seeds.

    A number has a column where a run has it, and a column for the paper where that
    prints it. Why a row's runs failed stands with its first number.
    """
    columns: list[list[str]] = [
        ["cell", *(cell.name for cell in cells)],
        ["seeds", *(str(len(cell.runs)) for cell in cells)],
    ]
    known = [each for each in measures if any(cell.numbers(each.key) for cell in cells)]
    for place, measure in enumerate(known or measures[:1]):
        printed = [cell.printed.get(measure.key) for cell in cells]
        values = [cell.numbers(measure.key, measure.factor) for cell in cells]
        is_printed = any(number is not None for number in printed)
        ours = [
            _of_seeds(each, len(cell.runs), measure.digits)
            for each, cell in zip(values, cells, strict=True)
        ]
        if not place:
            ours = [
                " ".join(filter(None, [text, cell.failed and f"({cell.failed})"]))
                for text, cell in zip(ours, cells, strict=True)
            ]
        if is_printed:
            texts = ("" if n is None else f"{n:.{measure.digits}f}" for n in printed)
            columns.append([f"paper, {measure.title}", *texts])
        columns.append([f"ours, {measure.title}" * is_printed or measure.title, *ours])
        if is_printed and measure.is_compared:
            differences = (
                f"{statistics.mean(each) - number:+.{measure.digits}f}"
                if each and number is not None
                else ""
                for each, number in zip(values, printed, strict=True)
            )
            columns.append(["difference", *differences])
    head, *rows = zip(*columns, strict=True)
    return TextTable(head, rows)


def _of_seeds(values: Sequence[float], num_runs: int, digits: int) -> str:
    """The spread of a number, and of how many seeds where some runs lack it."""
    text = spread(values, digits)
    if 0 < len(values) < num_runs:
        text += f" ({len(values)} of {num_runs} seeds)"
    return text


def markdown(table: TextTable) -> str:
    """A table as Markdown; a bar in a text does not end its cell."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "".join(
        f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |\n"
        for line in lines
    )
