"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import Measure, MissingRule, Precision

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="auto: bf16 where the device has units for it")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table")]

Model = Annotated[Path, typer.Argument(help="model.safetensors")]
OptionalModel = Annotated[
    Path | None, typer.Argument(help="model.safetensors, unless --embeddings")
]
Photos = Annotated[Path | None, typer.Option(help="Folder of the photos")]
Crops = Annotated[Path | None, typer.Option(help="A crop store of those photos")]
Embeddings = Annotated[
    Path | None, typer.Option(help="An .npz with embeddings and images")
]
ReportFolder = Annotated[Path, typer.Option(help="Folder of the report")]

Pca = Annotated[
    bool, typer.Option(help="Compare after a PCA fitted on the other folds too")
]
PcaComponents = Annotated[int | None, typer.Option(help="Dimensions that it keeps")]
Whiten = Annotated[bool, typer.Option(help="Scale its components to variance 1")]
SubtractMean = Annotated[
    bool, typer.Option(help="Subtract the other folds' mean without a PCA")
]
MeasureOption = Annotated[Measure, typer.Option(help="How two embeddings are compared")]
Missing = Annotated[
    MissingRule,
    typer.Option(help="What becomes of pairs with a missing photo"),
]
Protocol = Annotated[
    str,
    typer.Option(
        help="exact, or also judge by the rule of insightface, sphereface, facenet, "
        "facexzoo, openface, in-sample, or all"
    ),
]
