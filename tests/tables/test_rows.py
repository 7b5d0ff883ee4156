from dataclasses import dataclass

import pytest

from facever.results import Result
from facever.tables.rows import (
    CellResults,
    Measure,
    markdown,
    spread,
    text_table,
    trained_with,
)


@dataclass(frozen=True)
class Some(Result):
    error: float | None
    angle: float | None = None
    other: float | None = None
    precision: str = ""

    def lines(self) -> list[str]:
        return []


MEASURES = (
    Measure("error", "error %", 2, factor=100.0, is_compared=True),
    Measure("angle", "angle", 3),
    Measure("other", "other", 1),
)


@pytest.mark.parametrize(
    ("precisions", "said"),
    [
        (["bf16", "bf16"], "Trained with bf16."),
        (["", "bf16"], "Trained with bf16."),
        (["fp32", "bf16"], "Trained with bf16 and fp32."),
        (["fp32, bf16"], "Trained with bf16 and fp32."),
        (["", ""], ""),
        ([], ""),
    ],
)
def test_what_runs_were_trained_with(precisions: list[str], said: str) -> None:
    runs = [Some(0.5, precision=each) for each in precisions]
    assert (
        trained_with([CellResults("a", runs[:1]), CellResults("b", runs[1:])]) == said
    )


def test_rows_by_hand() -> None:
    runs = [Some(0.0081, 1.5), Some(0.0085, 1.6)]
    shown = text_table(
        [
            CellResults("softmax", runs, {"error": 0.86, "angle": 1.25}),
            CellResults("IE", [Some(0.0081)], {"other": 3.0}),
            CellResults("high", [], {"error": 2.0}, failures={0: "too | high"}),
            CellResults("some", [Some(0.5)], failures={1: "a", 3: "b"}),
        ],
        MEASURES,
    )
    # Nothing has the number "other", of which the paper prints one.
    assert list(shown.columns) == [
        "cell",
        "seeds",
        "paper, error %",
        "ours, error %",
        "difference",
        "paper, angle",
        "ours, angle",
    ]
    assert [list(row) for row in shown.rows] == [
        ["softmax", "2", "0.86", "0.83 ± 0.03", "-0.03", "1.250", "1.550 ± 0.071"],
        ["IE", "1", "", "0.81", "", "", ""],
        ["high", "0", "2.00", "(failed: too | high)", "", "", ""],
        ["some", "1", "", "50.00 (seed 1 failed: a; seed 3 failed: b)", "", "", ""],
    ]
    text = markdown(shown)
    assert text.count("\n") == 6
    assert "| high | 0 | 2.00 | (failed: too \\| high) |  |  |  |" in text


def test_why_rows_failed_stands_with_the_first_number_that_is_there() -> None:
    failed = CellResults("a", [], {}, failures={0: "b"})
    cells = [CellResults("IE", [Some(None, angle=2.0)]), failed]
    shown = text_table(cells, MEASURES)
    assert list(shown.columns) == ["cell", "seeds", "angle"]
    assert list(shown.rows) == [("IE", "1", "2.000"), ("a", "0", "(failed: b)")]
    alone = text_table(cells[1:], MEASURES)
    assert list(alone.columns) == ["cell", "seeds", "error %"]
    assert list(alone.rows) == [("a", "0", "(failed: b)")]


def test_without_a_paper() -> None:
    shown = text_table([CellResults("IE", [Some(0.5, other=2)])], MEASURES)
    assert list(shown.columns) == ["cell", "seeds", "error %", "other"]
    assert list(shown.rows) == [("IE", "1", "50.00", "2.0")]


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.0, 2.0, 3.0], "2.00 ± 1.00"), ([1.234], "1.23"), ([], "")],
)
def test_spread_is_the_deviation_of_a_sample(values: list[float], text: str) -> None:
    assert spread(values, 2) == text
