"""``facever model``: look after model files."""

from pathlib import Path
from typing import Annotated

import typer

from facever.cli.options import Device, PrecisionOption
from facever.cli.showing import shows_result
from facever.results import Result

model_app = typer.Typer(help="Look after model files.", no_args_is_help=True)


@model_app.command("threshold")
@shows_result
def model_threshold(
    model: Annotated[
        Path, typer.Argument(help="The model file; it is rewritten in place.")
    ],
    crops: Annotated[
        Path,
        typer.Argument(help="A crop store of people whom it was not trained on."),
    ],
    far: Annotated[float, typer.Option(help="False accept rate to allow.")] = 1e-3,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> Result:
    """Choose a model file's threshold for a false accept rate."""
    from facever.stages.model_threshold import set_model_threshold as stage

    return stage(model, crops, far=far, device=device, precision=precision)
