"""``facever model``: look after model files."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    ChannelOrder,
    ExportPrecision,
    Mirror,
    TemplateName,
)
from facever.cli.options import BackendOption, Device, MaxPixels, PrecisionOption
from facever.cli.showing import shows_result
from facever.inference.downloads import DOWNLOADS
from facever.inference.presets import PRESETS
from facever.results import Result

model_app = typer.Typer(help="Look after model files.", no_args_is_help=True)

_TRIPLE = "one number, or three with commas for red, green and blue"


@model_app.command("info")
@shows_result
def model_info(
    model: Annotated[
        str, typer.Argument(help="A model file, or the name of a ready model.")
    ],
) -> Result:
    """Show what a model file says of itself: crops, threshold, licence and more."""
    from facever.stages.model.info import model_info as stage

    return stage(model)


@model_app.command("get")
@shows_result
def model_get(
    name: Annotated[
        str, typer.Argument(help=f"One of {', '.join([DEFAULT_MODEL, *DOWNLOADS])}.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="The model file to write: .onnx, or .safetensors for weights."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(help="The file of its makers, where it was brought here already."),
    ] = None,
) -> Result:
    """Fetch a network from its makers, check its hash, and write it with a header.

    Mind its licence, which is shown: most of them are for research only.
    """
    from facever.stages.model.getting import get_model as stage

    return stage(name, out, file=file)


@model_app.command("import")
@shows_result
def model_import(
    file: Annotated[
        Path,
        typer.Argument(
            help="An .onnx file, an OpenVINO .xml with its .bin, or weights of a known "
            "network: a torch checkpoint or .safetensors."
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="The model file to write: of the same suffix, or .safetensors."
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"Whose network it is: {', '.join(PRESETS)}. Options below it change "
            "single things, or say everything by hand."
        ),
    ] = None,
    template: Annotated[
        TemplateName | None, typer.Option(help="The crops it takes, height x width.")
    ] = None,
    channels: Annotated[
        ChannelOrder | None,
        typer.Option(case_sensitive=False, help="The order of a pixel's colours."),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help=f"Subtracted from the pixels: {_TRIPLE}.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help=f"Divides the pixels after that: {_TRIPLE}.")
    ] = None,
    mirror: Annotated[
        Mirror | None,
        typer.Option(help="How a crop and its mirror image become one embedding."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="The output that is the embedding, of a network of several."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="The network that weights are of; by default the one that fits."
        ),
    ] = None,
    training_data: Annotated[
        str | None, typer.Option(help="What it was trained on, for the header.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="The licence of the weights, for the header.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="Where the file comes from, for the header.")
    ] = None,
) -> Result:
    """Write a header into a network of another project, whose weights stay as they are.

    From then on every command takes it as a model file.
    """
    from facever.stages.model.importing import (
        ImportSettings,
        import_model,
        parse_numbers,
    )

    settings = ImportSettings(
        preset=preset,
        template=template,
        channel_order=channels,
        mean=None if mean is None else parse_numbers("mean", mean),
        scale=None if scale is None else parse_numbers("scale", scale),
        mirror=mirror,
        output=output,
        network=network,
        training_data=training_data,
        licence=licence,
        origin=origin,
    )
    return import_model(file, out, settings)


@model_app.command("probe")
@shows_result
def model_probe(
    file: Annotated[
        Path,
        typer.Argument(help="An .onnx file, or an OpenVINO .xml with its .bin."),
    ],
    pairs: Annotated[
        Path,
        typer.Option(
            help="pairsDevTrain.txt of LFW's View 1, which is there to choose on."
        ),
    ],
    photos: Annotated[
        Path | None, typer.Option(help="LFW's photos, which are aligned first.")
    ] = None,
    crops: Annotated[
        list[Path] | None,
        typer.Option(
            help="A crop store of them, which saves that; give it again for another "
            "template."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the network's copy with a header, of probe.json with all "
            "numbers and of the crops; by default nothing is kept."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="The output that is the embedding, of a network of several."),
    ] = None,
    device: Device = "auto",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> Result:
    """Find out how a network of another project wants its crops.

    Templates, orders of the colours, scales of the pixels and mirror rules are tried on
    LFW's development pairs, in a few minutes.
    """
    from facever.stages.model.probe import probe_model as stage

    return stage(
        file,
        pairs,
        photos=photos,
        crops=crops or (),
        out=out,
        output=output,
        device=device,
        max_pixels=max_pixels,
    )


@model_app.command("threshold")
@shows_result
def model_threshold(
    model: Annotated[
        Path, typer.Argument(help="The model file; its header is rewritten in place.")
    ],
    crops: Annotated[
        Path,
        typer.Argument(help="A crop store of people whom it was not trained on."),
    ],
    far: Annotated[
        list[float] | None,
        typer.Option(
            help="False accept rate to allow, 0.001 by default. May be given several "
            "times: the first is the one in use."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="A crop store of yet other people, on whom the threshold is checked."
        ),
    ] = None,
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    device: Device = "auto",
) -> Result:
    """Choose a model file's threshold for a false accept rate."""
    from facever.stages.model.threshold import set_model_threshold as stage

    return stage(
        model,
        crops,
        check=check,
        far=far or 1e-3,
        device=device,
        precision=precision,
        backend=backend,
    )


@shows_result
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A model file of facever's own, an .onnx with a header, or a ready "
            "model's name."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The .onnx to write.")],
    precision: Annotated[
        ExportPrecision,
        typer.Option(
            help="Numbers of the weights; int8: also of what flows between the layers, "
            "from --calibrate."
        ),
    ] = "fp32",
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators.")
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Take normalised float images, not RGB crops as they are stored.",
        ),
    ] = False,
    mirror_inside: Annotated[
        bool,
        typer.Option(
            "--mirror-inside",
            help="Merge a crop's features with its mirror image's in the file itself.",
        ),
    ] = False,
    openvino: Annotated[
        bool, typer.Option("--openvino", help="Write OpenVINO's .xml and .bin, too.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(help="Crop store to compare on; by default faces are drawn."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="For int8: crop store that shows the range of numbers between layers; "
            "of other people than those tested on."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Pairs of the photos in --check: accuracies are compared."),
    ] = None,
) -> Result:
    """Write a model as an ONNX file for other runtimes, and prove that it is equal.

    The file takes uint8 RGB crops and gives features. It is compared with the model at
    once, and not written where it misses the bound.
    """
    from facever.stages.model.exporting import ExportSettings, export_model

    settings = ExportSettings(
        precision, opset, raw, mirror_inside, openvino, check, calibrate, pairs
    )
    return export_model(model, out, settings)
