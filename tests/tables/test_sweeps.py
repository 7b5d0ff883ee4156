from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from facever.results import Result
from facever.tables.rows import CellResults, Measure
from facever.tables.side_by_side import draw_side_by_side
from facever.tables.sweeps import SweepPoint, draw_sweep, sweep_lines

ERROR = Measure("error", "error %", 2, factor=100.0)


@dataclass(frozen=True)
class Some(Result):
    error: float | None

    def lines(self) -> list[str]:
        return []


def row(of: str, errors: Sequence[float], printed: float | None = None, **values: Any):
    numbers = {} if printed is None else {"error": printed}
    runs = [Some(each) for each in errors]
    return CellResults(f"{of} {values}", runs, numbers, of, values)


def test_lines_of_a_table() -> None:
    cells = [
        row("plain", [0.5]),
        row("IE", [0.1, 0.3], 1.5, weight=0),
        row("IE", [], weight=2),
        row("center", [0.2], weight=1),
        row("grid", [0.4], k=1, width=0.5),
        row("grid", [0.6], k=2, width=0.5),
        row("grid", [0.8], k=1, width=1),
    ]
    found = sweep_lines(cells, ERROR)
    assert {key: list(lines) for key, lines in found.items()} == {
        "weight": ["IE", "center"],
        "k": ["grid, width=0.5", "grid, width=1"],
    }
    assert found["weight"]["IE"] == [
        SweepPoint(0, [10.0, 30.0], 1.5),
        SweepPoint(2, [], None),
    ]
    assert [point.value for point in found["k"]["grid, width=0.5"]] == [1, 2]
    # A number that no run has gives no curve.
    assert sweep_lines([row("IE", [None], weight=1)], ERROR) == {}


def points(*values: Any) -> list[SweepPoint]:
    return [SweepPoint(value, [1.0, 3.0], None) for value in values]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((1, 2, 3), "linear"),
        ((0.001, 0.01, 0.1), "log"),
        ((0, 0.001, 0.1), "symlog"),
        ((0, 0.02, 0.1), "linear"),
        ((-1, 0.001, 100), "linear"),
        (("a", "b"), "linear"),
        ((True, False), "linear"),
        ((0,), "linear"),
    ],
)
def test_the_axis_is_as_the_values_want_it(values: Any, scale: str) -> None:
    axes = draw_sweep("key", {"IE": points(*values)}, "error %").axes[0]
    assert axes.get_xscale() == scale
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("key", "error %")
    if not isinstance(values[0], str | bool):
        assert axes.get_xticks().tolist() == sorted(values)
    else:
        assert [text.get_text() for text in axes.get_xticklabels()] == [
            str(value) for value in values
        ]


def test_points_bars_and_the_paper() -> None:
    line = [
        SweepPoint(3, [2.0], 2.5),
        SweepPoint(1, [1.0, 3.0], None),
        SweepPoint(2, [], 4.0),
    ]
    axes = draw_sweep("k", {"IE": line, "center": points(1, 3)}, "error %").axes[0]
    ours, center = axes.containers
    np.testing.assert_array_equal(ours.lines[0].get_xdata(), [1, 3])
    np.testing.assert_array_equal(ours.lines[0].get_ydata(), [2, 2])
    [bars] = ours.lines[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    half = np.std([1.0, 3.0], ddof=1)
    np.testing.assert_allclose(ends, [[2 - half, 2 + half], [2, 2]])
    assert center.get_label() == "center"
    named = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(named["IE, paper"].get_xdata(), [2, 3])
    np.testing.assert_array_equal(named["IE, paper"].get_ydata(), [4, 2.5])
    np.testing.assert_array_equal(named["IE, failed"].get_xdata(), [2])


def test_measures_side_by_side() -> None:
    cells = [row("softmax", [0.1, 0.3]), row("failed", []), row("IE", [0.5])]
    axes = draw_side_by_side(cells, {"cosine": ERROR}, "%").axes[0]
    [marks] = axes.containers
    np.testing.assert_array_equal(marks.lines[0].get_xdata(), [20, 50])
    np.testing.assert_array_equal(marks.lines[0].get_ydata(), [0, 1])
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert [name.split()[0] for name in names] == ["softmax", "IE"]
    assert axes.yaxis_inverted()
