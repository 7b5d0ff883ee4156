"""The table of an experiment: what the paper prints, what we got, the difference."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facever.results import Result

TABLE_COLUMNS = (
    "cell",
    "seeds",
    "paper, error %",
    "ours, error %",
    "difference",
    "top-5 error %",
    "WInter",
    "CInter",
    "WCIntra",
)


@dataclass(frozen=True)
class CellRun(Result):
    """What one run of a cell came to, as its ``result.json`` holds it.

    Attributes:
        seed: Seed of weights, order and augmentation.
        error: Share of the test images whose class is not the predicted one, in [0, 1].
        top5_error: Share of the test images whose class is not among the five
            likeliest.
        train_error: Share of the training images whose class is not the predicted one.
        w_inter: Mean angle between the vectors of different classes, in radians.
        c_inter: Mean angle between the feature centers of different classes, in
            radians.
        wc_intra: Mean angle between a class's vector and its feature center, in
            radians.
        steps: Number of steps of the whole run.
        steps_of_this_run: Number of steps since the run was last started.
        seconds_of_this_run: Seconds that those steps took.
        num_weights: Number of weights of the network.
        verified: Whether every file of the set had its published MD5 sum.
        device: The device that trained.
        recipe: The cell's config.
        fingerprint: Hash of everything that decides the run.
        curve: What was measured on the way, one entry for each measurement.
    """

    seed: int
    error: float
    top5_error: float
    train_error: float
    w_inter: float
    c_inter: float
    wc_intra: float
    steps: int
    steps_of_this_run: int
    seconds_of_this_run: float
    num_weights: int
    verified: bool
    device: str
    recipe: dict[str, Any]
    fingerprint: str
    curve: list[dict[str, Any]]

    def lines(self) -> list[str]:
        """The seed and the error."""
        return [f"seed {self.seed}: error {100 * self.error:.2f} %"]


@dataclass(frozen=True)
class CellResults:
    """All runs of one cell beside what the paper prints.

    Attributes:
        name: The cell's name in the recipe.
        error: The error that the paper prints, in percent; None where it prints none.
        top5_error: The top-5 error that the paper prints, in percent, or None.
        runs: At least one run, each with another seed.
    """

    name: str
    error: float | None
    top5_error: float | None
    runs: Sequence[CellRun]

    def values(self, key: str, factor: float = 1.0) -> list[float]:
        """A number of every run, times a factor."""
        return [factor * getattr(run, key) for run in self.runs]


def table_rows(cells: Sequence[CellResults]) -> list[list[str]]:
    """Rows under ``TABLE_COLUMNS``; a spread is the standard deviation over seeds."""
    rows = []
    for cell in cells:
        errors = cell.values("error", 100.0)
        top5 = spread(cell.values("top5_error", 100.0), 2)
        if cell.top5_error is not None:
            top5 = f"{top5} (paper {cell.top5_error:.2f})"
        rows.append(
            [
                cell.name,
                str(len(cell.runs)),
                "" if cell.error is None else f"{cell.error:.2f}",
                spread(errors, 2),
                ""
                if cell.error is None
                else f"{statistics.mean(errors) - cell.error:+.2f}",
                top5,
                *(
                    spread(cell.values(key), 3)
                    for key in ("w_inter", "c_inter", "wc_intra")
                ),
            ]
        )
    return rows


def markdown(cells: Sequence[CellResults]) -> str:
    """The table as Markdown."""
    lines = [TABLE_COLUMNS, ["---"] * len(TABLE_COLUMNS), *table_rows(cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation: ``0.81 ± 0.04``."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"
