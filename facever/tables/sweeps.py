"""Sweeps as curves: a number of the runs against the key that was swept."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from facever.tables.rows import CellResults, Measure, Run

# The largest value by the smallest, from which on a logarithmic axis shows more.
_LOG_FROM = 20.0

# So few values that each gets a mark on the axis.
_MOST_TICKS = 8


@dataclass(frozen=True)
class SweepPoint:
    """One value of a swept key.

    Attributes:
        value: The value.
        measured: The number of each run; empty where all failed.
        printed: What the paper prints there, or None.
    """

    value: Any
    measured: Sequence[float]
    printed: float | None


Lines = Mapping[str, Sequence[SweepPoint]]


def sweep_lines(
    cells: Sequence[CellResults[Run]], measure: Measure
) -> dict[str, dict[str, list[SweepPoint]]]:
    """The points of every sweep in a table.

    Args:
        cells: The rows of the table.
        measure: The number of a run.

    Returns:
        For each first key of a sweep the lines by their names: one for each cell and,
        where a sweep is over several keys, one for each value of the others. A key of
        which no run has the number is left out.
    """
    found: dict[str, dict[str, list[SweepPoint]]] = {}
    for cell in cells:
        if not cell.values:
            continue
        (key, value), *others = cell.values.items()
        parts = [f"{name.rpartition('.')[2]}={other}" for name, other in others]
        line = found.setdefault(key, {}).setdefault(", ".join([cell.of, *parts]), [])
        numbers = cell.numbers(measure.key, measure.factor)
        line.append(SweepPoint(value, numbers, cell.printed.get(measure.key)))
    return {
        key: lines
        for key, lines in found.items()
        if any(point.measured for line in lines.values() for point in line)
    }


def draw_sweep(key: str, lines: Lines, measure: str) -> Figure:
    """Means over seeds with their deviation as error bars, against a swept key.

    The paper's numbers are hollow points, dotted together. A value whose runs all
    failed is a cross on the lower edge. The axis is logarithmic where the values want
    it, with a straight piece about 0 where that is one of them.

    Args:
        key: The swept key, the title of the horizontal axis.
        lines: The lines by their names, not empty.
        measure: The title of the upright axis.
    """
    figure = Figure(figsize=(7, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    values = [point.value for line in lines.values() for point in line]
    place = _set_scale(axes, values)
    for number, (name, line) in enumerate(lines.items()):
        colour = f"C{number % 10}"
        ordered = sorted(line, key=lambda point: place(point.value))
        done = [point for point in ordered if point.measured]
        axes.errorbar(
            [place(point.value) for point in done],
            [statistics.mean(point.measured) for point in done],
            [
                statistics.stdev(point.measured) if len(point.measured) > 1 else 0.0
                for point in done
            ],
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            label=name,
        )
        known = [
            (place(point.value), point.printed)
            for point in ordered
            if point.printed is not None
        ]
        if known:
            axes.plot(
                *zip(*known, strict=True),
                ":o",
                color=colour,
                markerfacecolor="none",
                linewidth=1,
                label=f"{name}, paper",
            )
        failed = [place(point.value) for point in ordered if not point.measured]
        if failed:
            axes.plot(
                failed,
                [0.0] * len(failed),
                "x",
                color=colour,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                label=f"{name}, failed",
            )
    axes.set_xlabel(key)
    axes.set_ylabel(measure)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return figure


def _set_scale(axes: Axes, values: Sequence[Any]) -> Callable[[Any], float]:
    """Set the scale of the horizontal axis; where a value stands on it."""
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    if len(numbers) < len(values) or any(isinstance(v, bool) for v in values):
        texts = list(dict.fromkeys(map(str, values)))
        axes.set_xticks(range(len(texts)), texts)
        return lambda value: float(texts.index(str(value)))
    positive = [number for number in numbers if number > 0]
    if positive and min(numbers) >= 0 and max(positive) / min(positive) >= _LOG_FROM:
        if min(numbers) == 0:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
            # The ticks of this scale stop at 0; without this a point there is cut off.
            axes.set_xlim(-min(positive) / 4, max(positive) * 1.2)
        else:
            axes.set_xscale("log")
    if len(set(numbers)) <= _MOST_TICKS:
        axes.set_xticks(sorted(set(numbers)))
        axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return float
