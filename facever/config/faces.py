"""Recipes of the papers' tables on faces: one YAML file a table."""

from pathlib import Path

from pydantic import Field, model_validator

from facever.config.parts import StrictModel
from facever.config.tables import PrintedPercent, SweptCell, Table
from facever.config.training import TrainConfig


class FacePrinted(StrictModel):
    """What the paper prints for a cell; of a sweep, a list with one for each value."""

    lfw: PrintedPercent = Field(
        None, description="The accuracy on LFW that the paper prints, percent."
    )
    ytf: PrintedPercent = Field(
        None, description="The accuracy on YouTube Faces that it prints, percent."
    )


class FaceCell(TrainConfig, SweptCell):
    """A row of a table: a training run, but for its seed and its folder."""

    printed: FacePrinted = Field(
        FacePrinted(), description="What the paper prints for this cell."
    )

    @property
    def printed_numbers(self) -> dict[str, PrintedPercent]:
        """The numbers of ``printed``."""
        return dict(self.printed)

    @model_validator(mode="after")
    def _check_counted(self) -> "FaceCell":
        for key in ("seed", "out"):
            if key in self.model_fields_set:
                raise ValueError(
                    f"{key} must be left out, got {getattr(self, key)}: a table counts "
                    "its seeds and names its folders"
                )
        return self

    def training(self, seed: int, out: Path) -> TrainConfig:
        """The training run of a seed, in a folder."""
        content = self.model_dump(exclude={"printed", "sweep"}, exclude_unset=True)
        return TrainConfig.model_validate(content | {"seed": seed, "out": out})


class FaceTable(Table[FaceCell]):
    """The cells of a table. ``train`` holds what they share; a cell adds and changes.

    Mappings are merged key by key, lists are replaced.
    """

    pca_components: int | None = Field(
        None,
        ge=1,
        description="The number of dimensions that the PCA keeps, which is fitted for "
        "each fold on the others; by default half of the embedding size. With another "
        "number the same runs are judged anew, without training.",
    )
