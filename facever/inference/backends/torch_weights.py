"""Model files of facever's own networks: weights in ``.safetensors``."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facever.errors import FaceverError, MismatchError, ModelFileError
from facever.files import whole_file
from facever.inference.header import (
    HEADER_KEY,
    ModelHeader,
    header_text,
    parse_header,
    start_fingerprint,
)
from facever.inference.model import LoadedModel
from facever.inference.preprocessing import make_preprocessing
from facever.models import build_network
from facever.models.base import EmbeddingNetwork

_MEAN_IMAGE = "mean_image"
_NETWORK = "network."


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
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, {HEADER_KEY: header_text(header)}))


def load(path: Path) -> LoadedModel:
    """Read a file of ``save_model``; nothing in it is executed.

    Raises:
        ModelFileError: If the file is damaged, foreign, or made for crops that this
            version of facever does not cut.
    """
    text, tensors = _read(path)
    header = parse_header(path, text)
    try:
        network = build_network(header.network, header.network_options)
        network.load_state_dict(
            {
                name.removeprefix(_NETWORK): value
                for name, value in tensors.items()
                if name.startswith(_NETWORK)
            }
        )
        _check_sizes(header, network, tensors)
        mean = tensors[_MEAN_IMAGE] if header.mean == "image" else header.mean
        preprocessing = make_preprocessing(mean, header.scale, header.channel_order)
    except (FaceverError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"{path}: the weights do not fit what the header says ({reason}); take a "
            "file that facever train wrote"
        ) from None
    return LoadedModel(
        network.eval(),
        header,
        preprocessing,
        _fingerprint(header, tensors),
    )


def _read(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """The header's text and all tensors of a file."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
            return text, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is not a whole .safetensors file ({error}); copy it again, or "
            "take a file that facever train wrote"
        ) from None


def _fingerprint(header: ModelHeader, tensors: dict[str, Tensor]) -> str:
    digest = start_fingerprint(header)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_sizes(
    header: ModelHeader, network: EmbeddingNetwork, tensors: dict[str, Tensor]
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
        shape = list(tensors[_MEAN_IMAGE].shape) if _MEAN_IMAGE in tensors else None
        if shape != [header.crop_height, header.crop_width, 3]:
            raise MismatchError(f"mean is an image, got one of shape {shape}")
