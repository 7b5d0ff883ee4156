"""Everything that decides a training run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from facever.choices import Mirror, Precision
from facever.config.parts import (
    HeadConfig,
    NetworkConfig,
    ScheduleConfig,
    SGDConfig,
    StrictModel,
)
from facever.training.schedule import Measure


class DataConfig(StrictModel):
    """Which crops to train on."""

    crops: Path = Field(description="A crop store, as facever align writes it")
    num_classes: int | None = Field(
        None, ge=2, description="Checked against the store when given"
    )
    validation_identities: int = Field(
        0,
        ge=0,
        description="Identities kept out of training, to validate on and to set the "
        "threshold of the model file",
    )
    people: Path | None = Field(
        None,
        description="A CSV identity,part that names who trains and who is held_out, in "
        "place of a draw of validation_identities; others are left out",
    )
    photos_per_identity: int | None = Field(
        None,
        ge=2,
        description="Crops of an identity that a batch holds together, for heads that "
        "compare classmates (contrastive, triplet)",
    )
    workers: int = Field(
        0,
        ge=0,
        description="Processes that decode and augment crops; 0 is the training "
        "process. The batches are the same, bit for bit",
    )
    resident: bool | Literal["auto"] = Field(
        "auto",
        description="Keep all training crops in the memory of the device, 32 kB each. "
        "auto: on a GPU, if they take at most half of what is free and no augmentation "
        "but the mirror is on",
    )
    name: str = Field("unnamed", description="What the model file says it was fed")
    licence: str = Field(
        "unknown", description="The data's licence, written into the model file."
    )


class AugmentationConfig(StrictModel):
    """Random changes of training crops, in this order; every strength 0 means off.

    All but the mirror are made on the CPU, in ``data.workers`` processes. What happens
    to a crop is decided by the seed, the epoch and its row in the store.
    """

    mirror: bool = True
    shift: float = Field(0.0, ge=0, le=16, description="Pixels, each way")
    zoom: float = Field(0.0, ge=0, lt=0.5, description="Share of the size, each way")
    rotation: float = Field(0.0, ge=0, le=45, description="Degrees, each way")
    occlusion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance of a hidden patch, up to a third of each side",
    )
    brightness: float = Field(0.0, ge=0, lt=1, description="Share, each way")
    contrast: float = Field(0.0, ge=0, lt=1, description="Share, each way")
    saturation: float = Field(0.0, ge=0, lt=1, description="Share, each way")
    grey: float = Field(0.0, ge=0, le=1, description="Chance of losing the colour")
    blur: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance of a Gaussian blur, with a sigma of 0.5 to 2 pixels",
    )
    low_resolution: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance of being shrunk to 0.2 to 0.8 of each side and enlarged",
    )
    jpeg: float = Field(
        0.0, ge=0, le=1, description="Chance of JPEG's traces, of quality 20 to 80"
    )
    crop: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance of all turning black but a window of half to all of each "
        "side",
    )


class OptimiserConfig(SGDConfig):
    """How gradients become steps.

    Under adamw the centers of metric heads still move by plain gradient descent at the
    learning rate, which is slow at the rates of adamw; ``update: wen`` moves them at a
    rate of its own.
    """

    name: Literal["sgd", "adamw"] = Field(
        "sgd", description="momentum and nesterov are those of sgd"
    )
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]
    ] = Field((0.9, 0.999), description="AdamW's decay of the mean and of the square.")
    decay_all: bool = Field(
        False,
        description="Weight decay on the network's biases, slopes and normalisation "
        "too, as Caffe has it unless told otherwise",
    )
    clip: float | None = Field(
        None,
        gt=0,
        description="Longest gradient, over all parameters; longer ones are scaled",
    )


class PlateauConfig(StrictModel):
    """When a rate of shape ``plateau`` falls: see ``training.plateau``."""

    measure: Measure = Field(
        "auc",
        description="What is measured on held-out people: auc, the area under the ROC "
        "curve, or tar, the "
        "share of genuine pairs accepted at a false accept rate of 0.001",
    )
    patience: int = Field(
        3, ge=1, description="Looks in a row without a better value that make it fall"
    )
    factor: float = Field(0.1, gt=0, lt=1, description="On the rate, each time")


class TrainScheduleConfig(ScheduleConfig):
    """The schedules of a training run, which may go by its held-out people."""

    shape: Literal["drops", "cosine", "inverse", "one_cycle", "plateau"] = "drops"
    plateau: PlateauConfig = PlateauConfig()


class TrainConfig(StrictModel):
    """Everything that decides a training run."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    heads: tuple[HeadConfig, ...] = (HeadConfig(name="softmax"),)
    augmentation: AugmentationConfig = AugmentationConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: TrainScheduleConfig = TrainScheduleConfig()
    mean: Literal["constant", "image"] = Field(
        "constant", description="127.5, or the mean image of the training crops"
    )
    mirror: Mirror = "sum"
    batch_size: int = Field(
        256,
        ge=2,
        description="Crops of all processes together; batch normalisation takes its "
        "statistics from the part of each",
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Parts in which the network meets a process's part of the batch: "
        "less memory for a third more time. The head meets the whole batch all the "
        "same; batch normalisation takes its statistics from each part",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which the model file "
        "then holds, such as 0.999",
    )
    init: Path | None = Field(
        None,
        description="A model file or checkpoint of the same network, to start from its "
        "weights",
    )
    frozen: tuple[str, ...] = Field(
        (), description="Parts of the network that do not learn, such as trunk.0"
    )
    precision: Precision = "auto"
    device: str = "auto"
    compile: bool = Field(
        False,
        description="Make kernels of the network with torch.compile, which takes "
        "minutes at the start; needs a C++ compiler, on a GPU Triton",
    )
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: int = Field(20, ge=1, description="Steps a JSON line")
    tensorboard: bool = Field(
        False,
        description="Write the numbers of the JSON lines for TensorBoard as well",
    )
    validate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between two looks at the held-out people, into the log; "
        "only shape plateau goes by them",
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps a checkpoint")
    keep_last: int = Field(
        1, ge=1, description="Newest checkpoints that stay; 1 is checkpoint.pt alone"
    )
    milestones: tuple[int, ...] = Field(
        (), description="Steps whose checkpoints stay for good"
    )
    out: Path = Path("runs/train")

    @field_validator("heads")
    @classmethod
    def _check_weights(cls, heads: tuple[HeadConfig, ...]) -> tuple[HeadConfig, ...]:
        if not any(head.weight for head in heads):
            raise ValueError("at least one head needs a weight above 0")
        return heads


class UnrestrictedConfig(StrictModel):
    """LFW's unrestricted setting: a training for each fold that is tested."""

    train: TrainConfig = Field(
        description="The config of every training; its out is the folder of them all."
    )
    held_out_people: int = Field(
        500,
        ge=2,
        description="People of the other folds who are kept out of training, for the "
        "threshold and the PCA.",
    )
    min_photos: int = Field(2, ge=1, description="People with fewer do not train")
