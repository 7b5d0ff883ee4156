"""Everything that decides a training run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from facever.choices import (
    MeanName,
    Mirror,
    OptimiserName,
    PlateauMeasure,
    Precision,
    TrainScheduleShape,
)
from facever.config.parts import (
    HeadConfig,
    NetworkConfig,
    ScheduleConfig,
    SGDConfig,
    StrictModel,
)


class DataConfig(StrictModel):
    """Which crops to train on, and how they are read."""

    crops: Path = Field(
        description="The folder of a crop store, which facever align writes."
    )
    num_classes: int | None = Field(
        None,
        ge=2,
        description="The number of people in training that you expect; another number "
        "is refused. By default it is not checked.",
    )
    validation_identities: int = Field(
        0,
        ge=0,
        description="The number of people, drawn by the seed, who are held out of "
        "training. They set the threshold of the model file.",
    )
    people: Path | None = Field(
        None,
        description="A CSV file identity,part that says who is in train and who is "
        "held_out, in place of a draw. People whom it does not name are left out.",
    )
    photos_per_identity: int | None = Field(
        None,
        ge=2,
        description="The number of crops of each person in a batch, for heads that "
        "compare crops of one person (contrastive, triplet). By default a batch is "
        "drawn from all crops alike.",
    )
    workers: int = Field(
        0,
        ge=0,
        description="The number of processes that decode and change crops; with 0 the "
        "training process does it. The batches are the same, bit for bit.",
    )
    resident: bool | Literal["auto"] = Field(
        "auto",
        description="Whether all training crops lie in the memory of the device, 32 kB "
        "each. auto does so on a GPU where they take at most half of the free memory "
        "and no augmentation is on but mirror, mixup and cutmix. Experimental: not run "
        "on a GPU yet.",
    )
    name: str = Field(
        "unnamed", description="The name of the data, for the model file and its card."
    )
    licence: str = Field(
        "unknown", description="The licence of the data, for the model file."
    )


class AugmentationConfig(StrictModel):
    """Random changes of training crops, in this order; a strength of 0 means off.

    The seed, the epoch and its row in the store decide what happens to a crop. That is
    done on the CPU, in ``data.workers`` processes, but for the mirror. Last, mixup and
    cutmix mix whole batches on the device, as seed and step decide.
    """

    mirror: bool = Field(True, description="Whether half of the crops are flipped.")
    shift: float = Field(
        0.0, ge=0, le=16, description="The largest shift in each direction, in pixels."
    )
    zoom: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="The largest change of the size, up or down, as a share of it.",
    )
    rotation: float = Field(
        0.0, ge=0, le=45, description="The largest rotation, either way, in degrees."
    )
    occlusion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that a patch is hidden, up to a third of each side.",
    )
    brightness: float = Field(
        0.0, ge=0, lt=1, description="The largest change of brightness, as a share."
    )
    contrast: float = Field(
        0.0, ge=0, lt=1, description="The largest change of contrast, as a share."
    )
    saturation: float = Field(
        0.0, ge=0, lt=1, description="The largest change of saturation, as a share."
    )
    grey: float = Field(
        0.0, ge=0, le=1, description="The chance that a crop loses its colour."
    )
    blur: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance of a Gaussian blur with a sigma of 0.5 to 2 pixels.",
    )
    low_resolution: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that a crop is shrunk to 0.2 to 0.8 of each side and "
        "enlarged again.",
    )
    jpeg: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that a crop is saved as JPEG of quality 20 to 80.",
    )
    crop: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that everything turns black but a window of half to "
        "all of each side.",
    )
    mixup: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that the crops of a batch are added up in pairs, with "
        "a share drawn from Beta(0.2, 0.2). The two labels have the same shares of the "
        "loss. The heads anchor_ncm, angular, arcface, cosface, euclidean_margin, "
        "hinge and softmax allow it; each computes its loss twice then.",
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The chance that a window of each crop of a batch is replaced by "
        "another crop's. The other label's share of the loss is the window's share of "
        "the area. For the same heads as mixup; together both are at most 1.",
    )


class OptimiserConfig(SGDConfig):
    """How gradients become steps.

    With adamw the centers of metric heads still move by plain gradient descent at the
    learning rate, which is slow at the rates of adamw; a head's ``update: wen`` moves
    its centers at a rate of its own.
    """

    name: OptimiserName = Field(
        "sgd",
        description="The optimiser. The keys momentum and nesterov are for sgd, betas "
        "for adamw.",
    )
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]
    ] = Field(
        (0.9, 0.999),
        description="The decay rates of adamw's mean gradient and mean square.",
    )
    decay_all: bool = Field(
        False,
        description="Whether the network's biases, slopes and normalisation decay too, "
        "as Caffe's do by default.",
    )
    clip: float | None = Field(
        None,
        gt=0,
        description="The longest gradient over all parameters; a longer one is scaled "
        "down to it. By default nothing is scaled.",
    )


class PlateauConfig(StrictModel):
    """When the learning rate of the shape plateau falls."""

    measure: PlateauMeasure = Field(
        "auc",
        description="The measure of the held-out people that decides: auc is the area "
        "under the ROC curve; tar is the share of genuine pairs that are accepted at a "
        "false accept rate of 0.001.",
    )
    patience: int = Field(
        3,
        ge=1,
        description="The number of measurements in a row without a better value after "
        "which the rate falls.",
    )
    factor: float = Field(
        0.1, gt=0, lt=1, description="What the rate is multiplied by when it falls."
    )


class TrainScheduleConfig(ScheduleConfig):
    """How long to train and how the learning rate runs.

    The default is the IE paper's: 28,000 steps, divided by 10 at 16,000 and 24,000.
    """

    shape: TrainScheduleShape = Field(
        "drops",
        description="How the rate runs: drops divides it by 10 at certain steps, "
        "cosine lets it fall to 0, inverse is Caffe's, one_cycle rises and falls, "
        "plateau lowers it when held-out people gain nothing any more.",
    )
    plateau: PlateauConfig = Field(
        PlateauConfig(), description="When the rate of the shape plateau falls."
    )


class TrainConfig(StrictModel):
    """Everything that decides a training run."""

    data: DataConfig = Field(description="Which crops to train on.")
    network: NetworkConfig = Field(
        NetworkConfig(), description="Which network to train."
    )
    heads: tuple[HeadConfig, ...] = Field(
        (HeadConfig(name="softmax"),),
        description="The heads whose weighted losses are added up.",
    )
    teacher: str | None = Field(
        None,
        description="A model file, or the name of a ready model such as sface, whose "
        "embeddings of the training crops the head distillation learns. They are made "
        "once and kept in a file beside the crop store.",
    )
    augmentation: AugmentationConfig = Field(
        AugmentationConfig(), description="Random changes of training crops."
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(), description="How gradients become steps."
    )
    schedule: TrainScheduleConfig = Field(
        TrainScheduleConfig(),
        description="How long to train and how the learning rate runs.",
    )
    mean: MeanName = Field(
        "constant",
        description="What is subtracted from the pixels: constant is 127.5, image is "
        "the mean image of the training crops.",
    )
    mirror: Mirror = Field(
        "sum",
        description="How the trained model merges the features of a crop and of its "
        "mirror image: sum, concat, or none for the crop alone. Written into the model "
        "file; training does not use it.",
    )
    batch_size: int = Field(
        256,
        ge=2,
        description="The number of crops in a batch, of all processes together. Batch "
        "normalisation takes its statistics from the part of each process.",
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="The number of parts in which the network computes a process's "
        "part of the batch, which takes less memory and a third more time. The head "
        "still sees the whole batch; batch normalisation takes its statistics from "
        "each part.",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The decay of a moving average of the weights, such as 0.999. The "
        "model file then holds the average. By default nothing is averaged.",
    )
    init: Path | None = Field(
        None,
        description="A model file or checkpoint of the same network, whose weights the "
        "run starts from.",
    )
    frozen: tuple[str, ...] = Field(
        (), description="Parts of the network that do not learn, such as trunk.0."
    )
    precision: Precision = Field(
        "auto",
        description="The numbers that the network computes with: fp32, bf16, or auto, "
        "which takes bf16 where the device has units for it.",
    )
    device: str = Field(
        "auto",
        description="The device: cpu, cuda, cuda:1 ..., or auto, which takes a GPU "
        "where there is one.",
    )
    compile: bool = Field(
        False,
        description="Whether torch.compile makes kernels for the network, which takes "
        "minutes at the start and needs a C++ compiler, on a GPU Triton.",
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="The seed of the first weights, of the order of the crops and of "
        "all other draws.",
    )
    log_every: int = Field(
        20, ge=1, description="The number of steps between two lines of log.jsonl."
    )
    tensorboard: bool = Field(
        False,
        description="Whether the numbers of log.jsonl are written for TensorBoard too.",
    )
    validate_every: int | None = Field(
        None,
        ge=1,
        description="The number of steps between two measurements of the held-out "
        "people, which go to the log; only the shape plateau goes by them. By default "
        "they are measured at the end alone.",
    )
    checkpoint_every: int = Field(
        500, ge=1, description="The number of steps between two checkpoints."
    )
    keep_last: int = Field(
        1,
        ge=1,
        description="The number of newest checkpoints that stay; 1 keeps checkpoint.pt "
        "alone.",
    )
    milestones: tuple[int, ...] = Field(
        (), description="Steps whose checkpoints are saved and stay for good."
    )
    out: Path = Field(
        Path("runs/train"), description="The folder of the run, where all files go."
    )

    @field_validator("heads")
    @classmethod
    def _check_weights(cls, heads: tuple[HeadConfig, ...]) -> tuple[HeadConfig, ...]:
        if not any(head.weight for head in heads):
            raise ValueError("at least one head needs a weight above 0")
        return heads


class UnrestrictedConfig(StrictModel):
    """LFW's unrestricted setting: one training for each fold that is tested."""

    train: TrainConfig = Field(
        description="The config of every training; its out is the folder of them all."
    )
    held_out_people: int = Field(
        500,
        ge=2,
        description="People of the other folds who are kept out of training, for the "
        "threshold and the PCA.",
    )
    min_photos: int = Field(
        2, ge=1, description="People with fewer photos do not train."
    )
