"""Which runs a table makes and which rows it has; the trainer trains nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from facever.config.parts import StrictModel
from facever.config.reading import load_config
from facever.config.tables import PrintedPercent, SweptCell, Table
from facever.errors import (
    ConfigError,
    DataError,
    DivergedError,
    FaceverError,
    FileError,
    MismatchError,
    ParameterError,
)
from facever.results import Result
from facever.stages.tables.running import (
    RESULT_FILE,
    CellTrainer,
    TableRuns,
    write_json,
)
from facever.tables.rows import CellResults


class Inner(StrictModel):
    rate: float = 1.0


class SomeCell(SweptCell):
    inner: Inner = Inner()
    size: int = 1
    printed: dict[str, PrintedPercent] = Field({})

    @property
    def printed_numbers(self) -> dict[str, PrintedPercent]:
        return self.printed


@dataclass(frozen=True)
class SomeRun(Result):
    seed: int
    number: float
    fingerprint: str

    def lines(self) -> list[str]:
        return [f"seed {self.seed}: {self.number}"]


class SomeTrainer(CellTrainer[SomeCell, SomeRun]):
    """Multiplies, diverges from a size of 100 on, and keeps what it was asked."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.error: Exception | None = None

    def check(self, cell: SomeCell) -> None:
        if cell.size == 13:
            raise ConfigError("size 13 does not exist")

    def fingerprint(self, cell: SomeCell, seed: int) -> str:
        return f"{cell.inner.rate} {cell.size} {seed}"

    def read(self, content: dict[str, Any]) -> SomeRun:
        return SomeRun(**content)

    def train(self, name: str, cell: SomeCell, seed: int, out: Path) -> SomeRun:
        path, fingerprint = out / RESULT_FILE, self.fingerprint(cell, seed)
        if path.exists():
            found = self.read(json.loads(path.read_text()))
            if found.fingerprint != fingerprint:
                raise FileError(f"{out} is of another recipe")
            return found
        self.trained.append((name, seed))
        if self.error is not None:
            raise self.error
        if cell.size >= 100:
            raise DivergedError(f"the loss is nan at size {cell.size}")
        run = SomeRun(seed, cell.inner.rate * cell.size + seed, fingerprint)
        write_json(path, run.to_dict())
        return run


CONTENT: dict[str, Any] = {
    "title": "some table",
    "paper": "none",
    "train": {"inner": {"rate": 2}},
    "cells": {
        "plain": {"printed": {"number": 1.5}},
        "swept": {"sweep": {"size": [5, 1, 100]}, "printed": {"number": [4, None, 6]}},
    },
}


class SomeTable(Table[SomeCell]):
    """A table of cells that train nothing."""


def runs_of(out: Path, *overrides: str) -> TableRuns[SomeCell, SomeRun]:
    path = out.parent / "recipe.yaml"
    path.write_text(json.dumps(CONTENT))
    table = load_config(SomeTable, path, list(overrides))
    return TableRuns(out, table, SomeTrainer(), lambda line: None)


def train(
    runs: TableRuns[SomeCell, SomeRun], wanted: list[str], seeds: int = 1
) -> dict[str, CellResults[SomeRun]]:
    rows = runs.train(wanted, seeds, lambda rows: None)
    return {row.name: row for row in rows}


def trained(runs: TableRuns[SomeCell, SomeRun]) -> list[tuple[str, int]]:
    assert isinstance(runs.trainer, SomeTrainer)
    return runs.trainer.trained


def test_every_value_is_a_row_and_seeds_are_outside(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "out")
    rows = train(runs, [], seeds=2)
    swept = [f"swept, size={size}" for size in (5, 1, 100)]
    assert trained(runs) == [(n, s) for s in (0, 1) for n in ("plain", *swept)]
    # Rows of a sweep stand in the order of its values.
    assert list(rows) == ["plain", swept[1], swept[0], swept[2]]
    assert [run.number for run in rows[swept[0]].runs] == [10, 11]
    assert [dict(row.printed) for row in rows.values()] == [
        {"number": 1.5},
        {},
        {"number": 4},
        {"number": 6},
    ]
    assert rows[swept[0]].values == {"size": 5}


def test_a_value_that_diverges_is_a_row_and_is_not_tried_again(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "out")
    rows = train(runs, [], seeds=2)
    failed = rows["swept, size=100"]
    assert (failed.runs, failed.failures) == (
        [],
        {seed: "the loss is nan at size 100" for seed in (0, 1)},
    )
    assert failed.failed == "failed: the loss is nan at size 100"
    again = runs_of(tmp_path / "out")
    assert train(again, [], seeds=3)["swept, size=100"].failures.keys() == {0, 1, 2}
    assert ("swept, size=100", 0) not in trained(again)
    assert len(trained(again)) == 4


def test_a_network_that_died_is_a_row(tmp_path: Path) -> None:
    train(runs_of(tmp_path / "out"), ["plain"])
    runs = runs_of(tmp_path / "out")
    assert isinstance(runs.trainer, SomeTrainer)
    runs.trainer.error = DataError("embedding 64 of 1079 is all zero")
    rows = train(runs, ["plain", "swept"], seeds=2)
    assert rows["plain"].failures == {1: "embedding 64 of 1079 is all zero"}
    assert len(rows["plain"].runs) == 1
    assert rows["swept, size=1"].failures.keys() == {0, 1}


def test_a_value_that_is_refused_is_a_row(tmp_path: Path) -> None:
    sweep = "cells.swept={sweep: {inner.rate: [1, fast]}}"
    rows = train(runs_of(tmp_path / "out", sweep), [])
    assert list(rows) == ["plain", "swept, rate=1", "swept, rate=fast"]
    assert "inner.rate: input should be a valid number" in rows[list(rows)[2]].failed
    assert rows["swept, rate=1"].runs


def test_a_table_has_all_that_lies_in_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(runs_of(out), ["plain"], seeds=3)
    rows = train(runs_of(out), ["swept, size=1"], seeds=1)
    assert {name: len(row.runs) for name, row in rows.items()} == {
        "plain": 3,
        "swept, size=1": 1,
    }
    # Another call may try other values of the sweep.
    other = runs_of(out, "cells.swept={sweep: {size: [3]}}")
    rows = train(other, ["swept"])
    assert trained(other) == [("swept, size=3", 0)]
    assert list(rows) == ["plain", "swept, size=1", "swept, size=3"]
    assert [len(row.runs) for row in rows.values()] == [3, 1, 1]
    assert other.left_out == {}


def test_runs_of_another_recipe_are_refused_or_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(runs_of(out), ["plain", "swept, size=1"])
    other = runs_of(out, "cells.plain={inner: {rate: 5}}")
    rows = train(other, ["swept, size=5"])
    assert list(rows) == ["swept, size=1", "swept, size=5"]
    assert other.left_out == {"plain/seed0": "another recipe or other data"}
    with pytest.raises(FileError, match="another recipe"):
        train(other, ["plain"])
    renamed = runs_of(out, "cells={plain: {}}")
    train(renamed, ["plain"])
    assert set(renamed.left_out) == {"swept,-size=1", "swept,-size=5"}


@pytest.mark.parametrize(
    "error", [FileError("some reason"), MismatchError("some reason")]
)
def test_what_is_no_matter_of_a_value_stops_the_table(
    tmp_path: Path, error: FaceverError
) -> None:
    runs = runs_of(tmp_path / "out")
    assert isinstance(runs.trainer, SomeTrainer)
    runs.trainer.error = error
    with pytest.raises(type(error), match="some reason"):
        train(runs, [])
    assert trained(runs) == [("plain", 0)]
    assert not list((tmp_path / "out").glob("*/*/failure.json"))


def test_a_table_of_failures_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"came to an end; .* failed: the loss is"):
        train(runs_of(tmp_path / "out"), ["swept, size=100"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cells.swept.sweep={inner.rat: [1, 2, 3]}"], "unknown key inner.rat; valid"),
        (["cells.swept.sweep={inner.rat: [1, 2, 3]}"], "valid keys there: rate"),
        (["cells.swept.sweep={sizes: [1, 2, 3]}"], "valid keys there: sweep, inner"),
        (["cells.swept.sweep={size.x: [1, 2, 3]}"], "'size' holds no further keys"),
        (["cells.swept.sweep={size: [1, 2]}"], "one for each of its values, got 3 for"),
        (["cells.swept.sweep={size: [1, 1, 2]}"], "each once, got [1, 1, 2]"),
        (["cells.swept.sweep={size: []}"], "must list one value or more"),
        (["cells.plain.printed={number: [1, 2]}"], "got 2 for no values"),
        (["cells={a b: {}, a-b: {}}"], "would share the folder a-b"),
    ],
)
def test_sweeps_that_are_wrong(
    tmp_path: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        runs_of(tmp_path / "out", *overrides)
    assert words in str(refused.value)


def test_names_are_checked_before_anything_runs(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "out", "cells.swept={sweep: {size: [1, 13]}}")
    with pytest.raises(ConfigError, match="size 13 does not exist"):
        train(runs, ["plain"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(FaceverError, match="no cell 'other'; it has plain, swept"):
        train(runs_of(tmp_path / "out"), ["other"])


def test_several_keys_make_a_grid(tmp_path: Path) -> None:
    sweep = "cells.swept={sweep: {size: [1, 2], inner.rate: [3, 4]}}"
    rows = train(runs_of(tmp_path / "out", sweep), ["swept"])
    assert list(rows) == [
        f"swept, size={size}, rate={rate}" for size in (1, 2) for rate in (3, 4)
    ]
    assert [row.runs[0].number for row in rows.values()] == [3, 4, 6, 8]
