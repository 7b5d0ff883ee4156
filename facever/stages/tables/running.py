"""The runs of a table: each cell and seed once, whatever stops the job in between."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from facever.config.tables import Cell, Table, Variant, variant
from facever.errors import (
    ConfigError,
    DataError,
    DivergedError,
    FileError,
    MismatchError,
    ParameterError,
)
from facever.files import whole_file
from facever.tables.rows import CellResults, Run

RESULT_FILE = "result.json"
FAILURE_FILE = "failure.json"
CELL_FILE = "cell.json"


class CellTrainer(ABC, Generic[Cell, Run]):
    """What a kind of table trains; the rest is the same for all kinds."""

    @abstractmethod
    def check(self, cell: Cell) -> None:
        """Refuse what no run could have, whatever its values.

        Raises:
            ConfigError: If there is no network, head or option of a name.
            ParameterError: If the device has no units for bf16, which is asked for.
        """

    @abstractmethod
    def fingerprint(self, cell: Cell, seed: int) -> str:
        """A hash of everything that decides a run."""

    @abstractmethod
    def train(self, name: str, cell: Cell, seed: int, out: Path) -> Run:
        """Train a cell with a seed, or go on where it stopped.

        Its ``result.json`` holds the fields of the result, ``fingerprint`` among them.

        Args:
            name: The name of the row, for the progress bar.
            cell: The cell.
            seed: The seed.
            out: The folder of this run.

        Raises:
            DivergedError: If the loss becomes NaN or infinite: a row of the table.
            DataError: If the data do not do for a value, or the network died and its
                features are zero: a row, too, but for a MismatchError.
            ParameterError: If a value is refused: a row, too.
            FileError: If the folder holds a run of another recipe or of other data.
            FaceverError: This and anything else stops the table.
        """

    @abstractmethod
    def read(self, content: dict[str, Any]) -> Run:
        """The result that a ``result.json`` holds."""


@dataclass
class TableRuns(Generic[Cell, Run]):
    """The runs in the folder of a table.

    Attributes:
        out: The folder of the table.
        table: The recipe.
        trainer: What trains a cell.
        say: Gets a line for a person after each run.
        left_out: Folders within ``out`` whose runs are not the recipe's, and why.
    """

    out: Path
    table: Table[Cell]
    trainer: CellTrainer[Cell, Run]
    say: Callable[[str], None]
    left_out: dict[str, str] = field(default_factory=dict)

    def train(
        self,
        wanted: Sequence[str],
        num_seeds: int,
        report: Callable[[list[CellResults[Run]]], None],
    ) -> list[CellResults[Run]]:
        """Train what is wanted and not done yet.

        A run that diverges or whose network dies, or whose values are refused, is a row
        with its reason, and the others go on; it is not tried again while its folder is
        there.

        Args:
            wanted: Names of rows or cells; without any, all.
            num_seeds: Number of seeds, counted from 0.
            report: Gets all rows of the folder after each run.

        Returns:
            All rows of the folder, those of earlier calls among them.

        Raises:
            ParameterError: If there is no such cell, ``num_seeds`` is below 1, or no
                run of those wanted came to an end.
            ConfigError: If a cell names what does not exist; nothing is run then.
            ParameterError: If a cell asks for bf16 without units; nothing is run then.
            FileError: If a wanted run was made with another recipe.
        """
        if num_seeds < 1:
            raise ParameterError(f"--seeds must be >= 1, got {num_seeds}")
        for each in self.table.variants():
            if each.cell is not None:
                self.trainer.check(each.cell)
        variants = self.table.select(wanted)
        for each in variants:
            if each.cell is None:
                self.say(f"{each.name} is refused: {each.refusal}")
        # Seeds outside: whenever the job is stopped, every cell has had its turn as
        # often.
        for seed in range(num_seeds):
            for each in variants:
                if each.cell is not None:
                    self._train_one(each, each.cell, seed)
                    report(self.rows())
        rows = self.rows()
        report(rows)
        names = {each.name for each in variants}
        asked = [row for row in rows if row.name in names]
        if not any(row.runs for row in asked):
            raise ParameterError(
                f"no run of {self.table.title!r} came to an end; the first, "
                f"{asked[0].name}, {asked[0].failed}"
            )
        return rows

    def rows(self) -> list[CellResults[Run]]:
        """All rows: what lies in the folder, and what is refused, in the table's order.

        Rows of other values of a sweep, which an earlier call was told, stand among
        those of the recipe.
        """
        self.left_out.clear()
        variants = [*self.table.variants(), *self._of_other_values()]
        order = list(self.table.cells)
        variants.sort(key=lambda each: (order.index(each.of), _number(each)))
        rows = [self._row(each) for each in variants]
        return [row for row in rows if row.runs or row.failures]

    def _train_one(self, each: Variant[Cell], cell: Cell, seed: int) -> None:
        out = self._folder(each, seed)
        failure = read_json_file(out / FAILURE_FILE)
        fingerprint = self.trainer.fingerprint(cell, seed)
        if failure is not None and failure["fingerprint"] == fingerprint:
            self.say(
                f"{each.name}, seed {seed} failed before: {failure['reason']}; delete "
                f"{out} to try again"
            )
            return
        write_json(
            out.parent / CELL_FILE, {"cell": each.of, "values": dict(each.values)}
        )
        try:
            result = self.trainer.train(each.name, cell, seed, out)
        except MismatchError:  # Of crops and network: no other row would be better off.
            raise
        except (DataError, DivergedError, ParameterError) as error:
            content = {"reason": str(error), "fingerprint": fingerprint}
            write_json(out / FAILURE_FILE, content)
            self.say(f"{each.name}, seed {seed} failed: {error}")
        else:
            self.say(f"{each.name}, {result}")

    def _folder(self, each: Variant[Cell], seed: int) -> Path:
        return self.out / each.folder / f"seed{seed}"

    def _of_other_values(self) -> list[Variant[Cell]]:
        """Rows in the folder that are cells of the recipe with values it lacks."""
        known = {each.folder for each in self.table.variants()}
        found = []
        for path in sorted(self.out.glob(f"*/{CELL_FILE}")):
            content = read_json_file(path)
            name = path.parent.name
            if name in known or content is None:
                continue
            cell = self.table.cells.get(content["cell"])
            try:
                if cell is None:
                    raise ConfigError(f"the recipe has no cell {content['cell']!r}")
                found.append(variant(content["cell"], cell, content["values"]))
            except ConfigError as error:
                self.left_out[name] = str(error)
        return found

    def _row(self, each: Variant[Cell]) -> CellResults[Run]:
        runs: dict[int, Run] = {}
        failures: dict[int, str] = {}
        if each.cell is None:
            failures[0] = each.refusal
        else:
            for path in (self.out / each.folder).glob("seed*"):
                if not path.name.removeprefix("seed").isdecimal():
                    continue
                seed = int(path.name.removeprefix("seed"))
                fingerprint = self.trainer.fingerprint(each.cell, seed)
                result, failure = (
                    read_json_file(path / name) for name in (RESULT_FILE, FAILURE_FILE)
                )
                found = result or failure
                if found is None:
                    continue
                if found["fingerprint"] != fingerprint:
                    self.left_out[f"{each.folder}/{path.name}"] = (
                        "another recipe or other data"
                    )
                elif result is not None:
                    runs[seed] = self.trainer.read(result)
                else:
                    failures[seed] = found["reason"]
        return CellResults(
            each.name,
            [runs[seed] for seed in sorted(runs)],
            each.printed,
            each.of,
            each.values,
            {seed: failures[seed] for seed in sorted(failures)},
        )


def _number(each: Variant[Any]) -> list[float]:
    """Values by which a cell's rows are sorted; last are those that are no numbers."""
    values = list(each.values.values())
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return numbers if len(numbers) == len(values) else [math.inf]


def read_json_file(path: Path) -> dict[str, Any] | None:
    """What a file of a run holds; None if there is no such file.

    Raises:
        FileError: If it cannot be read.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FileError(
            f"cannot read {path}: {error}; delete its folder to train again"
        ) from None
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file of JSON, whole or not at all."""
    with whole_file(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
