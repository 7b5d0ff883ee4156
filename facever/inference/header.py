"""What a model file says of itself, the same in every format."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from facever.choices import ChannelOrder, Mirror
from facever.errors import ModelFileError
from facever.faces.templates import DEFAULT_TEMPLATE, Template, template_of

HEADER_KEY = "facever"
"""Where each format keeps the header among its own metadata, as JSON."""

_FORMAT = 1
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


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says of itself.

    Attributes:
        network: A name in ``models.NETWORKS``; of a network that came as ONNX or
            OpenVINO, what it is called.
        network_options: Keyword arguments of the network; of one that came as ONNX or
            OpenVINO, ``output`` names the output to take where there are several.
        embedding_size: Dimensions of the network's embedding.
        mean: Subtracted from the pixels: a number, one for each of red, green and blue,
            or ``image`` for the mean image that the file carries.
        scale: Divides the pixels after that: a number, or one for each colour.
        mirror: How the features of a crop and of its mirror image are merged.
        threshold: Cosine above which two faces count as the same person, or None.
        threshold_far: The false accept rate that the threshold was set for, or None.
        thresholds: False accept rates with their thresholds, where several are known.
        training_data: What the network was trained on.
        licence: The licence of that data.
        origin: Where the network comes from.
        template: What the crops look like, as ``Template.description`` has it.
        crop_height: Pixels.
        crop_width: Pixels.
        channel_order: The order of the colours in the network's input.
        facever_version: That wrote the file.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    network: str
    network_options: dict[str, Any]
    embedding_size: int
    mean: float | list[float] | Literal["image"] = 127.5
    scale: float | list[float] = 128.0
    mirror: Mirror = "sum"
    threshold: float | None = None
    threshold_far: float | None = None
    thresholds: list[tuple[float, float]] = field(default_factory=list)
    training_data: str = "unknown"
    licence: str = "unknown"
    origin: str = "unknown"
    template: Any = field(default_factory=lambda: DEFAULT_TEMPLATE.description)
    crop_height: int = DEFAULT_TEMPLATE.height
    crop_width: int = DEFAULT_TEMPLATE.width
    channel_order: ChannelOrder = "RGB"
    facever_version: str = ""

    def find_template(self) -> Template | None:
        """The template of its crops; None if this version does not know it."""
        template = template_of(self.template)
        size = (self.crop_height, self.crop_width)
        if template is None or size != (template.height, template.width):
            return None
        return template


def crop_fields(template: Template) -> dict[str, Any]:
    """The fields of a header that say which crops a model takes."""
    return {
        "template": template.description,
        "crop_height": template.height,
        "crop_width": template.width,
    }


def header_text(header: ModelHeader) -> str:
    """A header as JSON, for a file's metadata."""
    return json.dumps({"format": _FORMAT, **asdict(header)})


_HEADERS = TypeAdapter(ModelHeader)


def parse_header(path: Path, text: str | None) -> ModelHeader:
    """Read what ``header_text`` made.

    Args:
        path: The file, for messages.
        text: Its metadata under ``HEADER_KEY``; None if it has none.

    Raises:
        ModelFileError: If there is no header, or it is damaged, or made for crops that
            this version of facever does not cut.
    """
    if text is None:
        raise ModelFileError(
            f"{path} holds a network but no facever header, so nothing says how to use "
            f"it; write one: facever model import {path} OUT --preset NAME"
        )
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
            "file that facever wrote"
        ) from None
    if version != _FORMAT:
        raise ModelFileError(
            f"{path} has format {version}, this version of facever reads {_FORMAT}; "
            "update facever"
        )
    if header.find_template() is None:
        raise ModelFileError(
            f"{path} was trained on crops ({header.crop_height}x{header.crop_width}) "
            "of a template that this version of facever does not know; update facever"
        )
    return header


def start_fingerprint(header: ModelHeader) -> "hashlib._Hash":
    """SHA-256 of all in a header that decides embeddings; the weights come after it."""
    facts = {key: getattr(header, key) for key in _DECIDES_EMBEDDINGS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
