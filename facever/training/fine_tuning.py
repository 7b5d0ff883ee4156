"""Training on from other weights, with parts that stay as they are."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from facever.errors import ModelFileError, ParameterError
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.model_file import load_model
from facever.training.checkpoint import read_checkpoint


@dataclass(frozen=True)
class InitialWeights:
    """What a network starts from.

    Attributes:
        weights: The network's weights, by name.
        fingerprint: The fingerprint of the weights, wherever their file lies.
        origin: Description of what the weights were trained on, for people to read.
    """

    weights: dict[str, Tensor]
    fingerprint: str
    origin: str


def read_initial(path: Path) -> InitialWeights:
    """The weights of a model file or of a checkpoint, for a network that takes RGB.

    Raises:
        ModelFileError: If the file is neither a model file nor a checkpoint, or is
            damaged.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        content = read_checkpoint(path)
        return InitialWeights(
            content["network"],
            f"{content['fingerprint']} at step {content['step']}",
            f"a checkpoint of step {content['step']:,}",
        )
    model = load_model(path)
    if not isinstance(model.network, TorchNetwork):
        raise ModelFileError(
            f"init: {path} holds a network that can be run but not trained; start from "
            "a .safetensors"
        )
    header = model.header
    options = "".join(f" {key}={each}" for key, each in header.network_options.items())
    weights = model.network.module.state_dict()
    if header.channel_order == "BGR":
        # Training gives RGB: the first convolution takes its planes the other way.
        first = next(name for name, value in weights.items() if value.ndim == 4)
        weights[first] = weights[first].flip(1)
    return InitialWeights(
        weights,
        model.fingerprint,
        f"{header.network}{options}, trained on {header.training_data} (licence: "
        f"{header.licence})",
    )


def start_from(network: nn.Module, path: Path) -> None:
    """Take the weights of a model file or of a checkpoint.

    Args:
        network: The network to fill, changed in place.
        path: A model file of the same network with the same options.

    Raises:
        ModelFileError: If the file cannot be read or holds another network.
    """
    initial = read_initial(path)
    given, own = initial.weights, network.state_dict()
    for name in (*own, *given):
        shapes = [
            list(weights[name].shape) if name in weights else "missing"
            for weights in (given, own)
        ]
        if shapes[0] != shapes[1]:
            raise ModelFileError(
                f"init: {path} does not fit this network: {name} is {shapes[0]} there "
                f"and {shapes[1]} here; it holds {initial.origin}"
            )
    network.load_state_dict(given)


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> tuple[nn.Module, ...]:
    """Keep parts of a network from learning.

    Args:
        network: The network, changed in place: weights in the named parts need no
            gradients any more.
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
