"""Recipes of the papers' experiments on small images: one YAML file a table."""

from typing import Any

from pydantic import Field, model_validator

from facever.choices import ImagePreparation, SmallImageSetName
from facever.config.parts import (
    HeadConfig,
    NetworkConfig,
    ScheduleConfig,
    SGDConfig,
    StrictModel,
)
from facever.training.schedule import Shape


class SmallImageDataConfig(StrictModel):
    """Which set, and what is done to its images."""

    set: SmallImageSetName
    preparation: tuple[ImagePreparation, ...] = ()
    mirror: bool = Field(False, description="Flip half of the training images")
    crop_padding: int = Field(
        0, ge=0, le=16, description="Zeros around an image before a random crop"
    )


class SmallImageOptimiserConfig(SGDConfig):
    """SGD; Caffe's networks move biases twice as fast as weights."""

    bias_rate: float = Field(1.0, gt=0, description="Factor on the rate of biases")


class SmallImageScheduleConfig(ScheduleConfig):
    """The schedules of small images."""

    shape: Shape = "drops"


class Printed(StrictModel):
    """What the paper prints of a cell, error rates in percent."""

    error: float | None = Field(None, ge=0, le=100)
    top5_error: float | None = Field(None, ge=0, le=100)


class SmallImageCell(StrictModel):
    """One number of a table: everything that decides its runs but the seed."""

    data: SmallImageDataConfig
    network: NetworkConfig
    heads: tuple[HeadConfig, ...]
    optimiser: SmallImageOptimiserConfig
    schedule: SmallImageScheduleConfig
    batch_size: int = Field(ge=2)
    start: str | None = Field(
        None, description="Cell of the same table whose network this one goes on from"
    )
    measure_every: int | None = Field(
        None, ge=1, description="Steps between two points of the curves; an epoch's"
    )
    printed: Printed = Printed()


class SmallImageTable(StrictModel):
    """The cells of a table. ``train`` holds what they share; a cell adds and changes.

    Mappings are merged key by key, lists are replaced.
    """

    title: str
    paper: str
    chosen: tuple[str, ...] = Field(
        (), description="What the paper leaves out, and where the recipe differs"
    )
    train: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, SmallImageCell] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _share(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("cells"), dict):
            return content
        shared = content.get("train", {})
        cells = {name: _merged(shared, own) for name, own in content["cells"].items()}
        return content | {"cells": cells}

    @model_validator(mode="after")
    def _check_starts(self) -> "SmallImageTable":
        names = list(self.cells)
        for name, cell in self.cells.items():
            if cell.start is not None and cell.start not in names[: names.index(name)]:
                raise ValueError(
                    f"cell {name} starts from {cell.start!r}, which is no cell above it"
                )
        return self


def _merged(base: Any, own: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return base | {key: _merged(base.get(key), value) for key, value in own.items()}
