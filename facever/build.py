"""Config to objects; the only module that knows both sides."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import nn

from facever.choices import ScheduleShape
from facever.config.parts import HeadConfig, NetworkConfig
from facever.config.small_images import SmallImageCell, SmallImageOptimiserConfig
from facever.config.training import OptimiserConfig, TrainConfig
from facever.data.batches.augmentation import Augmentation, AugmentationStrength
from facever.data.batches.resident import fits_on
from facever.errors import ConfigError
from facever.hardware import uses_bf16
from facever.heads import HEADS, Head, JointHead
from facever.heads.parts.sharded_rows import ClassShards
from facever.models import NETWORKS, build_network
from facever.models.base import EmbeddingNetwork
from facever.small_images.fit import RATE_FACTOR
from facever.small_images.networks import SMALL_IMAGE_NETWORKS
from facever.training.checkpoint import TrainingState
from facever.training.distributed import ALONE, Processes
from facever.training.fine_tuning import freeze, start_from
from facever.training.fit import Computation
from facever.training.mixing import Mixing
from facever.training.optimiser import PLAIN, AdamW, parameter_groups
from facever.training.schedule import Plateau, Schedule
from facever.training.weight_average import WeightAverage


def network_options(config: NetworkConfig) -> dict[str, Any]:
    """The keyword arguments of the network that a config names, checked.

    Raises:
        ConfigError: If the network or an option is unknown or of the wrong type.
    """
    kind = _named(NETWORKS, config.name, "network")
    return _checked_options(kind, config.model_extra or {}, f"network {config.name}")


def make_network(config: NetworkConfig) -> EmbeddingNetwork:
    """The network of a config, freshly initialised."""
    return build_network(config.name, network_options(config))


def make_small_image_network(config: NetworkConfig) -> EmbeddingNetwork:
    """The network for small images of a config, freshly initialised.

    Raises:
        ConfigError: If the network or an option is unknown or of the wrong type.
        ParameterError: If an option is out of range.
    """
    kind = _named(SMALL_IMAGE_NETWORKS, config.name, "network for small images")
    given = config.model_extra or {}
    options = _checked_options(kind, given, f"network {config.name}")
    network: EmbeddingNetwork = kind(**options)
    return network


def check_names(
    network: NetworkConfig,
    heads: tuple[HeadConfig, ...],
    networks: Mapping[str, type[nn.Module]] = NETWORKS,
) -> None:
    """Refuse a network, heads or options that do not exist; values are not looked at.

    Args:
        network: The network of a config.
        heads: Its heads.
        networks: The networks that there are: ``NETWORKS`` or
            ``SMALL_IMAGE_NETWORKS``.

    Raises:
        ConfigError: If a name is unknown; the message lists the valid ones.
    """
    named: list[tuple[NetworkConfig | HeadConfig, Mapping[str, Any], str]] = [
        (network, networks, "network"),
        *((head, HEADS, "head") for head in heads),
    ]
    for config, table, what in named:
        kind = _named(table, config.name, what)
        _keywords(kind, config.model_extra or {}, f"{what} {config.name}")


def make_head(
    configs: tuple[HeadConfig, ...],
    embedding_size: int,
    num_classes: int,
    *,
    seed: int = 0,
    processes: Processes = ALONE,
    teacher_size: int | None = None,
) -> JointHead:
    """The weighted heads of a config.

    Args:
        configs: Name, weight and options of each head.
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes that the labels name.
        seed: Decides which classes are drawn for each batch, where a head samples.
        processes: The processes that share the class vectors.
        teacher_size: Number of dimensions of the teacher's embeddings; None where
            there is no teacher.

    Raises:
        ConfigError: If a head or an option is unknown or of the wrong type, or a head
            learns from a teacher and there is none.
        ParameterError: If an option is out of range.
    """
    heads = []
    for config in configs:
        kind = _named(HEADS, config.name, "head")
        options = _checked_options(
            kind, config.model_extra or {}, f"head {config.name}"
        )
        head: Head
        if kind.shares_classes:
            is_whole = processes.count == 1 and config.sample == 1
            shards = None if is_whole else ClassShards(processes, config.sample, seed)
            head = kind(embedding_size, num_classes, shards, **options)
        elif config.sample == 1:
            sizes = [embedding_size, num_classes]
            if kind.has_teacher:
                sizes.append(_teacher_size(config.name, teacher_size))
            head = kind(*sizes, **options)
        else:
            raise ConfigError(
                f"head {config.name}: sample must be 1 where no class vectors are "
                f"learned by softmax, got {config.sample:g}"
            )
        heads.append((config.name, head, config.weight))
    return JointHead(heads)


def _teacher_size(name: str, size: int | None) -> int:
    if size is None:
        raise ConfigError(
            f"head {name} learns from a teacher: set teacher to a model file or to the "
            "name of a ready model, such as sface (facever train alone has teachers)"
        )
    return size


def make_optimiser(
    config: TrainConfig | SmallImageCell, network: nn.Module, head: nn.Module
) -> torch.optim.Optimizer:
    """The optimiser of a network and its heads; the schedule sets each step's rate."""
    options = config.optimiser
    decay_all = isinstance(options, OptimiserConfig) and options.decay_all
    groups = parameter_groups(network, head, options.weight_decay, decay_all)
    _, free, centers = groups
    if isinstance(options, SmallImageOptimiserConfig):
        free[RATE_FACTOR] = options.bias_rate
    elif isinstance(options, OptimiserConfig) and options.name == "adamw":
        centers[PLAIN] = True
        return AdamW(groups, lr=options.learning_rate, betas=options.betas)
    return torch.optim.SGD(
        groups,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
    )


def make_computation(
    config: TrainConfig, device: torch.device, processes: Processes = ALONE
) -> Computation:
    """How a run computes its gradients on a device.

    Raises:
        ConfigError: If the parts of a process's batch would differ in size, or crops
            are to be mixed and their number is odd.
        ParameterError: If the chances of mixup and cutmix are above 1 together.
    """
    size = config.batch_size // processes.count
    if size % config.accumulate:
        raise ConfigError(
            f"accumulate must divide the {size} crops of a process's batch, got "
            f"{config.accumulate}"
        )
    return Computation(
        device,
        bf16=uses_bf16(config.precision, str(device)),
        num_parts=config.accumulate,
        clip=config.optimiser.clip,
        is_compiled=config.compile,
        mixing=_make_mixing(config, size),
    )


def _make_mixing(config: TrainConfig, size: int) -> Mixing | None:
    options = config.augmentation
    if not (options.mixup or options.cutmix):
        return None
    if size % 2:
        raise ConfigError(
            "augmentation.mixup and cutmix pair crops: batch_size must give each "
            f"process an even number of them, got {size}"
        )
    return Mixing(options.mixup, options.cutmix, config.seed)


def make_schedule(config: TrainConfig | SmallImageCell) -> Schedule:
    """The learning rates of a config, scaled by its factor."""
    options = config.schedule
    # On a plateau the rate stays but for what Plateau makes of it.
    shape: ScheduleShape = "drops" if options.shape == "plateau" else options.shape
    schedule = Schedule(
        steps=options.steps,
        learning_rate=config.optimiser.learning_rate,
        shape=shape,
        drops=() if options.shape == "plateau" else options.drops,
        warmup=options.warmup,
        gamma=options.gamma,
        power=options.power,
    )
    return schedule.scaled(options.factor)


def make_training_state(
    config: TrainConfig,
    num_classes: int,
    device: torch.device,
    processes: Processes = ALONE,
    teacher_size: int | None = None,
) -> TrainingState:
    """Network, heads and optimiser of a run on a device, at step 0.

    Args:
        config: The run's config; its seed decides the first weights.
        num_classes: Number of people in training.
        device: The device of network and heads.
        processes: The processes that share the class vectors.
        teacher_size: Number of dimensions of the teacher's embeddings; None where
            there is no teacher.

    Raises:
        ConfigError: If the network, a head or an option is unknown or of the wrong
            type, or a head wants a teacher and there is none.
        ParameterError: If an option is out of range or ``frozen`` names no part of the
            network.
        ModelFileError: If ``init`` does not hold this network.
    """
    torch.manual_seed(config.seed)
    network = make_network(config.network)
    if config.init is not None:
        start_from(network, config.init)
    frozen = freeze(network, config.frozen)
    network.to(device).to(memory_format=torch.channels_last)
    head = make_head(
        config.heads,
        network.embedding_size,
        num_classes,
        seed=config.seed,
        processes=processes,
        teacher_size=teacher_size,
    ).to(device)
    plateau = None
    if config.schedule.shape == "plateau":
        options = config.schedule.plateau
        plateau = Plateau(options.measure, options.patience, options.factor)
    return TrainingState(
        network,
        head,
        make_optimiser(config, network, head),
        average=None if config.ema is None else WeightAverage(network, config.ema),
        plateau=plateau,
        frozen=frozen,
    )


def make_augmentation(config: TrainConfig) -> Augmentation | None:
    """The changes of training crops on the CPU; None if all are off."""
    strengths = _strengths_on_cpu(config)
    if not any(strengths.values()):
        return None
    return Augmentation(AugmentationStrength(**strengths))


def _strengths_on_cpu(config: TrainConfig) -> dict[str, float]:
    return config.augmentation.model_dump(exclude={"mirror", "mixup", "cutmix"})


def is_resident(config: TrainConfig, num_bytes: int, device: torch.device) -> bool:
    """Whether the training crops are to lie in the memory of the device.

    Experimental: crops in the memory of a GPU were not tried on one yet.

    Args:
        config: ``data.resident`` decides; ``auto`` means crops that nothing changes on
            the CPU, and that fit (``fits_on``).
        num_bytes: Number of bytes of all training crops.
        device: The device that trains.

    Raises:
        ConfigError: If the config wants them there and an augmentation is on, which
            works on the CPU.
    """
    strengths = _strengths_on_cpu(config)
    changes = [name for name, strength in strengths.items() if strength]
    if config.data.resident == "auto":
        return not changes and fits_on(device, num_bytes)
    if config.data.resident and changes:
        raise ConfigError(
            "data.resident=true keeps crops on the device, but augmentation."
            f"{changes[0]}={strengths[changes[0]]:g} changes them on the CPU: use "
            "data.resident=auto, or set the strength to 0"
        )
    return config.data.resident


def _named(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ConfigError(
            f"unknown {what} {name!r}; known are {', '.join(sorted(table))}"
        )
    return table[name]


def _checked_options(
    kind: type[nn.Module], given: dict[str, Any], where: str
) -> dict[str, Any]:
    """Check options against the keyword arguments of a class, by their annotations.

    The signature is the one place that says what a network or head can be told.
    """
    keywords = _keywords(kind, given, where)
    options: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in keywords.items()
    }
    model: type[BaseModel] = create_model(
        kind.__name__, __config__=ConfigDict(extra="forbid"), **options
    )
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        # Within an option, the place names a field, or a member of a union: skip that.
        is_nested = is_dataclass(keywords[str(first["loc"][0])].annotation)
        place = ".".join(map(str, first["loc"][: 2 if is_nested else 1]))
        if first["type"] == "value_error":  # Our own words, which name the value.
            raise ConfigError(f"{where}: {place}: {first['ctx']['error']}") from None
        raise ConfigError(
            f"{where}: {place}: {first['msg']}, got {first['input']!r}"
        ) from None
    return {key: getattr(checked, key) for key in given}


def _keywords(
    kind: type[nn.Module], given: Mapping[str, Any], where: str
) -> dict[str, inspect.Parameter]:
    """The keyword arguments of a class, which hold all that are given."""
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for key, value in given.items():
        if key not in keywords:
            valid = ", ".join(keywords) or "none"
            raise ConfigError(f"{where}: unknown key {key}; valid keys: {valid}")
        option = keywords[key].annotation
        if is_dataclass(option) and isinstance(value, dict):
            inner = [field.name for field in fields(option)]
            for name in value:
                if name not in inner:
                    raise ConfigError(
                        f"{where}: unknown key {key}.{name}; valid keys: "
                        f"{', '.join(inner)}"
                    )
    return keywords
