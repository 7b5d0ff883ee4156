"""Training on from another model's weights, with parts that stay as they are."""

from pathlib import Path

from torch import nn

from facever.errors import ModelFileError, ParameterError
from facever.inference.model_file import load_model


def start_from(network: nn.Module, path: Path) -> None:
    """Take the weights of a model file.

    Args:
        network: Changed in place.
        path: Of the same network with the same options.

    Raises:
        ModelFileError: If it cannot be read or holds another network.
    """
    model = load_model(path)
    given, own = model.network.state_dict(), network.state_dict()
    for name in (*own, *given):
        shapes = [
            list(weights[name].shape) if name in weights else "missing"
            for weights in (given, own)
        ]
        if shapes[0] != shapes[1]:
            options = "".join(
                f" {key}={value}" for key, value in model.header.network_options.items()
            )
            raise ModelFileError(
                f"init: {path} does not fit this network: {name} is {shapes[0]} there "
                f"and {shapes[1]} here; it holds {model.header.network}{options}"
            )
    network.load_state_dict(given)


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> tuple[nn.Module, ...]:
    """Keep parts of a network from learning.

    Args:
        network: Its weights in those parts no longer ask for gradients.
        prefixes: Names of the parts, such as ``trunk.0`` or ``trunk``.

    Returns:
        The parts, which belong in evaluation mode: their batch normalisation goes by
        its running statistics.

    Raises:
        ParameterError: If there is no such part, or nothing is left to learn.
    """
    modules = dict(network.named_modules())
    for prefix in prefixes:
        if prefix not in modules or not prefix:
            stages = [name for name in modules if name and name.count(".") < 2]
            raise ParameterError(
                f"frozen must name parts of the network, got {prefix!r}; they are "
                f"{', '.join(stages)}"
            )
        modules[prefix].requires_grad_(False)
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ParameterError(
            f"frozen must leave a part of the network to learn, got {list(prefixes)}"
        )
    return tuple(modules[prefix] for prefix in prefixes)
