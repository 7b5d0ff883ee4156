"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import Precision

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="auto: bf16 where the device has units for it")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table")]

Model = Annotated[Path, typer.Argument(help="model.safetensors")]
