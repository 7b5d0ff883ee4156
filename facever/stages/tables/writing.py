"""The files of a table: table.md, results.json, and a curve for each sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from facever.config.tables import Table
from facever.environment import describe_machine, describe_versions
from facever.files import whole_file
from facever.results import Result, plain
from facever.stages.tables.running import write_json
from facever.tables.figure_files import save_figure
from facever.tables.rows import (
    CellResults,
    Measure,
    Run,
    markdown,
    text_table,
    trained_with,
)
from facever.tables.sweeps import draw_sweep, sweep_lines

TABLE_FILE = "table.md"
RESULTS_FILE = "results.json"

# What a run keeps for figures alone, which would make results.json long.
_FOR_FIGURES = ("curve",)


def write_table(
    out: Path,
    table: Table[Any],
    recipe: Path,
    changes: Sequence[str],
    judged: str,
    cells: Sequence[CellResults[Run]],
    measures: Sequence[Measure],
) -> None:
    """Write the table for people and for programs.

    Args:
        out: The folder of the table.
        table: The recipe.
        recipe: The file that it was read from.
        changes: What the user changed in it, ``key=value`` each.
        judged: In words, what the runs were judged on.
        cells: The rows.
        measures: What the table shows of a run.
    """
    chosen = "".join(f"- {line}\n" for line in table.chosen)
    said = f"{table.paper}. Judged: {judged}."
    if changes:
        changed = ", ".join(f"`{change}`" for change in changes)
        said += f" Changed in the recipe: {changed}."
    said = f"{said} {trained_with(cells)}".rstrip()
    shown = markdown(text_table(cells, measures))
    text = f"# {table.title}\n\n{said}\n\n{shown}\n{chosen}"
    with whole_file(out / TABLE_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    content = {
        "title": table.title,
        "paper": table.paper,
        "recipe": f"{recipe.parent.name}/{recipe.name}",
        "changes": changes,
        "judged": judged,
        "chosen": table.chosen,
        "cells": {
            cell.name: {
                "printed": cell.printed,
                "values": cell.values,
                "runs": [_without_curve(run) for run in cell.runs],
                "failures": cell.failures,
            }
            for cell in cells
        },
        "machine": describe_machine(),
        "versions": describe_versions(),
        "threads": torch.get_num_threads(),
    }
    write_json(out / RESULTS_FILE, plain(content))


def write_sweeps(
    out: Path, cells: Sequence[CellResults[Run]], measures: Sequence[Measure]
) -> None:
    """Draw a curve for each swept key and measure, as PNG and SVG."""
    for name, figure in sweep_figures(cells, measures).items():
        save_figure(figure, out / name)


def sweep_figures(
    cells: Sequence[CellResults[Run]], measures: Sequence[Measure]
) -> dict[str, Figure]:
    """The curve of each swept key and measure, by the name of its files."""
    figures = {}
    for measure in measures:
        for key, lines in sweep_lines(cells, measure).items():
            figures[f"sweep-{key}-{measure.key}"] = draw_sweep(
                key, lines, measure.title
            )
    return figures


def _without_curve(run: Result) -> dict[str, Any]:
    return {k: value for k, value in run.to_dict().items() if k not in _FOR_FIGURES}
