"""``facever model import``: a network of another project gets a header."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facever.choices import ChannelOrder, Mirror, TemplateName
from facever.errors import ModelFileError, ParameterError
from facever.faces.templates import find_template
from facever.files import check_new_file
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader, check_header, crop_fields
from facever.inference.model_file import (
    FOREIGN_SUFFIXES,
    copy_foreign,
    load_model,
    open_foreign,
)
from facever.inference.parity import prove
from facever.inference.presets import PRESETS, Preset
from facever.inference.state_dicts import import_state_dict
from facever.progress import waiting
from facever.results import Result
from facever.stages.model.info import ModelInfo, describe_model
from facever.version import __version__

_MOST_NAMES = 4

Numbers = float | Sequence[float]


@dataclass(frozen=True)
class ImportSettings:
    """What an import is told of a network; None leaves it to the preset.

    Attributes:
        preset: A row of ``PRESETS``.
        template: The crops, a row of ``TEMPLATES``.
        channel_order: The order of the colours in the network's input.
        mean: Subtracted from the pixels: a number, or one for each of red, green and
            blue.
        scale: Divides the pixels after that.
        mirror: How a crop and its mirror image are merged.
        output: Name of the output that is the embedding, where there are several.
        network: For a file of weights, its network in ``NETWORKS``; by default the one
            that fits.
        training_data: What the network was trained on.
        licence: The licence of the weights.
        origin: Where the file comes from.
    """

    preset: str | None = None
    template: TemplateName | None = None
    channel_order: ChannelOrder | None = None
    mean: Numbers | None = None
    scale: Numbers | None = None
    mirror: Mirror | None = None
    output: str | None = None
    network: str | None = None
    training_data: str | None = None
    licence: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class ImportedModel(Result):
    """A network that has got a header.

    Attributes:
        out: The model file that was written.
        info: What it says of itself.
        notes: What was decided on the way, a line each.
    """

    out: Path
    info: ModelInfo
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What was decided, and what the file says of itself."""
        return [*self.notes, *self.info.lines()]


def import_model(
    file: str | Path,
    out: str | Path,
    settings: ImportSettings = ImportSettings(),
    *,
    replaces: bool = False,
) -> ImportedModel:
    """Write a network of another project, with a header, as a model file.

    The weights stay as they are.

    Args:
        file: An ``.onnx``, an OpenVINO ``.xml`` with its ``.bin``, or the weights of a
            network in ``NETWORKS``: a file of ``torch.save`` or a ``.safetensors``.
        out: The model file to write: of the same suffix, or ``.safetensors`` for
            weights.
        settings: A preset, or what it would say, or both, where the latter counts.
        replaces: Whether a file at ``out`` is written over. It may have thresholds that
            somebody has set since.

    Raises:
        ParameterError: If something is not said, or unknown.
        ModelFileError: If the file is damaged, or no network from an image to an
            embedding.
        MismatchError: If the network takes images of another size than the template's.
        FileError: If ``out`` cannot be written, or is there already.
    """
    file, out = Path(file), Path(out)
    if not file.is_file():
        raise ModelFileError(f"there is no file {file} to import")
    is_foreign = file.suffix.lower() in FOREIGN_SUFFIXES
    suffix = file.suffix.lower() if is_foreign else ".safetensors"
    if out.suffix.lower() != suffix:
        raise ParameterError(f"OUT must end in {suffix} for {file.name}, got {out}")
    if not replaces:
        check_new_file(out)
    write = _write_foreign if is_foreign else _write_weights
    notes = write(file, out, settings)
    return ImportedModel(out, describe_model(load_model(out), out), tuple(notes))


def _write_foreign(file: Path, out: Path, settings: ImportSettings) -> list[str]:
    if settings.network is not None:
        raise ParameterError(
            f"network is for files of weights alone; {file.name} holds its network"
        )
    preset = _find_preset(settings.preset)
    complete = _fill_in(settings, preset)
    assert complete.template is not None
    template = find_template(complete.template)
    foreign = open_foreign(file, complete.output)
    foreign.network.image.check_size(template)
    notes = []
    if foreign.normalises and settings.mean is None and settings.scale is None:
        complete = replace(complete, mean=0.0, scale=1.0)
        notes.append(
            "the network shifts and scales pixels itself, so it gets them as they are: "
            "mean 0, scale 1"
        )
    header = _make_header(
        complete,
        file,
        network=file.stem,
        network_options={} if complete.output is None else {"output": complete.output},
        embedding_size=foreign.network.embedding_size(template.height, template.width),
    )
    check_header(header)
    with waiting("comparing backends"):
        parity = prove(foreign.network, header)
    copy_foreign(file, out, replace(header, parity=parity))
    notes += [
        f"{each.backend} in {each.precision} gives a lowest cosine of "
        f"{each.lowest_cosine:.6f}" + ("" if each.holds else ", too low for auto")
        for each in parity
        if each.backend == "openvino"
    ]
    return notes


def _write_weights(file: Path, out: Path, settings: ImportSettings) -> list[str]:
    found = import_state_dict(file, settings.network)
    notes = [f"these are weights of {found.name} {_options(found.options)}".rstrip()]
    if found.dropped:
        notes.append(f"left out, for no embedding needs it: {_some(found.dropped)}")
    name = settings.preset or _preset_of(found.name)
    if name is not None and settings.preset is None:
        notes.append(f"crops are prepared as --preset {name} says")
    complete = _fill_in(
        replace(settings, template=found.network.template), _find_preset(name)
    )
    if settings.template not in (None, found.network.template):
        raise ParameterError(
            f"template must be {found.network.template} for {found.name}, got "
            f"{settings.template}"
        )
    header = _make_header(
        complete,
        file,
        network=found.name,
        network_options=found.options,
        embedding_size=found.network.embedding_size,
    )
    save_model(out, found.network, header)
    return notes


def _make_header(complete: ImportSettings, file: Path, **network: Any) -> ModelHeader:
    assert complete.template is not None
    return ModelHeader(
        mean=_plain(complete.mean),
        scale=_plain(complete.scale),
        mirror=complete.mirror or "sum",
        training_data=complete.training_data or "unknown",
        licence=complete.licence or "unknown",
        origin=complete.origin or file.name,
        channel_order=complete.channel_order or "RGB",
        facever_version=__version__,
        **network,
        **crop_fields(find_template(complete.template)),
    )


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _preset_of(network: str) -> str | None:
    """The preset of a network's published weights."""
    return next(
        (name for name, row in PRESETS.items() if network in row.networks), None
    )


def _find_preset(name: str | None) -> Preset | None:
    if name is not None and name not in PRESETS:
        raise ParameterError(
            f"preset must be one of {', '.join(PRESETS)}, got {name!r}"
        )
    return None if name is None else PRESETS[name]


def _fill_in(settings: ImportSettings, preset: Preset | None) -> ImportSettings:
    """What is not said by hand is the preset's; all that decides must be said."""
    said = {key: value for key, value in vars(settings).items() if value is not None}
    from_preset = {} if preset is None else vars(preset)
    known = {
        key: from_preset[key]
        for key in vars(settings)
        if key in from_preset and key not in said
    }
    complete = replace(settings, **known)
    options = {
        "--template": complete.template,
        "--channels": complete.channel_order,
        "--mean": complete.mean,
        "--scale": complete.scale,
    }
    missing = [option for option, value in options.items() if value is None]
    if missing:
        raise ParameterError(
            f"say how the network wants its crops: {', '.join(missing)}, or a "
            f"--preset ({', '.join(PRESETS)}); facever model probe finds out by trying"
        )
    return complete


def parse_numbers(option: str, text: str) -> Numbers:
    """One number, or three with commas, as the command line has them.

    Raises:
        ParameterError: If it is neither.

    >>> parse_numbers("mean", "127.5"), parse_numbers("mean", "122.8,117,104.3")
    (127.5, (122.8, 117.0, 104.3))
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise ParameterError(
            f"{option} must be one number, or three with commas for red, green and "
            f"blue, got {text!r}"
        )
    return numbers[0] if len(numbers) == 1 else numbers


def _plain(numbers: Numbers | None) -> float | list[float]:
    assert numbers is not None
    if isinstance(numbers, Sequence):
        return [float(number) for number in numbers]
    return float(numbers)
