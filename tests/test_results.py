import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from facever.results import Result, as_json, plain, printable, table_lines


@dataclass(frozen=True)
class Inner:
    rate: float
    where: Path


@dataclass(frozen=True)
class Counted(Result):
    count: int
    inner: Inner
    shape: tuple[int, ...]

    def lines(self) -> list[str]:
        return [f"{self.count} counted", f"in {self.inner.where}"]


def test_a_result_reads_as_text_and_as_a_dictionary() -> None:
    result = Counted(3, Inner(0.5, Path("a/b")), (1, 2))
    assert str(result) == "3 counted\nin a/b"
    assert result.to_dict() == {
        "count": 3,
        "inner": {"rate": 0.5, "where": "a/b"},
        "shape": [1, 2],
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (np.float32(0.25), 0.25),
        (np.float64("nan"), None),
        (np.array([[1, 2]]), [[1, 2]]),
        ({1: (True, None)}, {"1": [True, None]}),
        ("text", "text"),
        ([np.int64(4)], [4]),
        (
            Counted(1, Inner(1.0, Path("p")), ()),
            {"count": 1, "inner": {"rate": 1.0, "where": "p"}, "shape": []},
        ),
    ],
)
def test_plain_values_are_those_that_json_has(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    assert json.loads(as_json(found)) == expected


def test_names_that_are_no_text_are_escaped_in_json() -> None:
    text = as_json({"source": "Zoë \udcff"})
    assert text.encode() == b'{\n  "source": "Zo\xc3\xab \\udcff"\n}'
    assert json.loads(text) == {"source": "Zoë \udcff"}


def test_a_table_sets_numbers_to_the_right_and_takes_names_as_they_are() -> None:
    lines = table_lines(["name", "photos"], [["[bold]Ann", "3"], ["Bo", "1,200"]])
    text = "\n".join(lines)
    assert "[bold]Ann" in text
    assert "│      3 │" in text
    assert "│  1,200 │" in text
    assert table_lines(["", ""], [["a", "b"]])[0].count("a") == 0


def test_control_characters_are_escapes_in_text_tables_and_json() -> None:
    name = "Ann\x1b[2J\n\x9bBob\u202e"
    shown = r"Ann\x1b[2J\n\x9bBob\u202e"
    assert printable(f"{name}: 3 photos") == f"{shown}: 3 photos"
    assert printable("Zoë Ann, 山田") == "Zoë Ann, 山田"
    table = table_lines(["name"], [[name]])
    assert any(shown in line for line in table)
    assert not any("\x1b" in line for line in table)
    text = as_json({"name": name})
    assert text.isascii()
    assert json.loads(text) == {"name": name}
    assert text.count("\n") == 2
