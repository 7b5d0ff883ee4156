"""Recipes of tables: cells that share a base, and sweeps over keys of a cell."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, ValidationError, model_validator

from facever.config.parts import StrictModel
from facever.config.reading import explain, set_key
from facever.errors import ConfigError, FileError, ParameterError

Percent = Annotated[float, Field(ge=0, le=100)]
PrintedPercent = Percent | tuple[Percent | None, ...] | None
"""A number that a paper prints: one, or of a sweep over one key one for each value."""

SweepValue = bool | int | float | str | None


class SweptCell(StrictModel, ABC):
    """What every cell of a table may say, whatever it trains."""

    sweep: dict[str, tuple[SweepValue, ...]] = Field(
        {},
        description="Keys of the cell, with dots between, and the values to try of "
        "each, such as heads.1.weight: [0, 0.01, 0.1]. The cell is trained once for "
        "each value, with several keys for each combination.",
    )

    @property
    @abstractmethod
    def printed_numbers(self) -> dict[str, PrintedPercent]:
        """What the paper prints for the cell, by name; what it does not print is None.

        A list belongs to the values of the sweep.
        """

    @model_validator(mode="after")
    def _check_sweep(self) -> "SweptCell":
        for key, values in self.sweep.items():
            texts = [_text(value) for value in values]
            if not values or len(set(texts)) < len(texts):
                raise ValueError(
                    f"sweep.{key} must list one value or more, each once, got "
                    f"[{', '.join(texts)}]"
                )
        for name, printed in self.printed_numbers.items():
            if not isinstance(printed, tuple):
                continue
            sizes = [len(values) for values in self.sweep.values()]
            if sizes != [len(printed)]:
                raise ValueError(
                    f"printed.{name} must be one number, or of a sweep over one key "
                    f"one for each of its values, got {len(printed)} for "
                    f"{' x '.join(map(str, sizes)) or 'no'} values"
                )
        return self


Cell = TypeVar("Cell", bound=SweptCell)


@dataclass(frozen=True)
class Variant(Generic[Cell]):
    """A cell with one value of each key of its sweep; without a sweep the cell itself.

    Attributes:
        name: The name of the row in the table.
        of: The name of the cell in the recipe.
        values: The value of each key of the sweep.
        cell: The cell with these values; None where they are refused.
        refusal: Why they are refused.
        printed: What the paper prints for these values.
    """

    name: str
    of: str
    values: Mapping[str, SweepValue]
    cell: Cell | None
    refusal: str
    printed: Mapping[str, float]

    @property
    def folder(self) -> str:
        """The name of the folder of its runs."""
        return folder_name(self.name)


class Table(StrictModel, Generic[Cell]):
    """The cells of a table. ``train`` holds what they share; a cell adds and changes.

    Mappings are merged key by key, lists are replaced.
    """

    title: str = Field(description="The title of the table.")
    paper: str = Field(description="The paper and the table that it repeats.")
    chosen: tuple[str, ...] = Field(
        (),
        description="What the paper leaves open and the recipe chose, and where the "
        "recipe differs, a sentence each.",
    )
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="What all cells share; a cell adds to it and changes it.",
    )
    cells: dict[str, Cell] = Field(
        min_length=1, description="The cells of the table by name."
    )

    @model_validator(mode="before")
    @classmethod
    def _share(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("cells"), dict):
            return content
        shared = content.get("train", {})
        cells = {name: _merged(shared, own) for name, own in content["cells"].items()}
        return content | {"cells": cells}

    @model_validator(mode="after")
    def _check_variants(self) -> "Table[Cell]":
        names: dict[str, str] = {}
        for each in self.variants():
            other = names.setdefault(each.folder, each.name)
            if other != each.name:
                raise ValueError(
                    f"cells {other!r} and {each.name!r} would share the folder "
                    f"{each.folder}: rename one"
                )
        return self

    def variants(self) -> list[Variant[Cell]]:
        """All rows of the table, in their order."""
        return [
            variant(name, cell, dict(zip(cell.sweep, values, strict=True)))
            for name, cell in self.cells.items()
            for values in product(*cell.sweep.values())
        ]

    def select(self, wanted: Sequence[str]) -> list[Variant[Cell]]:
        """The rows of some names, in the order of the table.

        Args:
            wanted: Names of rows, or of cells for all values of their sweep; without
                any, all rows.

        Raises:
            ParameterError: If there is no such name.
        """
        variants = self.variants()
        names = {name for each in variants for name in (each.name, each.of)}
        for name in wanted:
            if name not in names:
                raise ParameterError(
                    f"{self.title!r} has no cell {name!r}; it has "
                    f"{', '.join(self.cells)}"
                )
        return [
            each
            for each in variants
            if not wanted or each.name in wanted or each.of in wanted
        ]


def variant(of: str, cell: Cell, values: Mapping[str, SweepValue]) -> Variant[Cell]:
    """A cell with values in the place of those that it has.

    Args:
        of: The name of the cell.
        cell: The cell; its sweep is left out, and of numbers printed along a sweep that
            of the value is taken.
        values: The value of each key.

    Raises:
        ConfigError: If a key does not exist. Values that are refused are no error: the
            variant says why.
    """
    labels = [key.rpartition(".")[2] for key in values]
    if len(set(labels)) < len(labels):
        labels = list(values)
    texts = map(_text, values.values())
    parts = [f"{label}={text}" for label, text in zip(labels, texts, strict=True)]
    name = ", ".join([of, *parts])
    printed = {
        key: number
        for key, numbers in cell.printed_numbers.items()
        if (number := _printed_for(numbers, cell, values)) is not None
    }
    content = cell.model_dump(
        mode="json", exclude_unset=True, exclude={"sweep", "printed"}
    )
    whole = cell.model_dump(mode="json")
    for key, value in values.items():
        where = f"cell {of}, sweep over {key}"
        set_key(whole, key, value, where)  # Defaults are places of keys, too.
        set_key(content, key, value, where)
    try:
        made = type(cell).model_validate(content | {"printed": printed})
    except ValidationError as error:
        reason = explain(type(cell), error, f"cell {name}")
        if any(each["type"] == "extra_forbidden" for each in error.errors()):
            raise ConfigError(reason) from None
        return Variant(name, of, values, None, reason, printed)
    return Variant(name, of, values, made, "", printed)


def folder_name(name: str) -> str:
    """The name of the folder of a row's runs."""
    return name.replace(" ", "-").replace("/", "-")


def find_recipes(paths: Sequence[Path]) -> list[Path]:
    """The recipes of a command line; a folder stands for all recipes in it.

    Raises:
        FileError: If a folder holds no recipe.
    """
    files = []
    for path in paths:
        inside = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise FileError(f"{path} holds no recipe, a .yaml file")
        files += inside
    return files


def _text(value: SweepValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _printed_for(
    numbers: PrintedPercent, cell: SweptCell, values: Mapping[str, SweepValue]
) -> float | None:
    if not isinstance(numbers, tuple):
        return numbers
    [(key, swept)] = cell.sweep.items()
    return numbers[swept.index(values[key])] if values.get(key) in swept else None


def _merged(base: Any, own: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return base | {key: _merged(base.get(key), value) for key, value in own.items()}
