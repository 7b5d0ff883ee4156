"""The stage ``facever evaluate``: a model or embeddings in, a report out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facever.errors import ParameterError
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.progress import progress_bar
from facever.stages.evaluation.features import (
    Features,
    Inputs,
    find_features,
    model_settings,
    sha256,
)
from facever.stages.evaluation.judging import EXACT, Judging
from facever.verification.evaluation import Evaluation
from facever.verification.protocols import (
    PairList,
    read_bin,
    read_lfw_pairs,
    read_pair_csv,
)
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.report import write_report
from facever.verification.rules import RuleResult
from facever.verification.uncertainty.error_bars import folder_bootstrap

_BIN_CHUNK = 512


def evaluate_lfw(
    out: Path,
    pairs: Path,
    inputs: Inputs,
    judging: Judging = EXACT,
) -> dict[str, Evaluation]:
    """Run LFW's View 2 and write its report.

    Args:
        out: Folder of the report.
        pairs: The official ``pairs.txt``.
        inputs: Photos are ``<Name>/<Name>_0001.jpg``.
        judging: How to compare and judge.

    Returns:
        Evaluations by name, as in the report; the first is the headline.

    Raises:
        ParameterError: If the inputs are no valid combination, or an option is out of
            its range.
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    inputs.check()
    judging.check()
    pair_list = read_lfw_pairs(pairs)
    # LFW's photos are centred on the person that they are named after.
    features = find_features(inputs, pair_list.sources, out, face="center")
    title = f"LFW, {len(pair_list):,} pairs in {pair_list.num_folds} folds"
    return report_pairs(out, title, pairs, pair_list, features, judging)


def evaluate_list(
    out: Path,
    pairs: Path,
    inputs: Inputs,
    judging: Judging = EXACT,
) -> dict[str, Evaluation]:
    """Judge the pairs of a CSV file: left, right, same and, optionally, fold.

    Args:
        out: Folder of the report.
        pairs: The file; see ``read_pair_csv``.
        inputs: Photos are named as in the file.
        judging: How to compare and judge.

    Returns:
        Evaluations by name, the headline first.

    Raises:
        FaceverError: As ``evaluate_lfw``.
    """
    inputs.check()
    judging.check()
    pair_list = read_pair_csv(pairs)
    features = find_features(inputs, pair_list.sources, out, face="largest")
    title = f"{pairs.stem}, {len(pair_list):,} pairs in {pair_list.num_folds} folds"
    return report_pairs(out, title, pairs, pair_list, features, judging)


def evaluate_bin(
    out: Path,
    bin_file: Path,
    inputs: Inputs,
    judging: Judging = EXACT,
) -> dict[str, Evaluation]:
    """Judge a pair set in InsightFace's ``.bin`` form; its photos are in the file.

    Args:
        out: Folder of the report.
        bin_file: Such as ``agedb_30.bin``.
        inputs: A model alone.
        judging: How to compare and judge.

    Returns:
        Evaluations by name, the headline first.

    Raises:
        FaceverError: As ``evaluate_lfw``.
    """
    if not inputs.model or inputs.photos or inputs.crops or inputs.embeddings:
        raise ParameterError("a .bin file holds its photos: give a model and no others")
    judging.check()
    embedder = Embedder(load_model(inputs.model), inputs.device, inputs.precision)
    pair_bin = read_bin(bin_file)
    parts: list[Float[np.ndarray, "part dim"]] = []
    images: list[str] = []
    broken: dict[str, str] = {}
    with progress_bar("embed", len(pair_bin.photos), "photos") as advance:
        for start in range(0, len(pair_bin.photos), _BIN_CHUNK):
            decoded = pair_bin.decode(start, start + _BIN_CHUNK)
            parts.append(embedder.embed_crops(decoded.crops))
            images += decoded.sources
            broken |= decoded.broken
            advance(len(decoded.sources) + len(decoded.broken))
    settings = model_settings(embedder, inputs.model)
    place_of = {source: place for place, source in enumerate(pair_bin.pairs.sources)}

    def crop_of(source: str) -> np.ndarray | None:
        place = place_of[source]
        crops = pair_bin.decode(place, place + 1).crops
        return crops[0] if len(crops) else None

    features = Features(np.concatenate(parts), images, settings, broken, crop_of)
    pairs = pair_bin.pairs
    title = f"{bin_file.stem}, {len(pairs):,} pairs in {pairs.num_folds} folds"
    return report_pairs(out, title, bin_file, pairs, features, judging)


def report_pairs(
    out: Path,
    title: str,
    pairs_file: Path,
    pairs: PairList,
    features: Features,
    judging: Judging,
    evaluations: dict[str, Evaluation] | None = None,
    frames: FrameCounts | None = None,
) -> dict[str, Evaluation]:
    """Judge pairs, unless they are judged already, write the report, print totals."""
    evaluations = evaluations or judging.evaluate(features, pairs)
    rules = judging.other_rules(features, pairs)
    bootstraps = {
        name: folder_bootstrap(evaluation) for name, evaluation in evaluations.items()
    }
    extras = ReportExtras(bootstraps, rules, frames=frames)
    settings: dict[str, Setting] = {
        "pairs": str(pairs_file),
        "pairs_sha256": sha256(pairs_file),
        **features.settings,
        **judging.settings(features.embeddings.shape[1], evaluations),
    }
    page = write_report(
        out,
        evaluations,
        title,
        settings,
        features.reasons,
        features.crop_of,
        extras,
    )
    _print_totals(evaluations, rules, page)
    return evaluations


def _print_totals(
    evaluations: Mapping[str, Evaluation], rules: Mapping[str, RuleResult], page: Path
) -> None:
    for name, evaluation in evaluations.items():
        print(f"{name}: {summary_line(evaluation)}")
    for name, result in rules.items():
        spread = "" if result.spread is None else f" ± {100 * result.spread:.2f}"
        kind = f" ({result.rule.spread_kind})" if result.spread is not None else ""
        biased = ", biased: chosen on the pairs it tests" if result.rule.biased else ""
        print(f"rule {name}: {100 * result.accuracy:.3f}{spread} %{kind}{biased}")
    [headline, *_] = evaluations.values()
    if 2 * headline.num_missing_pairs > len(headline.pairs):
        print(
            "most pairs have no photo, so the numbers say little: compare the names in "
            "the list with those of the photos or embeddings"
        )
    print(f"report: {page}")


def summary_line(evaluation: Evaluation) -> str:
    """Accuracy, AUC, EER and TAR at FAR, and what was missing, in one line."""
    parts = [
        f"accuracy {100 * evaluation.accuracy:.2f} ± "
        f"{100 * evaluation.standard_error:.2f} %",
        f"AUC {100 * evaluation.auc:.3f} %",
        f"EER {100 * evaluation.eer:.2f} %",
    ]
    parts += [
        f"TAR@FAR {answer.target_far:g} "
        + ("needs more pairs" if answer.tar is None else f"{100 * answer.tar:.2f} %")
        for answer in evaluation.tar
    ]
    if evaluation.num_missing_pairs:
        parts.append(
            f"{evaluation.num_missing_pairs} pairs without a photo "
            f"({evaluation.missing_rule}), {len(evaluation.missing)} photos missing"
            + f", such as {evaluation.missing[0]}"
            * bool(evaluation.missing)
        )
    return ", ".join(parts)
