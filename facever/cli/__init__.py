"""The console command: one subcommand a stage, no logic."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    ClusterMethod,
    FaceRule,
    Mirror,
    OneFace,
    TemplateName,
)
from facever.cli.data import data_app
from facever.cli.evaluate import evaluate_app
from facever.cli.gallery import gallery_app
from facever.cli.model import export, model_app
from facever.cli.options import (
    Array,
    BackendOption,
    DetectorOption,
    Device,
    FramesOption,
    IdentityOption,
    MaxPixels,
    MinQuality,
    Model,
    ModelOption,
    PrecisionOption,
)
from facever.cli.showing import shows_result
from facever.errors import FaceverError, TerminatedError
from facever.results import Result, printable
from facever.version import __version__


class _Stopped(Exception):
    """Ctrl-C; a KeyboardInterrupt would be swallowed by typer, without a word."""


class _Terminated(BaseException):
    """SIGTERM; no clause that catches errors of photos or files may take it for one."""


class _Printable(logging.Formatter):
    """Warnings in a line each: the names in them are what strangers typed."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


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
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(gallery_app, name="gallery")
app.add_typer(model_app, name="model")
app.command("export")(export)


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
@shows_result
def align(
    source: Annotated[
        Path,
        typer.Argument(
            help="A photo, a video, a folder of both, a text list, .csv, .rec, .bin, "
            ".tar, .parquet, or a crop store."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the crop store to write.")],
    face: Annotated[
        FaceRule, typer.Option(help="Which face to take of a photo that has several.")
    ] = DEFAULT_FACE,
    detector: DetectorOption = "mtcnn",
    landmarks: Annotated[
        Path | None,
        typer.Option(
            help="A text file of known landmarks, used in place of a detector: a line "
            "for each photo with its path below SOURCE and x and y of five points; "
            "CelebA's lists and InsightFace's .lst are read, too."
        ),
    ] = None,
    identity: IdentityOption = None,
    template: Annotated[
        TemplateName,
        typer.Option(
            help="The crops that the model takes, height x width. 112x96: facever's "
            "own networks. 112x112: InsightFace, AdaFace, SFace and most others. "
            "160x160: FaceNet. 150x150: dlib."
        ),
    ] = "112x96",
    min_quality: MinQuality = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes; by default one for each CPU."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the detector runs: auto, cpu, cuda, cuda:1 ...")
    ] = "auto",
    backend: BackendOption = "auto",
    frames: FramesOption = "all",
    extra_labels: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file to write, with the labels that records of a .rec have "
            "behind the first, which is the person; by default they are ignored."
        ),
    ] = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    shard: Annotated[
        str | None,
        typer.Option(
            help="The part of the photos that this machine aligns, such as 2/8. Join "
            "the parts, in their order, with facever data merge."
        ),
    ] = None,
) -> Result:
    """Align photos into a crop store; a run that was killed goes on where it was."""
    from facever.faces.quality import parse_min_quality
    from facever.stages.align import Shard
    from facever.stages.align import align as stage

    return stage(
        source,
        out,
        face=face,
        detector=detector,
        landmarks=landmarks,
        identity=identity,
        frames=frames,
        extra_labels=extra_labels,
        workers=workers,
        device=device,
        backend=backend,
        max_pixels=max_pixels,
        template=template,
        min_quality=parse_min_quality(min_quality or ()),
        shard=None if shard is None else Shard.parse(shard),
    )


@app.command()
@shows_result
def detect(
    source: Annotated[
        Path,
        typer.Argument(
            help="A photo, a video, a folder of both, a text list, .csv, .rec, .bin, "
            ".tar or .parquet."
        ),
    ],
    detector: DetectorOption = "mtcnn",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file to write, in place of the list: for any number of photos."
        ),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(
            help="Where to write pictures with the faces framed and numbered: a .png "
            "or .jpg for a single photo, or a new folder."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes; by default one for each CPU."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the detector runs: auto, cpu, cuda, cuda:1 ...")
    ] = "auto",
    backend: BackendOption = "auto",
    frames: FramesOption = "all",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> Result:
    """Find all faces in photos: boxes, five landmarks and scores."""
    from facever.stages.detect import detect as stage

    return stage(
        source,
        detector=detector,
        out=out,
        show=show,
        workers=workers,
        device=device,
        backend=backend,
        frames=frames,
        max_pixels=max_pixels,
    )


@app.command()
@shows_result
def train(
    config: Annotated[
        Path, typer.Argument(help="A YAML file such as configs/train/small.yaml.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Changes of the config: key=value, such as network.width=0.5 "
            "out=runs/mine."
        ),
    ] = None,
    is_dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train a few steps only and print weights, work, memory and time.",
        ),
    ] = False,
) -> Result:
    """Train a network on a crop store; the same command again resumes a killed run.

    On several GPUs or machines: torchrun --nproc-per-node N -m facever train CONFIG
    """
    from facever.config.reading import load_config
    from facever.config.training import TrainConfig

    # First the config: importing torch takes seconds, and a slip is told at once.
    settings = load_config(TrainConfig, config, overrides)
    if is_dry:
        from facever.stages.training.dry_run import dry_run

        return dry_run(settings)
    from facever.stages.training.train import train as stage
    from facever.training.distributed import is_first_process

    result = stage(settings)
    if not is_first_process():
        raise typer.Exit
    return result


@app.command()
@shows_result
def embed(
    model: Model,
    crops: Annotated[Path, typer.Argument(help="A crop store, from facever align.")],
    out: Annotated[Path, typer.Argument(help="The .npz file to write.")],
    mirror: Annotated[
        Mirror | None,
        typer.Option(help="A mirror rule in place of the model file's own."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Number of crops at a time.")] = 64,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
    backend: BackendOption = "auto",
) -> Result:
    """Embed the crops of a store: each feature merged with that of its mirror image."""
    from facever.stages.embed import embed as stage

    return stage(
        model,
        crops,
        out,
        mirror=mirror,
        batch_size=batch_size,
        precision=precision,
        device=device,
        backend=backend,
    )


@app.command()
@shows_result
def verify(
    first: Annotated[Path, typer.Argument(help="A photo.")],
    second: Annotated[Path, typer.Argument(help="The other.")],
    model: ModelOption = DEFAULT_MODEL,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine above which it is the same person, in place of the model's."
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            help="In place of --threshold, a false accept rate of which the model "
            "knows the threshold, such as 0.001."
        ),
    ] = None,
    face: Annotated[
        OneFace,
        typer.Option(help="Which face to compare of a photo that has several."),
    ] = DEFAULT_FACE,
    detector: DetectorOption = "mtcnn",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    backend: BackendOption = "auto",
    show: Annotated[
        Path | None,
        typer.Option(
            help="A .png or .jpg to write, of both photos with the compared faces "
            "framed."
        ),
    ] = None,
) -> Result:
    """Say whether two photos show the same person."""
    from facever.progress import shown_on_terminal

    # To import torch alone takes seconds.
    with shown_on_terminal(f"loading {model}"):
        from facever.stages.verify import verify as stage

        return stage(
            first,
            second,
            model=model,
            threshold=threshold,
            far=far,
            face=face,
            detector=detector,
            max_pixels=max_pixels,
            backend=backend,
            show=show,
        )


@app.command()
@shows_result
def cluster(
    photos: Annotated[
        Path,
        typer.Argument(
            help="Any source of photos that facever align takes, a crop store, or an "
            ".npz of embeddings."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of what is written.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model file, or a ready model's name; by default sface, which comes "
            "with the extra ready. An .npz needs none."
        ),
    ] = None,
    method: Annotated[
        ClusterMethod,
        typer.Option(help="How faces are sorted: by average linkage or by density."),
    ] = "agglomerative",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine above which two faces count as one person, in place of the "
            "model's."
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            help="In place of --threshold, a false accept rate of which the model "
            "knows the threshold, such as 0.0001."
        ),
    ] = None,
    min_size: Annotated[
        int,
        typer.Option(help="Faces that make a cluster; those of fewer are alone."),
    ] = 2,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy",
            help="Copy each photo into a folder for each person on it, below "
            "OUT/people.",
        ),
    ] = False,
    detector: DetectorOption = "mtcnn",
    frames: FramesOption = "all",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    array: Array = None,
    device: Device = "auto",
    backend: BackendOption = "auto",
) -> Result:
    """Sort photos without names by person: a table, a contact sheet, folders.

    A run that was killed goes on where it was.
    """
    from facever.stages.cluster import cluster as stage

    return stage(
        photos,
        out,
        model=model,
        method=method,
        threshold=threshold,
        far=far,
        min_size=min_size,
        copy=copy,
        detector=detector,
        frames=frames,
        max_pixels=max_pixels,
        device=device,
        backend=backend,
        array=array,
    )


def main() -> None:
    """Run a subcommand; a user's mistake is one line on stderr and exit code 2.

    A signal's exit code is 128 and its number, as shells have it.
    """
    signal.signal(signal.SIGTERM, _terminate)
    shown = logging.StreamHandler()
    shown.setFormatter(_Printable())
    logging.basicConfig(handlers=[shown])
    try:
        app()
    except TerminatedError as error:
        # Of several processes, one speaks for all.
        _leave(143, str(error) if os.environ.get("RANK", "0") == "0" else "")
    except FaceverError as error:
        _leave(2, str(error))
    except _Terminated:
        _leave_now(143, "ended by SIGTERM")
    except _Stopped:
        _leave_now(130, "stopped")


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _leave_now(code: int, word: str) -> NoReturn:
    """End at once: every block has been left, and Python takes seconds to forget."""
    line = f"facever: {word}; the same command goes on or begins again"
    print(line, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def _leave(code: int, line: str) -> NoReturn:
    if line:
        line = printable(" ".join(line.splitlines()))
        print(f"facever: {line}", file=sys.stderr)
    sys.exit(code)
