"""The table of an experiment: what the paper prints, what we got, the difference."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
NOT_PRINTED = ""

HEAD = (
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
class CellResults:
    """The runs of one cell.

    Attributes:
        name: Of the cell.
        error: That the paper prints, in percent; None where it prints none.
        top5_error: The same, for the five likeliest classes.
        runs: Contents of ``result.json``, one a seed; at least one.
    """

    name: str
    error: float | None
    top5_error: float | None
    runs: Sequence[Result]

    def values(self, key: str, factor: float = 1.0) -> list[float]:
        """A number of every run."""
        return [factor * run[key] for run in self.runs]


def table_rows(cells: Sequence[CellResults]) -> list[list[str]]:
    """Rows under ``HEAD``. A spread is the standard deviation over seeds, n - 1."""
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
                NOT_PRINTED if cell.error is None else f"{cell.error:.2f}",
                spread(errors, 2),
                NOT_PRINTED
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
    lines = [HEAD, ["---"] * len(HEAD), *table_rows(cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation: ``0.81 ± 0.04``."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"
