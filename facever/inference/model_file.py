"""Model files: one ``.safetensors`` that says all that is needed to use it rightly."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facever.choices import Mirror
from facever.errors import FaceverError, MismatchError, ModelFileError, ParameterError
from facever.faces.geometry import CROP_HEIGHT, CROP_WIDTH, TEMPLATE
from facever.files import whole_file
from facever.inference.preprocessing import Preprocessing
from facever.models import build_network
from facever.models.base import EmbeddingNetwork

_KEY = "facever"
_FORMAT = 1
_MEAN_IMAGE = "mean_image"
_NETWORK = "network."
_DECIDES_EMBEDDINGS = (
    "network",
    "network_options",
    "mean",
    "scale",
    "mirror",
    "template",
    "crop_height",
    "crop_width",
    "channel_order",
)


def _template() -> list[list[float]]:
    return [[float(x), float(y)] for x, y in TEMPLATE]


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says of itself.

    Attributes:
        network: Name in ``models.NETWORKS``.
        network_options: Keyword arguments of the network.
        embedding_size: Dimensions of the network's embedding.
        mean: Subtracted from the pixels: a number, or ``image`` for the mean image that
            the file carries.
        scale: Divides the pixels after that.
        mirror: How the features of a crop and of its mirror image are merged.
        threshold: Cosine above which two faces count as the same person, or None.
        threshold_far: The false accept rate that the threshold was set for, or None.
        training_data: What the network was trained on.
        licence: The licence of that data.
        template: Five points ``(x, y)`` that the landmarks were brought to.
        crop_height: Pixels.
        crop_width: Pixels.
        channel_order: ``RGB``.
        facever_version: That wrote the file.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    network: str
    network_options: dict[str, Any]
    embedding_size: int
    mean: float | Literal["image"] = 127.5
    scale: float = 128.0
    mirror: Mirror = "sum"
    threshold: float | None = None
    threshold_far: float | None = None
    training_data: str = "unknown"
    licence: str = "unknown"
    template: list[list[float]] = field(default_factory=_template)
    crop_height: int = CROP_HEIGHT
    crop_width: int = CROP_WIDTH
    channel_order: str = "RGB"
    facever_version: str = ""


_HEADERS = TypeAdapter(ModelHeader)


@dataclass(frozen=True)
class LoadedModel:
    """A model file in memory.

    Attributes:
        network: In evaluation mode, on the CPU.
        header: What the file says of itself.
        preprocessing: From crops to network input.
        fingerprint: SHA-256 of everything that decides the embeddings, by which
            galleries and reports know the model; a new threshold leaves it as it is.
    """

    network: nn.Module
    header: ModelHeader
    preprocessing: Preprocessing
    fingerprint: str

    @property
    def feature_size(self) -> int:
        """Dimensions of what the embedder gives, after the mirror rule."""
        copies = 2 if self.header.mirror == "concat" else 1
        return copies * self.header.embedding_size

    def with_mirror(self, mirror: Mirror | None) -> "LoadedModel":
        """The same model under another mirror rule; None keeps the file's.

        The threshold was set for the file's rule, so another rule has none. Its
        fingerprint is another too: its embeddings must not meet those of the file's.

        Raises:
            ParameterError: If the rule is unknown.
        """
        if mirror is None or mirror == self.header.mirror:
            return self
        if mirror not in ("sum", "concat", "none"):
            raise ParameterError(f"mirror must be sum, concat or none, got {mirror!r}")
        header = replace(self.header, mirror=mirror, threshold=None, threshold_far=None)
        fingerprint = f"{self.fingerprint}+mirror={mirror}"
        return replace(self, header=header, fingerprint=fingerprint)


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
    text = json.dumps({"format": _FORMAT, **asdict(header)})
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, {_KEY: text}))


def load_model(path: Path | str) -> LoadedModel:
    """Read a model file.

    Args:
        path: A ``.safetensors`` of ``save_model``; no other format is ever opened, and
            nothing in the file is executed.

    Returns:
        The network with its weights, ready to use.

    Raises:
        ModelFileError: If the file is missing, damaged, foreign, or made for another
            crop or template than this version of facever cuts.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"there is no model file {path}; facever train writes model.safetensors "
            "into its out folder"
        )
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is not a whole .safetensors file ({error}); copy it again, or "
            "take a file that facever train wrote"
        ) from None
    if text is None:
        raise ModelFileError(
            f"{path} holds weights but no facever header, so nothing says how to use "
            "them; take a file that facever train wrote"
        )
    header = _read_header(path, text)
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
        preprocessing = Preprocessing(mean, header.scale)
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


def _fingerprint(header: ModelHeader, tensors: dict[str, Tensor]) -> str:
    facts = {key: getattr(header, key) for key in _DECIDES_EMBEDDINGS}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
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
    if header.mean == "image":
        shape = list(tensors[_MEAN_IMAGE].shape) if _MEAN_IMAGE in tensors else None
        if shape != [CROP_HEIGHT, CROP_WIDTH, 3]:
            raise MismatchError(f"mean is an image, got one of shape {shape}")


def _read_header(path: Path, text: str) -> ModelHeader:
    try:
        content = json.loads(text)
        version = content.pop("format")
        header = _HEADERS.validate_json(json.dumps(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            reason = f"{place}: {first['msg']}, got {first['input']!r}"
        raise ModelFileError(
            f"{path} has a damaged facever header ({reason}); copy it again, or take a "
            "file that facever train wrote"
        ) from None
    if version != _FORMAT:
        raise ModelFileError(
            f"{path} has format {version}, this version of facever reads {_FORMAT}; "
            "update facever"
        )
    crop = (header.crop_height, header.crop_width, header.channel_order)
    if crop != (CROP_HEIGHT, CROP_WIDTH, "RGB") or header.template != _template():
        raise ModelFileError(
            f"{path} was trained on other crops ({crop[0]}x{crop[1]} {crop[2]}) than "
            f"the {CROP_HEIGHT}x{CROP_WIDTH} RGB crops of facever's template"
        )
    return header
