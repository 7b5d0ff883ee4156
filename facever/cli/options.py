"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

FaceRule = Literal["largest", "center", "best", "all"]
Detector = Literal["mtcnn", "crops"]
Mirror = Literal["sum", "concat", "none"]
Precision = Literal["auto", "bf16", "fp32"]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="auto: bf16 where the device has units for it")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table")]

OptionalModel = Annotated[
    Path | None, typer.Argument(help="model.safetensors, unless --embeddings")
]
Photos = Annotated[Path | None, typer.Option(help="Folder of the photos")]
Crops = Annotated[Path | None, typer.Option(help="A crop store of those photos")]
Embeddings = Annotated[
    Path | None, typer.Option(help="An .npz with embeddings and images")
]
ReportFolder = Annotated[Path, typer.Option(help="Folder of the report")]
