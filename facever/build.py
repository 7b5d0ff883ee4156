"""Config to objects; the only module that knows both sides."""

import inspect
from dataclasses import is_dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import nn

from facever.config import HeadConfig, NetworkConfig, TrainConfig
from facever.data.augmentation import Augmentation, AugmentationStrength
from facever.errors import ConfigError
from facever.heads import HEADS, JointHead
from facever.models import NETWORKS, OBJECT_NETWORKS, build_network
from facever.models.base import EmbeddingNetwork
from facever.object_recipes import ObjectCell, ObjectOptimiserConfig
from facever.objects.fit import RATE_FACTOR
from facever.training.checkpoint import parameter_groups
from facever.training.schedule import Schedule


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


def make_object_network(config: NetworkConfig) -> EmbeddingNetwork:
    """The network for small images of a config, freshly initialised.

    Raises:
        ConfigError: If the network or an option is unknown or of the wrong type.
        ParameterError: If an option is out of range.
    """
    kind = _named(OBJECT_NETWORKS, config.name, "network for objects")
    given = config.model_extra or {}
    options = _checked_options(kind, given, f"network {config.name}")
    network: EmbeddingNetwork = kind(**options)
    return network


def make_head(
    configs: tuple[HeadConfig, ...], embedding_size: int, num_classes: int
) -> JointHead:
    """The weighted heads of a config.

    Raises:
        ConfigError: If a head or an option is unknown or of the wrong type.
        ParameterError: If an option is out of range.
    """
    heads = []
    for config in configs:
        kind = _named(HEADS, config.name, "head")
        options = _checked_options(
            kind, config.model_extra or {}, f"head {config.name}"
        )
        head = kind(embedding_size, num_classes, **options)
        heads.append((config.name, head, config.weight))
    return JointHead(heads)


def make_optimiser(
    config: TrainConfig | ObjectCell, network: nn.Module, head: nn.Module
) -> torch.optim.Optimizer:
    """SGD over a network and its heads; the schedule sets the rate of each step."""
    sgd = config.optimiser
    groups = parameter_groups(network, head, sgd.weight_decay)
    if isinstance(sgd, ObjectOptimiserConfig):
        _, free, _ = groups
        free[RATE_FACTOR] = sgd.bias_rate
    return torch.optim.SGD(
        groups,
        lr=sgd.learning_rate,
        momentum=sgd.momentum,
        nesterov=sgd.nesterov,
    )


def make_schedule(config: TrainConfig | ObjectCell) -> Schedule:
    """The learning rates of a config, scaled by its factor."""
    schedule = Schedule(
        steps=config.schedule.steps,
        learning_rate=config.optimiser.learning_rate,
        shape=config.schedule.shape,
        drops=config.schedule.drops,
        warmup=config.schedule.warmup,
        gamma=config.schedule.gamma,
        power=config.schedule.power,
    )
    return schedule.scaled(config.schedule.factor)


def make_augmentation(config: TrainConfig) -> Augmentation:
    """The changes of training crops, without the mirror."""
    strengths = config.augmentation.model_dump(exclude={"mirror"})
    return Augmentation(AugmentationStrength(**strengths))


def _named(table: dict[str, Any], name: str, what: str) -> Any:
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
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for key in given:
        if key not in keywords:
            valid = ", ".join(keywords) or "none"
            raise ConfigError(f"{where}: unknown key {key}; valid keys: {valid}")
    fields: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in keywords.items()
    }
    model: type[BaseModel] = create_model(
        kind.__name__, __config__=ConfigDict(extra="forbid"), **fields
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
