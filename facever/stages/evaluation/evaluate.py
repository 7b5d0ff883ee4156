"""``facever evaluate lfw``, ``pairs`` and ``bin``: embeddings in, a report out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facever.errors import ParameterError
from facever.progress import progress_bar
from facever.results import Result, counted, plain
from facever.stages.evaluation.features import (
    Features,
    Inputs,
    bin_crop_finder,
    find_features,
    model_settings,
    refuse_low_quality,
    sha256,
)
from facever.stages.evaluation.judging import EXACT, Judged, Judging
from facever.stages.evaluation.pair_protocols import (
    AS_LISTED,
    PAIR_PROTOCOLS,
    PairProtocol,
    PairReading,
)
from facever.stages.evaluation.photo_qualities import (
    check_photo_cutoffs,
    check_qualities,
)
from facever.stages.evaluation.qualities import find_qualities
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.evaluation import Evaluation
from facever.verification.groups.attributes import PairGroups
from facever.verification.groups.comparison import GroupComparison
from facever.verification.protocols import PairList, read_bin
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.quality import MOST_DISCARDED
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.group_numbers import group_numbers
from facever.verification.reporting.markup import Setting, percent
from facever.verification.reporting.report import write_report
from facever.verification.reporting.report_json import headline_numbers, rule_numbers
from facever.verification.reporting.sections.groups import describe_groups, small_groups
from facever.verification.reporting.sections.quality import Qualities, quality_numbers
from facever.verification.rules import RuleResult
from facever.verification.uncertainty.error_bars import folder_bootstrap

_BIN_CHUNK = 512
_MOST_PAIRS_MISSING = (
    "most pairs have no photo, so the numbers say little: compare the names in "
    "the list with those of the photos or embeddings"
)


@dataclass(frozen=True)
class PairReport(Result):
    """What the evaluation of pairs found, and where its report is.

    Attributes:
        title: The report's title.
        evaluations: All numbers by the name of the comparison, the headline first.
        rules: The numbers under other projects' rules, by the name of the rule.
        groups: The error rates of groups, where groups were given.
        qualities: What qualities of the photos say of the errors, where any were given.
        warnings: What a reader of the numbers must know, a line each.
        page: The report's page; the other files lie beside it.
    """

    title: str
    evaluations: dict[str, Evaluation]
    rules: dict[str, RuleResult]
    groups: GroupComparison | None
    qualities: Qualities | None
    warnings: tuple[str, ...]
    page: Path

    def lines(self) -> list[str]:
        """Lines for each comparison, rule, attribute and warning, and the report."""
        return [
            *(f"{name}: {summary_line(e)}" for name, e in self.evaluations.items()),
            *(_rule_line(result) for result in self.rules.values()),
            *(_group_lines(self.groups) if self.groups else ()),
            *(_quality_lines(self.qualities) if self.qualities else ()),
            *self.warnings,
            f"report: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The headline numbers, named as in ``report.json``, which has all of them."""
        models = [
            {"name": name, **headline_numbers(evaluation)}
            for name, evaluation in self.evaluations.items()
        ]
        numbers: dict[str, Any] = plain(
            {
                "title": self.title,
                "models": models,
                "rules": [rule_numbers(result) for result in self.rules.values()],
                "groups": group_numbers(self.groups),
                "qualities": quality_numbers(self.qualities),
                "warnings": self.warnings,
                "report": self.page,
            }
        )
        return numbers


def evaluate_lfw(
    out: str | Path,
    pairs: str | Path,
    inputs: Inputs,
    judging: Judging = EXACT,
    reading: PairReading = AS_LISTED,
) -> PairReport:
    """Evaluate LFW's View 2 and write its report.

    Args:
        out: Folder of the report.
        pairs: The official ``pairs.txt``, or another list; see ``read_pair_list``.
        inputs: What to take embeddings from; photos are named
            ``<Name>/<Name>_0001.jpg``, see ``match_photos``.
        judging: How pairs are compared and judged.
        reading: How the list is read.

    Returns:
        The numbers; the first evaluation is the headline.

    Raises:
        ParameterError: If the inputs are not a valid combination, or an option is out
            of its range.
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    protocol = PAIR_PROTOCOLS["lfw"]
    return evaluate_protocol(protocol, out, pairs, inputs, judging, reading)


def evaluate_list(
    out: str | Path,
    pairs: str | Path,
    inputs: Inputs,
    judging: Judging = EXACT,
    reading: PairReading = AS_LISTED,
) -> PairReport:
    """Evaluate a list of pairs, see ``read_pair_list``; else as ``evaluate_lfw``.

    Photos are named as in the file.
    """
    protocol = PAIR_PROTOCOLS["pairs"]
    return evaluate_protocol(protocol, out, pairs, inputs, judging, reading)


def evaluate_protocol(
    protocol: PairProtocol,
    out: str | Path,
    pairs: str | Path,
    inputs: Inputs,
    judging: Judging = EXACT,
    reading: PairReading = AS_LISTED,
) -> PairReport:
    """Evaluate the pairs that a protocol lists; else as ``evaluate_lfw``.

    Args:
        protocol: The protocol, a row of ``PAIR_PROTOCOLS``.
        out: Folder of the report.
        pairs: The file that lists the pairs.
        inputs: What to take embeddings from; photos are named as the protocol says.
        judging: How pairs are compared and judged.
        reading: How the list is read.
    """
    out, pairs = Path(out), Path(pairs)
    inputs.check()
    judging.check()
    check_report_folder(out)
    listed = protocol.read(pairs, reading)
    groups = judging.read_groups(listed)
    has_crops = bool(inputs.photos or inputs.crops)
    check_qualities(judging.quality, listed.sources, has_crops, "--quality")
    features = find_features(inputs, listed.sources, out, face=protocol.face)
    title = _title(protocol.title or pairs.stem, listed)
    return report_pairs(out, title, pairs, listed, features, judging, groups=groups)


def evaluate_bin(
    out: str | Path, bin_file: str | Path, inputs: Inputs, judging: Judging = EXACT
) -> PairReport:
    """Evaluate a pair set in InsightFace's ``.bin`` form; else as ``evaluate_lfw``.

    Args:
        out: Folder of the report.
        bin_file: The pair set with its photos, such as ``agedb_30.bin``.
        inputs: The model, and cut-offs of qualities that need no crop store.
        judging: How pairs are compared and judged.
    """
    out, bin_file = Path(out), Path(bin_file)
    if not inputs.model or inputs.photos or inputs.crops or inputs.embeddings:
        raise ParameterError("a .bin file holds its photos: give a model and no others")
    judging.check()
    check_report_folder(out)
    embedder = inputs.make_embedder()
    pair_bin = read_bin(bin_file)
    groups = judging.read_groups(pair_bin.pairs)
    named = pair_bin.pairs.sources
    check_qualities(judging.quality, named, False, "--quality")
    check_photo_cutoffs(inputs.min_quality, named, has_crops=False)
    parts: list[Float[np.ndarray, "part dim"]] = []
    images: list[str] = []
    broken: dict[str, str] = {}
    with progress_bar("embed", len(pair_bin.photos), "photos") as advance:
        for start in range(0, len(pair_bin.photos), _BIN_CHUNK):
            decoded = pair_bin.decode(start, start + _BIN_CHUNK, embedder.template)
            parts.append(embedder.embed_crops(decoded.crops))
            images += decoded.sources
            broken |= decoded.broken
            advance(len(decoded.sources) + len(decoded.broken))
    settings = model_settings(embedder, inputs.model)
    crop_of = bin_crop_finder(pair_bin, embedder.template)
    features = refuse_low_quality(
        Features(np.concatenate(parts), images, settings, broken, crop_of),
        named,
        inputs.min_quality,
    )
    title = _title(bin_file.stem, pair_bin.pairs)
    return report_pairs(
        out, title, bin_file, pair_bin.pairs, features, judging, groups=groups
    )


def report_pairs(
    out: Path,
    title: str,
    pairs_file: Path,
    pairs: PairList,
    features: Features,
    judging: Judging,
    evaluations: dict[str, Evaluation] | None = None,
    frames: FrameCounts | None = None,
    groups: PairGroups | None = None,
) -> PairReport:
    """Judge pairs and write the report.

    Args:
        out: Folder of the report.
        title: The report's title.
        pairs_file: The file that listed the pairs.
        pairs: The pairs.
        features: Embeddings of their photos or videos.
        judging: How pairs are compared and judged.
        evaluations: The evaluations, where the pairs are judged already.
        frames: What became of the frames, where the pairs are of videos.
        groups: The groups that ``judging.read_groups`` gives for the pairs.
    """
    judged = Judged(evaluations) if evaluations else judging.evaluate(features, pairs)
    evaluations = judged.evaluations
    rules = judging.other_rules(features, pairs)
    compared = judging.compare_groups(evaluations, groups)
    name, headline = next(iter(evaluations.items()))
    qualities = find_qualities(judging.quality, name, headline, features)
    bootstraps = {
        name: folder_bootstrap(evaluation) for name, evaluation in evaluations.items()
    }
    settings: dict[str, Setting] = {
        "pairs": str(pairs_file),
        "pairs_sha256": sha256(pairs_file),
        **features.settings,
        **judging.settings(features.embeddings.shape[1], evaluations),
    }
    notes = (*pairs.notes, *features.notes)
    if notes:
        settings["notes"] = "; ".join(notes)
    if judging.groups is not None:
        settings["groups"] = str(judging.groups)
        settings["groups_sha256"] = sha256(Path(judging.groups))
    page = write_report(
        out,
        evaluations,
        title,
        settings,
        features.reasons,
        features.crop_of,
        ReportExtras(
            bootstraps, rules, frames=frames, groups=compared, qualities=qualities
        ),
    )
    most_missing = 2 * headline.num_missing_pairs > len(headline.pairs)
    warnings = (*notes, *judged.warnings, *(_MOST_PAIRS_MISSING,) * most_missing)
    return PairReport(title, evaluations, rules, compared, qualities, warnings, page)


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
            f"{counted(evaluation.num_missing_pairs, 'pair')} without a photo "
            f"({evaluation.missing_rule}), "
            f"{counted(len(evaluation.missing), 'photo')} missing"
            + f", such as {evaluation.missing[0]}"
            * bool(evaluation.missing)
        )
    return ", ".join(parts)


def _rule_line(result: RuleResult) -> str:
    spread = "" if result.spread is None else f" ± {100 * result.spread:.2f}"
    kind = f" ({result.rule.spread_kind})" if result.spread is not None else ""
    biased = ", biased: chosen on the pairs it tests" if result.rule.biased else ""
    return f"rule {result.name}: {100 * result.accuracy:.3f}{spread} %{kind}{biased}"


def _group_lines(found: GroupComparison) -> Iterator[str]:
    for each in found.compared:
        yield f"groups by {each.attribute.name}: {describe_groups(each)}"
        if small := small_groups(each):
            yield f"groups by {each.attribute.name}: too little to say: {small}"
    yield from found.notes


def _quality_lines(found: Qualities) -> Iterator[str]:
    for name, curve in found.curves.items():
        yield (
            f"quality by {name}: {100 * curve.gain:.0f} % of what could be gained; "
            f"mean FNMR {percent(curve.area)} while up to {100 * MOST_DISCARDED:.0f} % "
            f"of the pairs are discarded, {percent(float(curve.fnmr[0]))} of all, at "
            f"an FMR of {found.target_fmr:g} by {found.model}"
        )
    yield from found.notes


def _title(name: str, pairs: PairList) -> str:
    return f"{name}, {len(pairs):,} pairs in {pairs.num_folds} folds"
