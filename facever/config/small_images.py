"""Recipes of the papers' experiments on small images: one YAML file a table."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from facever.choices import (
    ImagePreparation,
    Precision,
    ScheduleShape,
    SmallImageSetName,
)
from facever.config.parts import (
    HeadConfig,
    NetworkConfig,
    ScheduleConfig,
    SGDConfig,
    StrictModel,
)
from facever.config.tables import PrintedPercent, SweptCell, Table, Variant


class SmallImageDataConfig(StrictModel):
    """Which set to train on, and what is done to its images."""

    set: SmallImageSetName = Field(description="The name of the set.")
    preparation: tuple[ImagePreparation, ...] = Field(
        (),
        description="The steps from pixels to the network's input, in their order: "
        "divide_256 divides by 256, mean_image subtracts the mean of the training "
        "images, contrast gives each image mean 0 and deviation 1, mean_std gives each "
        "channel of the training images mean 0 and deviation 1, global_mean_std all "
        "their channels together.",
    )
    mirror: bool = Field(
        False, description="Whether half of the training images are flipped."
    )
    crop_padding: int = Field(
        0,
        ge=0,
        le=16,
        description="The number of zeros on each side of a training image, out of "
        "which a window of the image's size is cut at random; 0 cuts nothing.",
    )


class SmallImageOptimiserConfig(SGDConfig):
    """Stochastic gradient descent; Caffe's networks move biases twice as fast."""

    bias_rate: float = Field(
        1.0, gt=0, description="What the learning rate of biases is multiplied by."
    )


class SmallImageScheduleConfig(ScheduleConfig):
    """How long to train and how the learning rate runs."""

    shape: ScheduleShape = Field(
        "drops",
        description="How the rate runs: drops divides it by 10 at certain steps, "
        "cosine lets it fall to 0, inverse is Caffe's, one_cycle rises and falls.",
    )


class Printed(StrictModel):
    """What the paper prints for a cell; of a sweep, a list with one for each value."""

    error: PrintedPercent = Field(
        None, description="The error rate that the paper prints, percent."
    )
    top5_error: PrintedPercent = Field(
        None, description="The top-5 error that it prints, percent."
    )
    w_inter: float | None = Field(
        None, description="The WInter that it prints, radians."
    )
    c_inter: float | None = Field(
        None, description="The CInter that it prints, radians."
    )
    wc_intra: float | None = Field(
        None, description="The WCIntra that it prints, radians."
    )


class SmallImageCell(SweptCell):
    """One number of a table: everything that decides its runs but the seed."""

    data: SmallImageDataConfig = Field(description="Which images to train on.")
    network: NetworkConfig = Field(description="Which network to train.")
    heads: tuple[HeadConfig, ...] = Field(
        description="The heads whose weighted losses are added up."
    )
    optimiser: SmallImageOptimiserConfig = Field(
        description="How gradients become steps."
    )
    schedule: SmallImageScheduleConfig = Field(
        description="How long to train and how the learning rate runs."
    )
    batch_size: int = Field(ge=2, description="The number of images in a batch.")
    precision: Precision = Field(
        "auto",
        description="The numbers that the network is trained with: fp32, bf16, or "
        "auto, which takes bf16 where the device has units for it. What is measured is "
        "computed with fp32.",
    )
    start: str | None = Field(
        None,
        description="The name of a cell above this one in the table, from whose "
        "network this one starts.",
    )
    measure_every: int | None = Field(
        None,
        ge=1,
        description="The number of steps between two points of the curves; by default "
        "those of an epoch.",
    )
    printed: Printed = Field(
        Printed(), description="What the paper prints for this cell."
    )

    @property
    def printed_numbers(self) -> dict[str, PrintedPercent]:
        """The numbers of ``printed``."""
        return dict(self.printed)


class SmallImageTable(Table[SmallImageCell]):
    """The cells of a table. ``train`` holds what they share; a cell adds and changes.

    Mappings are merged key by key, lists are replaced.
    """

    @model_validator(mode="after")
    def _check_starts(self) -> "SmallImageTable":
        names = list(self.cells)
        for name, cell in self.cells.items():
            if cell.start is None:
                continue
            if cell.start not in names[: names.index(name)]:
                raise ValueError(
                    f"cell {name} starts from {cell.start!r}, which is no cell above it"
                )
            if self.cells[cell.start].sweep:
                raise ValueError(
                    f"cell {name} starts from {cell.start!r}, which is a sweep: there "
                    "is no one network to start from"
                )
        return self

    def select(self, wanted: Sequence[str]) -> list[Variant[SmallImageCell]]:
        """The rows of some names, and the cells that these start from before them."""
        named = list(wanted)
        for each in super().select(wanted) if wanted else []:
            start = self.cells[each.of].start
            while start is not None and start not in named:
                named.append(start)
                start = self.cells[start].start
        return super().select(named)
