"""What a model file says of itself, the same in every format."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from facever.choices import Backend, ChannelOrder, Mirror
from facever.errors import ModelFileError, ParameterError
from facever.faces.templates import DEFAULT_TEMPLATE, Template, template_of
from facever.results import counted

HEADER_KEY = "facever"
"""Where each format keeps the header among its own metadata, as JSON."""

# 2 has precision, parity, export and source_fingerprint, 3 what a threshold rests on.
_FORMAT = 3
_READ = (1, 2, 3)
_DIGEST = "digest"
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

_log = logging.getLogger(__name__)

Cosine = Annotated[float, Field(ge=-1, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

# Pixels lie in 0..255; networks take them as they are, or in a range near -1..1.
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Scale = Annotated[float, Field(ge=0.01, le=10_000)]

Numbers = Literal["fp32", "fp16", "bf16", "int8"]
"""What a network computes with."""

PARITY_BOUNDS: dict[Numbers, float] = {
    "fp32": 0.99999,
    "fp16": 0.9995,
    "bf16": 0.999,
    "int8": 0.97,
}
"""The lowest cosine to the features in float32 at which numbers count as the same.

That of int8 is what an export must reach to be written.
"""


@dataclass(frozen=True)
class Parity:
    """How like the features of a backend are to the network's in float32.

    Attributes:
        backend: What computed.
        precision: The numbers it computed with.
        batch_size: Crops at a time.
        lowest_cosine: Over all crops.
        mean_cosine: Over all crops.
    """

    backend: Backend
    precision: Numbers
    batch_size: int
    lowest_cosine: Cosine
    mean_cosine: Cosine

    @property
    def holds(self) -> bool:
        """Whether that is enough to use the one for the other."""
        return self.lowest_cosine >= PARITY_BOUNDS[self.precision]


@dataclass(frozen=True)
class MeasuredOn:
    """The errors of the threshold in use over all pairs of some people.

    Attributes:
        crops: The name of the crop store, and which part of it, if not all.
        fingerprint: The fingerprint of what the store held.
        num_photos: Number of photos.
        num_people: Number of people.
        num_impostor: Number of pairs of two people.
        num_genuine: Number of pairs of one person.
        fmr: Share of the pairs of two people that are accepted.
        fmr_low: Lower end of its 95 % interval, which knows people.
        fmr_high: Upper end.
        fnmr: Share of the pairs of one person that are not accepted.
        fnmr_low: Lower end of its interval.
        fnmr_high: Upper end.
    """

    crops: str
    fingerprint: str
    num_photos: int
    num_people: int
    num_impostor: int
    num_genuine: int
    fmr: Share
    fmr_low: Share
    fmr_high: Share
    fnmr: Share
    fnmr_low: Share
    fnmr_high: Share

    def __str__(self) -> str:
        return (
            f"{self.num_people:,} people of {self.crops}, {self.num_impostor:,} pairs "
            f"of strangers: it accepts {self.fmr:.3%} of them (95 % interval "
            f"{self.fmr_low:.3%} to {self.fmr_high:.3%}), and refuses {self.fnmr:.2%} "
            f"({self.fnmr_low:.2%} to {self.fnmr_high:.2%}) of "
            f"{counted(self.num_genuine, 'pair')} of one person"
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
        mean: Subtracted from the pixels: a number in [-1000, 1000], one for each of
            red, green and blue, or ``image`` for the mean image that the file carries.
        scale: Divides the pixels after that: a number in [0.01, 10000], or one for each
            colour.
        mirror: How the features of a crop and of its mirror image are merged.
        threshold: Cosine above which two faces count as the same person, or None.
        threshold_far: The false accept rate that the threshold was set for, or None.
        thresholds: False accept rates with their thresholds, where several are known.
        threshold_set_on: The people whom the threshold in use was set on, and what it
            does to them, where that is known.
        threshold_checked_on: The same of people who had no part in setting it.
        training_data: What the network was trained on.
        licence: The licence of that data.
        origin: Where the network comes from.
        template: What the crops look like, as ``Template.description`` has it.
        crop_height: Pixels.
        crop_width: Pixels.
        channel_order: The order of the colours in the network's input.
        facever_version: That wrote the file.
        precision: The numbers of the weights, or of all between them.
        parity: How like backends are to the network in float32, where it was measured.
        export: How an exported file was made; empty in others.
        source_fingerprint: The fingerprint of the model that it was exported from,
            where it gives the same embeddings; else empty.
    """

    __pydantic_config__: ClassVar = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False
    )

    network: str
    network_options: dict[str, Any]
    embedding_size: int
    mean: Mean | list[Mean] | Literal["image"] = 127.5
    scale: Scale | list[Scale] = 128.0
    mirror: Mirror = "sum"
    threshold: Cosine | None = None
    threshold_far: Rate | None = None
    thresholds: list[tuple[Rate, Cosine]] = field(default_factory=list)
    threshold_set_on: MeasuredOn | None = None
    threshold_checked_on: MeasuredOn | None = None
    training_data: str = "unknown"
    licence: str = "unknown"
    origin: str = "unknown"
    template: Any = field(default_factory=lambda: DEFAULT_TEMPLATE.description)
    crop_height: int = DEFAULT_TEMPLATE.height
    crop_width: int = DEFAULT_TEMPLATE.width
    channel_order: ChannelOrder = "RGB"
    facever_version: str = ""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    parity: list[Parity] = field(default_factory=list)
    export: dict[str, Any] = field(default_factory=dict)
    source_fingerprint: str = ""

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


class StoredHeader(NamedTuple):
    """A header as it stands in a file.

    Attributes:
        path: The file.
        header: What it says of itself.
        content: The same as JSON has it.
        digest: SHA-256 of content and network when the file was written; None in files
            of facever before it kept one.
    """

    path: Path
    header: ModelHeader
    content: dict[str, Any]
    digest: str | None

    def check(self, network_digest: str) -> None:
        """Compare the file with the digest that it carries.

        Args:
            network_digest: SHA-256 of the network and its weights, as it is now.

        Raises:
            ModelFileError: If something has changed since it was written.
        """
        if self.digest is None:
            _log.warning(
                "%s carries no digest, so damage to it cannot be seen; facever model "
                "threshold writes one",
                self.path,
            )
        elif self.digest != _digest(self.content, network_digest):
            raise ModelFileError(
                f"{self.path} is damaged: its weights or its header are not those that "
                "were written, by its digest; copy it again"
            )


def header_text(header: ModelHeader, network_digest: str) -> str:
    """A header as JSON, for a file's metadata.

    Args:
        header: What to say.
        network_digest: SHA-256 of the network and its weights.

    Raises:
        ParameterError: If a number is out of its range.
    """
    check_header(header)
    content = {"format": _FORMAT, **asdict(header)}
    # As JSON has it: a tuple is a list there.
    content = json.loads(json.dumps(content))
    return json.dumps({**content, _DIGEST: _digest(content, network_digest)})


def check_header(header: ModelHeader) -> None:
    """Refuse what no file may say of itself.

    Raises:
        ParameterError: If a number is out of its range.
    """
    try:
        _HEADERS.validate_json(json.dumps(asdict(header)))
    except ValidationError as error:
        raise ParameterError(f"a model's {_first(error)}") from None


_HEADERS = TypeAdapter(ModelHeader)


def parse_header(path: Path, text: str | None) -> StoredHeader:
    """Read what ``header_text`` made.

    Args:
        path: The file, for messages.
        text: Its metadata under ``HEADER_KEY``; None if it has none.

    Returns:
        The header, whose ``check`` is called when the network has been read.

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
        digest = content.pop(_DIGEST, None)
        facts = dict(content)
        version = facts.pop("format")
        if version not in _READ:
            raise ModelFileError(
                f"{path} has format {version}, this version of facever reads "
                f"{_READ[0]} to {_READ[-1]}; update facever"
            )
        header = _HEADERS.validate_json(json.dumps(facts))
        _check_colours(header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else str(error)
        raise ModelFileError(
            f"{path} has a damaged facever header ({reason}); copy it again, or take a "
            "file that facever wrote"
        ) from None
    if header.find_template() is None:
        raise ModelFileError(
            f"{path} was trained on crops ({header.crop_height}x{header.crop_width}) "
            "of a template that this version of facever does not know; update facever"
        )
    return StoredHeader(path, header, content, digest)


def _check_colours(header: ModelHeader) -> None:
    for name in ("mean", "scale"):
        value = getattr(header, name)
        if isinstance(value, list) and len(value) != 3:
            raise ValueError(
                f"{name} must be one number or three, for red, green and blue, got "
                f"{value}"
            )


def _digest(content: dict[str, Any], network_digest: str) -> str:
    text = json.dumps([content, network_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"{first['loc'][0]}: {said}, got {first['input']!r}"


def start_fingerprint(header: ModelHeader) -> "hashlib._Hash":
    """SHA-256 of all in a header that decides embeddings; the weights come after it."""
    facts = {key: getattr(header, key) for key in _DECIDES_EMBEDDINGS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
