"""Several numbers of each row, side by side, as the IE paper's Fig. 6a has them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from facever.tables.rows import CellResults, Measure


def draw_side_by_side(
    cells: Sequence[CellResults[Any]], measures: Mapping[str, Measure], title: str
) -> Figure:
    """Means over seeds with their deviation as error bars, a line a row.

    Args:
        cells: The rows, from top to bottom; those without runs are left out.
        measures: The numbers by their names in the legend, each a mark of its own.
        title: The title of the horizontal axis.
    """
    done = [cell for cell in cells if cell.runs]
    figure = Figure(figsize=(7, 1.2 + 0.3 * len(done)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = range(len(done))
    for number, (name, measure) in enumerate(measures.items()):
        values = [cell.numbers(measure.key, measure.factor) for cell in done]
        known = [place for place in places if values[place]]
        axes.errorbar(
            [statistics.mean(values[place]) for place in known],
            known,
            xerr=[
                statistics.stdev(values[place]) if len(values[place]) > 1 else 0.0
                for place in known
            ],
            fmt="os^Dv"[number % 5],
            capsize=3,
            label=name,
        )
    axes.set_yticks(places, [cell.name for cell in done])
    axes.margins(y=0.15)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper right", ncols=len(measures))
    return figure
