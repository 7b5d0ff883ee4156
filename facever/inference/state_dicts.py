"""Weights that other projects publish: torch checkpoints and plain safetensors.

>>> from facever.models import build_network
>>> network = build_network("mobilefacenet", {"embedding_size": 256})
>>> network_of(network.state_dict())
('mobilefacenet', {'embedding_size': 256, 'width': 2})
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facever.errors import ModelFileError
from facever.inference.header import HEADER_KEY
from facever.inference.torch_files import read_torch_file
from facever.models import NETWORKS, build_network, network_class
from facever.models.base import EmbeddingNetwork

# Where checkpoints keep the network's weights, beside the state of the training.
_ENTRIES = (
    "state_dict",
    "state_dict_backbone",
    "model_state_dict",
    "net_state_dict",
    "backbone",
    "model",
)
# What wrappers of a network put before the names of its weights.
_WRAPPERS = ("module.", "model.")
# Names of weights that tell training people apart, and make no embeddings.
_CLASSIFIERS = ("head.", "logits.")
# A count of steps, which files of old versions of torch lack and which changes nothing.
_STEPS = "num_batches_tracked"
_NAMED_DIFFERENCES = 3
_SAVE_WEIGHTS = (
    "in the project that it is from, save the weights alone by "
    "torch.save(network.state_dict(), PATH)"
)


@dataclass(frozen=True)
class StateDict:
    """The weights of a network as a file has them.

    Attributes:
        weights: By the names of the network alone.
        dropped: Names of what else the file holds, such as ``optimizer`` or
            ``head.kernel``.
    """

    weights: dict[str, Tensor]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class ImportedNetwork:
    """A network with the weights of a file.

    Attributes:
        network: In evaluation mode, on the CPU.
        name: Its name in ``models.NETWORKS``.
        options: Its keyword arguments.
        dropped: Names of what else the file holds and the network does not take.
    """

    network: EmbeddingNetwork
    name: str
    options: dict[str, Any]
    dropped: tuple[str, ...]


def import_state_dict(path: Path | str, network: str | None = None) -> ImportedNetwork:
    """The network that a file of weights is of, with these weights.

    Args:
        path: A torch checkpoint, or a ``.safetensors`` of any project but facever.
        network: Name in ``models.NETWORKS``; by default the one that fits.

    Returns:
        The network, ready to use: it says which crops it takes, and the file does not
        say how their pixels became its input.

    Raises:
        ModelFileError: If the file is missing, damaged or holds no weights, or fits no
            network.
        ParameterError: If there is no network of this name.
    """
    path = Path(path)
    found = read_state_dict(path)
    try:
        name, options = network_of(found.weights, network)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    built = build_network(name, options)
    built.load_state_dict(found.weights)
    return ImportedNetwork(built.eval(), name, options, found.dropped)


def read_state_dict(path: Path | str) -> StateDict:
    """The weights in a file, under the names that the network gave them.

    Entries around them (``state_dict``, ``model``), prefixes (``module.``, ``model.``)
    and weights that tell training people apart (``head.``, ``logits.``) are taken off.

    Args:
        path: A ``.safetensors``, or a file of ``torch.save`` under any name. Nothing in
            it is run.

    Raises:
        ModelFileError: If the file is missing, damaged or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}")
    is_plain = path.suffix == ".safetensors"
    content = _read_safetensors(path) if is_plain else _read_torch(path)
    content, dropped = _within_entries(content)
    if not isinstance(content, Mapping):
        raise ModelFileError(
            f"{path} holds a pickled object, not weights, and facever runs no pickle; "
            f"{_SAVE_WEIGHTS}"
        )
    weights = {
        str(name): value for name, value in content.items() if isinstance(value, Tensor)
    }
    dropped += [str(name) for name in content if name not in weights]
    weights, classifiers = _without_wrappers(weights)
    if not weights:
        raise ModelFileError(
            f"{path} holds no weights of a network; it holds "
            f"{', '.join([*dropped, *classifiers]) or 'nothing'}; {_SAVE_WEIGHTS}"
        )
    return StateDict(weights, (*dropped, *classifiers))


def network_of(
    weights: Mapping[str, Tensor], network: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Which network has weights of exactly these names and shapes.

    Args:
        weights: By the names of the network.
        network: Name in ``models.NETWORKS`` to try alone; by default all are tried.

    Returns:
        The name in ``models.NETWORKS``, and the options that the shapes tell.

    Raises:
        ModelFileError: If no network fits, or more than one.
        ParameterError: If there is no network of this name.
    """
    options = {
        name: _told_options(network_class(name), weights)
        for name in (NETWORKS if network is None else [network])
    }
    differences = {name: _differences(name, options[name], weights) for name in options}
    fitting = [name for name in options if not differences[name]]
    if len(fitting) > 1:
        raise ModelFileError(
            f"the weights fit {' and '.join(fitting)}, which compute different things "
            "from them: name the network that they are of"
        )
    if not fitting:
        nearest = min(differences, key=lambda name: len(differences[name]))
        few = differences[nearest][:_NAMED_DIFFERENCES]
        further = len(differences[nearest]) - len(few)
        what = "no network, and least badly" if network is None else "not"
        more = f"; {further} more differ" if further else ""
        raise ModelFileError(
            f"the weights fit {what} {nearest}: {'; '.join(few)}{more}"
        )
    return fitting[0], options[fitting[0]]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if HEADER_KEY in (file.metadata() or {}):
                raise ModelFileError(
                    f"{path} is a model file of facever already: use it as it is"
                )
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is not a whole .safetensors file ({error}); copy it again"
        ) from None


def _read_torch(path: Path) -> Any:
    try:
        return read_torch_file(path)
    except Exception:
        raise ModelFileError(
            f"{path} is damaged, or not a file of torch.save that can be read without "
            f"running pickle, which facever never does; copy it again, or "
            f"{_SAVE_WEIGHTS}"
        ) from None


def _within_entries(content: Any) -> tuple[Any, list[str]]:
    """What is in the innermost entry for weights, and the names beside it."""
    beside: list[str] = []
    while isinstance(content, Mapping):
        entries = [each for each in _ENTRIES if isinstance(content.get(each), Mapping)]
        if not entries:
            break
        beside += [str(name) for name in content if name != entries[0]]
        content = content[entries[0]]
    return content, beside


def _without_wrappers(
    weights: dict[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights by the network's own names, and the names of classifiers."""
    classifiers = [name for name in weights if name.startswith(_CLASSIFIERS)]
    own = {name: weights[name] for name in weights if name not in classifiers}
    for wrapper in _WRAPPERS:
        if own and all(name.startswith(wrapper) for name in own):
            inner = {name.removeprefix(wrapper): own[name] for name in own}
            own, further = _without_wrappers(inner)
            return own, classifiers + further
    return own, classifiers


def _told_options(
    kind: type[EmbeddingNetwork], weights: Mapping[str, Tensor]
) -> dict[str, int]:
    """The options that the shapes tell, if the weights are of this class at all."""
    return {
        option: max(1, weights[name].shape[0] // unit)
        for option, (name, unit) in kind.option_weights.items()
        if name in weights and weights[name].ndim
    }


def _differences(
    name: str, options: dict[str, int], weights: Mapping[str, Tensor]
) -> list[str]:
    with torch.device("meta"):
        own = build_network(name, options).state_dict()
    found = []
    for weight in dict.fromkeys((*own, *weights)):
        given, expected = _shown(weights, weight), _shown(own, weight)
        if given != expected and not weight.endswith(_STEPS):
            found.append(f"{weight} is {given} here and {expected} there")
    return found


def _shown(weights: Mapping[str, Tensor], name: str) -> str:
    if name not in weights:
        return "missing"
    kind = "" if weights[name].is_floating_point() else f" {weights[name].dtype}"
    return f"{list(weights[name].shape)}{kind}"
