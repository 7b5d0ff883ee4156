"""The console command: one subcommand a stage, no logic."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from facever.errors import FaceverError
from facever.version import __version__


class _Stopped(Exception):
    """Ctrl-C; a KeyboardInterrupt would be swallowed by typer, without a word."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Stopped from None


app = typer.Typer(
    cls=_Commands,
    name="facever",
    help="Face verification: photos to crops, embeddings, an LFW number, a gallery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluate_app = typer.Typer(
    help="Run a verification protocol and write its report.", no_args_is_help=True
)
gallery_app = typer.Typer(
    help="Enroll people, and ask who is on a photo.", no_args_is_help=True
)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(gallery_app, name="gallery")

FaceRule = Literal["largest", "center", "best", "all"]
Detector = Literal["mtcnn", "crops"]
Mirror = Literal["sum", "concat", "none"]
Precision = Literal["auto", "bf16", "fp32"]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="auto: bf16 where the device has units for it")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, help="Show it and stop."),
    ] = False,
) -> None:
    pass


@app.command()
def align(
    source: Annotated[
        Path, typer.Argument(help="Identity folders, a flat folder or a list file")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the crop store")],
    face: Annotated[
        FaceRule, typer.Option(help="Which face, where there are several")
    ] = "largest",
    detector: Annotated[
        Detector,
        typer.Option(help="crops: the photos are aligned 112x96 crops already"),
    ] = "mtcnn",
    landmarks: Annotated[
        Path | None, typer.Option(help="Landmark file to use in place of a detector")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one a CPU")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Larger photos go to the ledger")
    ] = None,
) -> None:
    """Photos to a crop store; a run that was killed goes on where it was."""
    from facever.faces.photos import DEFAULT_MAX_PIXELS
    from facever.stages.align import align as stage

    stage(
        source,
        out,
        face=face,
        detector=detector,
        landmarks=landmarks,
        workers=workers,
        max_pixels=DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels,
    )


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, see configs/train/")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, such as network.width=0.5 out=runs/mine"),
    ] = None,
) -> None:
    """A crop store to a model file; the same command again resumes a killed run."""
    from facever.config import TrainConfig, load_config
    from facever.stages.train import train as stage

    stage(load_config(TrainConfig, config, overrides))


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(help="model.safetensors")],
    crops: Annotated[Path, typer.Argument(help="A crop store, from facever align")],
    out: Annotated[Path, typer.Argument(help="The .npz file to write")],
    mirror: Annotated[
        Mirror | None, typer.Option(help="In place of the model file's own rule")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Crops at a time")] = 64,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """Crops to embeddings: the feature of each crop merged with its mirror's."""
    from facever.stages.embed import embed as stage

    stage(
        model,
        crops,
        out,
        mirror=mirror,
        batch_size=batch_size,
        precision=precision,
        device=device,
    )


@evaluate_app.command("lfw")
def evaluate_lfw(
    pairs: Annotated[Path, typer.Option(help="The official pairs.txt")],
    out: Annotated[Path, typer.Option(help="Folder of the report")],
    model: Annotated[
        Path | None, typer.Argument(help="model.safetensors, unless --embeddings")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder with <Name>/<Name>_0001.jpg")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="A crop store of those photos")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="An .npz with embeddings and images")
    ] = None,
    pca: Annotated[
        bool, typer.Option(help="Compare after a PCA fitted on the other folds too")
    ] = True,
    pca_components: Annotated[
        int | None, typer.Option(help="Dimensions that the PCA keeps")
    ] = None,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """LFW View 2: 6,000 pairs in 10 folds, with accuracy, ROC, AUC, EER and TAR."""
    from facever.stages.evaluate import evaluate_lfw as stage

    stage(
        out,
        pairs,
        model=model,
        photos=photos,
        crops=crops,
        embeddings=embeddings,
        pca=pca,
        pca_components=pca_components,
        precision=precision,
        device=device,
    )


@gallery_app.command("add")
def gallery_add(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    photos: Annotated[
        Path, typer.Argument(help="A photo, identity folders or a crop store")
    ],
    model: Annotated[Path, typer.Option(help="model.safetensors")],
    name: Annotated[
        str | None, typer.Option(help="Whose they are; a single photo needs it")
    ] = None,
) -> None:
    """Enroll photos or crops; the gallery is made if it is not there yet."""
    from facever.stages import gallery as stages

    stages.add(gallery, model, photos, name)


@gallery_app.command("search")
def gallery_search(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    photo: Annotated[Path, typer.Argument(help="Its largest face is looked up")],
    model: Annotated[Path, typer.Option(help="model.safetensors")],
    k: Annotated[int, typer.Option("--top", "-k", help="Matches to show")] = 5,
    as_json: AsJson = False,
) -> None:
    """Who in the gallery resembles the face on a photo."""
    from facever.stages import gallery as stages

    stages.search(gallery, model, photo, k, as_json)


@gallery_app.command("list")
def gallery_list(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    as_json: AsJson = False,
) -> None:
    """Everybody in the gallery, and how many photos of each."""
    from facever.stages import gallery as stages

    stages.list_people(gallery, as_json)


@gallery_app.command("info")
def gallery_info(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    as_json: AsJson = False,
) -> None:
    """What the gallery holds, and the model it was made with."""
    from facever.stages import gallery as stages

    stages.info(gallery, as_json)


def main() -> None:
    """Run a subcommand; a user's mistake is one line on stderr and exit code 2."""
    try:
        app()
    except FaceverError as error:
        print(f"facever: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(2)
    except _Stopped:
        print(
            "facever: stopped; the same command goes on or begins anew",
            file=sys.stderr,
        )
        sys.exit(130)
