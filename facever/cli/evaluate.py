"""``facever evaluate``: run a verification protocol and write its report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from facever.choices import DEFAULT_MAX_PIXELS, Measure, MissingRule, Rule, VideoPooling
from facever.cli.gathering import gathers
from facever.cli.options import (
    Array,
    BackendOption,
    Device,
    MaxPixels,
    Model,
    PrecisionOption,
)
from facever.cli.showing import shows_result
from facever.results import Result
from facever.stages.evaluation.pair_protocols import (
    PAIR_PROTOCOLS,
    PairProtocol,
    PairReading,
)

if TYPE_CHECKING:
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging

evaluate_app = typer.Typer(
    help="Run a verification protocol and write its report.", no_args_is_help=True
)

_Out = Annotated[Path, typer.Option(help="Folder of the report.")]
_MinQuality = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Refuse photos of lower quality, such as sharpness=20, and count them as "
        "failures to acquire: embedding-length, landmark-fit, detector-score, "
        "eye-distance, sharpness, or a CSV file of photos and one number each. May be "
        "given several times.",
    ),
]


def _one_of(choices: Any) -> str:
    """The choices in words."""
    *others, last = get_args(choices)
    return f"{', '.join(others)} or {last}"


def _make_inputs(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model file, or the name of a ready model such as sface; leave it "
            "out with --embeddings."
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of the photos, for a model.")
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            help="A crop store of those photos, for a model; with --embeddings it "
            "gives the report its pictures."
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="An .npz file with the arrays embeddings and images."),
    ] = None,
    array: Array = None,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
    backend: BackendOption = "auto",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    min_quality: _MinQuality = None,
) -> "Inputs":
    from facever.faces.quality import parse_min_quality
    from facever.stages.evaluation.features import Inputs

    return Inputs(
        model,
        photos,
        crops,
        embeddings,
        device,
        precision,
        max_pixels,
        array,
        backend,
        parse_min_quality(min_quality or ()),
    )


def _make_model_inputs(
    model: Model,
    precision: PrecisionOption = "auto",
    device: Device = "auto",
    backend: BackendOption = "auto",
    min_quality: _MinQuality = None,
) -> "Inputs":
    return _make_inputs(
        model,
        precision=precision,
        device=device,
        backend=backend,
        min_quality=min_quality,
    )


def _make_frame_inputs(
    model: Model,
    photos: Annotated[
        Path, typer.Option(help="Folder of the frames, Name/video/frame.jpg below it.")
    ],
    precision: PrecisionOption = "auto",
    device: Device = "auto",
    backend: BackendOption = "auto",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> "Inputs":
    return _make_inputs(
        model,
        photos,
        precision=precision,
        device=device,
        backend=backend,
        max_pixels=max_pixels,
    )


def _make_judging(
    pca: Annotated[
        bool,
        typer.Option(help="Also compare after a PCA that is fitted on other folds."),
    ] = True,
    pca_components: Annotated[
        int | None,
        typer.Option(
            help="Number of dimensions that the PCA keeps; half of them by default."
        ),
    ] = None,
    whiten: Annotated[
        bool,
        typer.Option("--whiten", help="Scale the PCA's components to variance 1."),
    ] = False,
    subtract_mean: Annotated[
        bool,
        typer.Option(
            "--subtract-mean",
            help="Subtract the other folds' mean in the comparison without a PCA.",
        ),
    ] = False,
    measure: Annotated[
        Measure,
        typer.Option(
            metavar="MEASURE",
            help=f"How two embeddings are compared: {_one_of(Measure)}.",
        ),
    ] = "cosine",
    missing: Annotated[
        MissingRule,
        typer.Option(
            metavar="WHAT",
            help="What becomes of a pair with a missing photo: "
            f"{_one_of(MissingRule)}.",
        ),
    ] = "reject",
    rule: Annotated[
        Rule,
        typer.Option(
            metavar="RULE",
            help="Also judge as another project does, or by all rules: "
            f"{_one_of(Rule)}. The first is our own.",
        ),
    ] = "exact",
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Compare the error rates of groups: a CSV file whose first column "
            "names photos or people and whose others are attributes, such as sex or "
            "camera.",
        ),
    ] = None,
    groups_far: Annotated[
        float | None,
        typer.Option(
            help="False accept rate over all impostor pairs that gives the threshold "
            "for groups; 0.001 by default.",
        ),
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Show what refusing photos of low quality does to the errors: "
            "embedding-length, landmark-fit, detector-score, eye-distance, sharpness, "
            "or a CSV file of photos and numbers. May be given several times.",
        ),
    ] = None,
) -> "Judging":
    from facever.stages.evaluation.judging import Judging

    return Judging(
        pca=pca,
        pca_components=pca_components,
        whiten=whiten,
        subtract_mean=subtract_mean,
        measure=measure,
        missing=missing,
        rule=rule,
        groups=groups,
        groups_far=groups_far,
        quality=tuple(quality or ()),
    )


def _make_reading(
    columns: Annotated[
        str,
        typer.Option(
            metavar="LEFT,RIGHT,SAME[,FOLD]",
            help="The list's columns, by name or by number from 1; by default they "
            "are known by their names or their content.",
        ),
    ] = "",
    unique: Annotated[
        bool,
        typer.Option(
            "--unique",
            help="Drop pairs that are listed again, in either order, and pairs of a "
            "photo with itself.",
        ),
    ] = False,
) -> PairReading:
    return PairReading(columns, unique)


_with_reading = gathers("reading", _make_reading)
_with_inputs = gathers("inputs", _make_inputs)
_with_judging = gathers("judging", _make_judging)


@evaluate_app.command("lfw", help=PAIR_PROTOCOLS["lfw"].help)
@shows_result
@_with_reading
@_with_judging
@_with_inputs
def _lfw(
    pairs: Annotated[list[Path], typer.Option(help=PAIR_PROTOCOLS["lfw"].pairs_help)],
    out: _Out,
    inputs: "Inputs",
    judging: "Judging",
    reading: PairReading,
) -> Result:
    from facever.stages.evaluation.evaluate import evaluate_lfw
    from facever.stages.evaluation.view_1 import evaluate_lfw_view_1

    if len(pairs) == 1:
        return evaluate_lfw(out, pairs[0], inputs, judging, reading)
    return evaluate_lfw_view_1(out, pairs, inputs, judging, reading)


def _add_command(name: str, protocol: PairProtocol) -> None:
    """Add the command of a protocol that needs no option of its own."""

    @evaluate_app.command(name, help=protocol.help)
    @shows_result
    @_with_reading
    @_with_judging
    @_with_inputs
    def _pairs(
        pairs: Annotated[Path, typer.Option(help=protocol.pairs_help)],
        out: _Out,
        inputs: "Inputs",
        judging: "Judging",
        reading: PairReading,
    ) -> Result:
        from facever.stages.evaluation.evaluate import evaluate_protocol

        return evaluate_protocol(protocol, out, pairs, inputs, judging, reading)


for _name, _protocol in PAIR_PROTOCOLS.items():
    if _name != "lfw":
        _add_command(_name, _protocol)


@evaluate_app.command("bin")
@shows_result
@_with_judging
@gathers("inputs", _make_model_inputs)
def _bin(
    inputs: "Inputs",
    pairs: Annotated[
        Path, typer.Argument(help="A pair set with its photos, such as agedb_30.bin.")
    ],
    out: _Out,
    judging: "Judging",
) -> Result:
    """Evaluate a pair set in InsightFace's .bin form (AgeDB-30, CFP-FP, CALFW)."""
    from facever.stages.evaluation.evaluate import evaluate_bin

    return evaluate_bin(out, pairs, inputs, judging)


@evaluate_app.command("ytf")
@shows_result
@_with_judging
@gathers("inputs", _make_frame_inputs)
def _ytf(
    inputs: "Inputs",
    splits: Annotated[Path, typer.Option(help="The official splits.txt.")],
    out: _Out,
    judging: "Judging",
    frames: Annotated[
        str,
        typer.Option(
            help="Which frames stand for a video: all, first:N, every:N or random:N."
        ),
    ] = "all",
    pool: Annotated[
        VideoPooling,
        typer.Option(
            metavar="HOW",
            help=f"{_one_of(VideoPooling)}: compare the frames' mean "
            "embeddings, or take the mean cosine of all pairs of frames, which "
            "excludes a PCA and other rules.",
        ),
    ] = "embeddings",
    seed: Annotated[int, typer.Option(help="Seed of the draw of random frames.")] = 0,
) -> Result:
    """Evaluate YouTube Faces: 5,000 pairs of videos in 10 folds."""
    from facever.stages.evaluation.videos import evaluate_ytf

    return evaluate_ytf(
        out, splits, inputs, judging, frames=frames, pool=pool, seed=seed
    )


@evaluate_app.command("blufr")
@shows_result
@_with_inputs
def _blufr(
    out: _Out,
    inputs: "Inputs",
    trials: Annotated[
        Path | None,
        typer.Option(
            help="The official blufr_lfw_config.mat; without it trials are drawn."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw of trials.")] = 0,
) -> Result:
    """Evaluate BLUFR: all pairs of LFW's photos, at a FAR of 0.1 %, in ten trials."""
    from facever.stages.evaluation.identify import blufr

    return blufr(out, inputs, trials, seed=seed)


@evaluate_app.command("identify")
@shows_result
@_with_inputs
def _identify(
    gallery: Annotated[
        Path, typer.Option(help="CSV file image,identity of the enrolled photos.")
    ],
    probes: Annotated[
        Path, typer.Option(help="CSV file image,identity of the photos to search for.")
    ],
    out: _Out,
    inputs: "Inputs",
) -> Result:
    """Search a gallery: CMC, and TPIR at FPIR over people who are not in it."""
    from facever.stages.evaluation.identify import identify

    return identify(out, gallery, probes, inputs)


@evaluate_app.command("templates")
@shows_result
@_with_inputs
def _templates(
    templates: Annotated[
        Path,
        typer.Option(
            help="The list of templates: a photo, its template and its medium a line, "
            "such as ijbc_face_tid_mid.txt."
        ),
    ],
    out: _Out,
    inputs: "Inputs",
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="The pairs to compare: two templates and 1 or 0 a line, such as "
            "ijbc_template_pair_label.txt."
        ),
    ] = None,
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV file TEMPLATE_ID,SUBJECT_ID of the enrolled templates, such as "
            "ijbc_1N_gallery_G1.csv; give --gallery twice for two galleries."
        ),
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            help="CSV file TEMPLATE_ID,SUBJECT_ID of the templates to search for, such "
            "as ijbc_1N_probe_mixed.csv."
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="The detector's score of each photo, its weight in a template, at the "
            "end of each line, such as ijbc_name_5pts_score.txt; without it all weigh "
            "alike."
        ),
    ] = None,
) -> Result:
    """Evaluate templates of many photos, as IJB-B and IJB-C: pairs, galleries, both."""
    from facever.stages.evaluation.templates import evaluate_templates

    return evaluate_templates(
        out,
        templates,
        inputs,
        pairs=pairs,
        galleries=gallery or (),
        probes=probes,
        scores=scores,
    )


@evaluate_app.command("compare")
@shows_result
def _compare(
    reports: Annotated[list[Path], typer.Argument(help="Folders of reports.")],
    out: _Out,
) -> Result:
    """Put reports of the same pairs side by side, with tests of the differences."""
    from facever.stages.evaluation.compare import compare_reports

    return compare_reports(out, reports)


@evaluate_app.command("suite")
@shows_result
def _suite(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file such as configs/suites/example.yaml."),
    ],
    out: _Out,
) -> Result:
    """Evaluate several models on several sets: one table, with tests and intervals."""
    from facever.config.reading import load_config
    from facever.config.suite import SuiteConfig

    # First the config: importing what computes takes seconds, and a slip is told at
    # once.
    settings = load_config(SuiteConfig, config)
    from facever.stages.evaluation.suite import evaluate_suite

    return evaluate_suite(settings, out, lambda line: typer.echo(line, err=True))
