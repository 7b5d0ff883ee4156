"""``facever evaluate``: run a verification protocol and write its report."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import VideoPooling
from facever.cli.options import (
    Crops,
    Device,
    Embeddings,
    MeasureOption,
    Missing,
    Model,
    OptionalModel,
    Pca,
    PcaComponents,
    Photos,
    PrecisionOption,
    Protocol,
    ReportFolder,
    SubtractMean,
    Whiten,
)

evaluate_app = typer.Typer(
    help="Run a verification protocol and write its report.", no_args_is_help=True
)


@evaluate_app.command("lfw")
def lfw(
    pairs: Annotated[
        list[Path],
        typer.Option(
            help="The official pairs.txt; for View 1 twice: pairsDevTrain.txt, then "
            "pairsDevTest.txt"
        ),
    ],
    out: ReportFolder,
    model: OptionalModel = None,
    photos: Photos = None,
    crops: Crops = None,
    embeddings: Embeddings = None,
    pca: Pca = True,
    pca_components: PcaComponents = None,
    whiten: Whiten = False,
    subtract_mean: SubtractMean = False,
    measure: MeasureOption = "cosine",
    missing: Missing = "reject",
    protocol: Protocol = "exact",
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """LFW: 6,000 pairs in 10 folds, with accuracy, ROC, AUC, EER and TAR.

    For View 1, on which models are chosen, give --pairs twice: --pairs
    pairsDevTrain.txt --pairs pairsDevTest.txt. The threshold and the PCA come from the
    first file, the number from the second; it goes to view_1.json.
    """
    from facever.stages.evaluation.evaluate import evaluate_lfw
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging
    from facever.stages.evaluation.view_1 import evaluate_lfw_view_1

    inputs = Inputs(model, photos, crops, embeddings, device, precision)
    judging = Judging(
        pca, pca_components, whiten, subtract_mean, measure, missing, protocol
    )
    if len(pairs) == 1:
        evaluate_lfw(out, pairs[0], inputs, judging)
    else:
        evaluate_lfw_view_1(out, pairs, inputs, judging)


@evaluate_app.command("pairs")
def pairs_(
    pairs: Annotated[Path, typer.Option(help="CSV: left, right, same and maybe fold")],
    out: ReportFolder,
    model: OptionalModel = None,
    photos: Photos = None,
    crops: Crops = None,
    embeddings: Embeddings = None,
    pca: Pca = True,
    pca_components: PcaComponents = None,
    whiten: Whiten = False,
    subtract_mean: SubtractMean = False,
    measure: MeasureOption = "cosine",
    missing: Missing = "reject",
    protocol: Protocol = "exact",
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """Your own list of pairs."""
    from facever.stages.evaluation.evaluate import evaluate_list as stage
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging

    inputs = Inputs(model, photos, crops, embeddings, device, precision)
    judging = Judging(
        pca, pca_components, whiten, subtract_mean, measure, missing, protocol
    )
    stage(out, pairs, inputs, judging)


@evaluate_app.command("bin")
def bin_(
    model: Model,
    pairs: Annotated[Path, typer.Argument(help="Such as agedb_30.bin")],
    out: ReportFolder,
    pca: Pca = True,
    pca_components: PcaComponents = None,
    whiten: Whiten = False,
    subtract_mean: SubtractMean = False,
    measure: MeasureOption = "cosine",
    missing: Missing = "reject",
    protocol: Protocol = "exact",
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """A pair set in InsightFace's .bin form (AgeDB-30, CFP-FP, CALFW, CPLFW)."""
    from facever.stages.evaluation.evaluate import evaluate_bin as stage
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging

    inputs = Inputs(model, device=device, precision=precision)
    judging = Judging(
        pca, pca_components, whiten, subtract_mean, measure, missing, protocol
    )
    stage(out, pairs, inputs, judging)


@evaluate_app.command("ytf")
def ytf(
    model: Model,
    photos: Annotated[Path, typer.Option(help="<Name>/<video>/<frame>.jpg")],
    splits: Annotated[Path, typer.Option(help="The official splits.txt")],
    out: ReportFolder,
    frames: Annotated[
        str, typer.Option(help="all, first:N, every:N or random:N of each video")
    ] = "all",
    pool: Annotated[
        VideoPooling,
        typer.Option(
            help="The mean of the embeddings, or of all frame pairs' cosines (without "
            "a PCA, under the exact protocol)"
        ),
    ] = "embeddings",
    seed: Annotated[int, typer.Option(help="Of random frames")] = 0,
    pca: Pca = True,
    pca_components: PcaComponents = None,
    whiten: Whiten = False,
    subtract_mean: SubtractMean = False,
    measure: MeasureOption = "cosine",
    missing: Missing = "reject",
    protocol: Protocol = "exact",
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """YouTube Faces: 5,000 pairs of videos in 10 folds."""
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging
    from facever.stages.evaluation.videos import evaluate_ytf as stage

    inputs = Inputs(model, photos, device=device, precision=precision)
    judging = Judging(
        pca, pca_components, whiten, subtract_mean, measure, missing, protocol
    )
    stage(out, splits, inputs, judging, frames=frames, pool=pool, seed=seed)


@evaluate_app.command("blufr")
def blufr(
    out: ReportFolder,
    model: OptionalModel = None,
    photos: Photos = None,
    crops: Crops = None,
    embeddings: Embeddings = None,
    trials: Annotated[
        Path | None, typer.Option(help="The official blufr_lfw_config.mat")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of trials drawn without it")] = 0,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """BLUFR: all pairs of LFW's photos, at a FAR of 0.1 %, in ten trials."""
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.identify import blufr as stage

    inputs = Inputs(model, photos, crops, embeddings, device, precision)
    stage(out, inputs, trials, seed)


@evaluate_app.command("identify")
def identify(
    gallery: Annotated[Path, typer.Option(help="CSV image,identity of the enrolled")],
    probes: Annotated[Path, typer.Option(help="CSV image,identity of the searched")],
    out: ReportFolder,
    model: OptionalModel = None,
    photos: Photos = None,
    crops: Crops = None,
    embeddings: Embeddings = None,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
) -> None:
    """Search a gallery: CMC, and TPIR at FPIR over people who are not in it."""
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.identify import identify as stage

    inputs = Inputs(model, photos, crops, embeddings, device, precision)
    stage(out, gallery, probes, inputs)


@evaluate_app.command("compare")
def compare(
    reports: Annotated[list[Path], typer.Argument(help="Folders of reports")],
    out: ReportFolder,
) -> None:
    """Reports of the same pairs side by side, with tests of the difference."""
    from facever.stages.evaluation.compare import compare_reports as stage

    stage(out, reports)
