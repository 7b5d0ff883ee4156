"""Model files of facever's own networks: weights in ``.safetensors``."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from facever.errors import FaceverError, MismatchError, ModelFileError
from facever.files import whole_file
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.header import (
    HEADER_KEY,
    ModelHeader,
    header_text,
    parse_header,
    start_fingerprint,
)
from facever.inference.model import LoadedModel
from facever.inference.preprocessing import make_preprocessing
from facever.inference.sound_weights import check_tensor
from facever.models import build_network
from facever.models.base import EmbeddingNetwork

_MEAN_IMAGE = "mean_image"
_NETWORK = "network."

Shapes = dict[str, tuple[int, ...]]


def save_model(
    path: Path,
    network: nn.Module,
    header: ModelHeader,
    mean_image: Float[Tensor, "height width 3"] | None = None,
) -> None:
    """Write a model file under a temporary name and rename it into place.

    Args:
        path: The final name, ending in ``.safetensors``.
        network: Whose weights to write.
        header: What the file says of itself.
        mean_image: Given exactly when ``header.mean`` is ``image``.

    Raises:
        FileError: If the file cannot be written there.
    """
    assert (header.mean == "image") == (mean_image is not None)
    tensors = {
        _NETWORK + name: value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    if mean_image is not None:
        tensors[_MEAN_IMAGE] = mean_image.cpu().contiguous()
    _write(path, tensors, header)


def write_header(path: Path, header: ModelHeader) -> None:
    """Write a model file anew with another header; its tensors stay as they are.

    Raises:
        ModelFileError: If the file cannot be read.
        FileError: If it cannot be written; it is as it was then.
    """
    _, tensors = _read(path)
    _write(path, tensors, header)


def _write(path: Path, tensors: dict[str, Tensor], header: ModelHeader) -> None:
    text = header_text(header, _digest(tensors).hexdigest())
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, {HEADER_KEY: text}))


def load(path: Path) -> LoadedModel:
    """Read a file of ``save_model``; nothing in it is executed.

    Raises:
        ModelFileError: If the file is damaged, foreign, or made for crops that this
            version of facever does not cut.
    """
    text, shapes = _read_shapes(path)
    stored = parse_header(path, text)
    header = stored.header
    try:
        network = _empty_network(header, shapes)
        _check_sizes(header, network, shapes)
        _, tensors = _read(path)
        stored.check(_digest(tensors).hexdigest())
        _fill(network, tensors)
        mean = tensors[_MEAN_IMAGE].clone() if header.mean == "image" else header.mean
        preprocessing = make_preprocessing(mean, header.scale, header.channel_order)
    except ModelFileError:
        raise
    except (FaceverError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"{path}: the weights do not fit what the header says ({reason}); take a "
            "file that facever train wrote"
        ) from None
    return LoadedModel(
        TorchNetwork(network.eval(), preprocessing),
        header,
        _digest(tensors, start_fingerprint(header)).hexdigest(),
    )


def _empty_network(header: ModelHeader, shapes: Shapes) -> EmbeddingNetwork:
    """The network of a header, without memory for weights, if a file has its shapes."""
    with torch.device("meta"), _NothingDrawn():
        network = build_network(header.network, header.network_options)
    wanted = {
        _NETWORK + name: tuple(value.shape)
        for name, value in network.state_dict().items()
    }
    for name in wanted.keys() | shapes.keys() - {_MEAN_IMAGE}:
        if wanted.get(name) != shapes.get(name):
            raise MismatchError(
                f"{name} has the shape {shapes.get(name, 'of nothing')} there, "
                f"{wanted.get(name, 'of nothing')} in the network"
            )
    return network


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors without memory as they are: to draw such imports a compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def _fill(network: EmbeddingNetwork, tensors: dict[str, Tensor]) -> None:
    """Give an empty network its weights, in its own types."""
    state = {}
    for name, empty in network.state_dict().items():
        value = tensors[_NETWORK + name]
        if value.is_floating_point() != empty.is_floating_point():
            raise MismatchError(f"{name} is of type {value.dtype}, not {empty.dtype}")
        # The file is mapped: who writes over it must not change a network in use.
        state[name] = value.to(empty.dtype, copy=True)
        if empty.is_floating_point():
            check_tensor(name, state[name])
    network.load_state_dict(state, assign=True)


def _read_shapes(path: Path) -> tuple[str | None, Shapes]:
    """The header's text and the shapes of all tensors of a file."""
    with _reading(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        return _text(file), shapes


def _read(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """The header's text and all tensors of a file."""
    with _reading(path) as file:
        return _text(file), {name: file.get_tensor(name) for name in file.keys()}


def _text(file: Any) -> str | None:
    text: str | None = (file.metadata() or {}).get(HEADER_KEY)
    return text


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is not a whole .safetensors file ({error}); copy it again, or "
            "take a file that facever train wrote"
        ) from None


def _digest(
    tensors: dict[str, Tensor], begun: "hashlib._Hash | None" = None
) -> "hashlib._Hash":
    """SHA-256 of the names, types, shapes and bytes of tensors, after what is begun."""
    digest = begun or hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest


def _check_sizes(
    header: ModelHeader, network: EmbeddingNetwork, shapes: Shapes
) -> None:
    if network.embedding_size != header.embedding_size:
        raise MismatchError(
            f"embedding_size is {header.embedding_size} there, "
            f"{network.embedding_size} in the network"
        )
    template = header.find_template()
    if template is None or network.template != template.name:
        raise MismatchError(
            f"the crops are {header.crop_height}x{header.crop_width} there, the "
            f"network takes {network.template}"
        )
    if header.mean == "image":
        shape = shapes.get(_MEAN_IMAGE)
        if shape != (header.crop_height, header.crop_width, 3):
            raise MismatchError(f"mean is an image, got one of shape {shape}")
