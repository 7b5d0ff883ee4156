"""Typed configs: YAML files with ``key=value`` overrides.

Only ``build`` and the stages import this; engines take objects. An unknown key is an
error that lists the valid ones.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facever.errors import ConfigError, FileError


class StrictModel(BaseModel):
    """Refuses unknown keys; its values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    licence: str = Field("unknown", description="Of the data, into the model file")


class NetworkConfig(BaseModel):
    """A network of ``models.NETWORKS``; further keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = "resnet27"


class HeadConfig(BaseModel):
    """A head of ``heads.HEADS``; further keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    weight: float = Field(1.0, ge=0)
    sample: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the classes that a batch meets, the own ones always: for "
        "heads with class vectors and millions of people",
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


class SGDConfig(StrictModel):
    """SGD, as the papers train."""

    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    nesterov: bool = False


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
    ] = Field((0.9, 0.999), description="Of adamw: decay of the mean and of the square")
    clip: float | None = Field(
        None,
        gt=0,
        description="Longest gradient, over all parameters; longer ones are scaled",
    )


class ScheduleConfig(StrictModel):
    """How long to train and how the learning rate falls.

    The default is the IE paper's: 28,000 steps, divided by 10 at 16,000 and 24,000.
    ``factor`` scales all of them for shorter runs.
    """

    steps: int = Field(28_000, ge=1)
    shape: Literal["drops", "cosine", "inverse", "one_cycle"] = "drops"
    drops: tuple[int, ...] = (16_000, 24_000)
    warmup: int = Field(
        0, ge=0, description="Steps of linear rise at the start, of any shape"
    )
    gamma: float = Field(1e-4, ge=0, description="Of inverse")
    power: float = Field(0.75, ge=0, description="Of inverse")
    factor: float = Field(1.0, gt=0, description="On steps, drops and warmup")


class TrainConfig(StrictModel):
    """Everything that decides a training run."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    heads: tuple[HeadConfig, ...] = (HeadConfig(name="softmax"),)
    augmentation: AugmentationConfig = AugmentationConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    mean: Literal["constant", "image"] = Field(
        "constant", description="127.5, or the mean image of the training crops"
    )
    mirror: Literal["sum", "concat", "none"] = "sum"
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
        None, description="A model file of the same network, to start from its weights"
    )
    frozen: tuple[str, ...] = Field(
        (), description="Parts of the network that do not learn, such as trunk.0"
    )
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"
    seed: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1, description="Steps a JSON line")
    checkpoint_every: int = Field(500, ge=1, description="Steps a checkpoint")
    keep_last: int = Field(
        1, ge=1, description="Newest checkpoints that stay; 1 is checkpoint.pt alone"
    )
    milestones: tuple[int, ...] = Field(
        (), description="Steps whose checkpoints stay for good"
    )
    out: Path = Path("runs/train")


class UnrestrictedConfig(StrictModel):
    """LFW's unrestricted setting: a training for each fold that is tested."""

    train: TrainConfig = Field(
        description="Of every training; its out is the folder of all of them"
    )
    held_out_people: int = Field(
        500,
        ge=2,
        description="Of the other folds: kept out of training, for threshold and PCA",
    )
    min_photos: int = Field(2, ge=1, description="People with fewer do not train")


_Config = TypeVar("_Config", bound=BaseModel)


def load_config(
    kind: type[_Config], path: Path | None, overrides: list[str] | None = None
) -> _Config:
    """Read a YAML file and apply ``key=value`` overrides, dots for nested keys.

    Args:
        kind: The config class.
        path: The YAML file; None starts from the defaults.
        overrides: Such as ``network.width=0.5`` or ``heads.0.margin=0.3``; values are
            YAML.

    Returns:
        The checked config.

    Raises:
        FileError: If the file is missing.
        ConfigError: If it is not YAML, has an unknown key or a value out of range.
    """
    content: Any = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise FileError(
                f"cannot read config {path}: {error.strerror}; configs/ has examples"
            ) from None
        except (yaml.YAMLError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"config {path} is not YAML: {reason}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"config {path} must hold keys and values")
    for override in overrides or []:
        _apply(content, override)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(kind, error, path)) from None


def _apply(content: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"an override is key=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"override {override!r}: the value is not YAML") from None
    *parents, last = key.split(".")
    place = content
    for step in parents:
        place = _descend(place, step, override)
    if isinstance(place, list):
        place[_index(place, last, override)] = value
    else:
        place[last] = value


def _descend(place: Any, step: str, override: str) -> Any:
    if isinstance(place, list):
        inner = place[_index(place, step, override)]
    else:
        inner = place.setdefault(step, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"override {override!r}: {step!r} holds no further keys")
    return inner


def _index(items: list[Any], step: str, override: str) -> int:
    if not step.isdecimal() or int(step) >= len(items):
        raise ConfigError(
            f"override {override!r}: {step!r} must be an index in [0, {len(items)})"
        )
    return int(step)


def _explain(kind: type[BaseModel], error: ValidationError, path: Path | None) -> str:
    """The first problem in one line."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"])
    where = f"config {path}" if path else "config"
    if first["type"] == "extra_forbidden":
        valid = ", ".join(_keys_at(kind, first["loc"][:-1]))
        return f"{where}: unknown key {place}; valid keys there: {valid}"
    if first["type"] == "value_error":  # Our own words, which name the value.
        return f"{where}: {place or 'as a whole'}: {first['ctx']['error']}"
    if first["type"] == "missing":
        return f"{where}: {place} is missing"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {place}: {message}, got {first['input']!r}"


def _keys_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    for step in place:
        field = kind.model_fields.get(str(step))
        if field is None:  # An index, or a key of a mapping.
            continue
        annotation: Any = field.annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
