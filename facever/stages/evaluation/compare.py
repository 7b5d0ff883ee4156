"""``facever evaluate compare``: several reports of the same pairs, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from facever.csv_tables import write_csv
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FaceverError, ParameterError
from facever.faces.photos import photo_size
from facever.faces.templates import DEFAULT_TEMPLATE, TEMPLATES
from facever.files import whole_file
from facever.results import Result, plain
from facever.stages.evaluation.features import bin_crop_finder, crop_finder, sha256
from facever.stages.evaluation.read_report import ReadReport, read_report
from facever.stages.evaluation.report_folder import CROPS_FOLDER, check_report_folder
from facever.verification.evaluation import Evaluation
from facever.verification.protocols import read_bin
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.report import (
    JSON_FILE,
    check_same_pairs,
    write_report,
)
from facever.verification.reporting.report_json import headline_numbers
from facever.verification.reporting.sections.disagreements import differing_rows
from facever.verification.reporting.sections.worst_errors import CropOf
from facever.verification.uncertainty.error_bars import (
    folder_bootstrap,
    folder_identities,
)
from facever.verification.uncertainty.intervals import BootstrapIntervals
from facever.verification.uncertainty.paired import PairedComparison, compare_models

DIFFERING_FILE = "differing.csv"


@dataclass(frozen=True)
class ModelComparison(Result):
    """Models on the same pairs, side by side.

    Attributes:
        evaluations: What is compared of each report, by the name of the report's
            folder, the most accurate first.
        headlines: In words, what each of them was measured on.
        intervals: Its intervals, by the same names.
        differences: The first model less the second, by the names of both.
        num_differing: Number of pairs that not all models judge alike.
        notes: What a reader of the numbers must know, a line each.
        page: The new report's page; the other files lie beside it.
    """

    evaluations: dict[str, Evaluation]
    headlines: dict[str, str]
    intervals: dict[str, BootstrapIntervals]
    differences: dict[tuple[str, str], PairedComparison]
    num_differing: int
    notes: tuple[str, ...]
    page: Path

    def lines(self) -> list[str]:
        """A line for each model, best first, each two of them, note and file."""
        models = [
            f"{name} ({self.headlines[name]}): accuracy {100 * each.accuracy:.2f} ± "
            f"{100 * each.standard_error:.2f} %, AUC {100 * each.auc:.3f} %"
            for name, each in self.evaluations.items()
        ]
        pairs = [
            _difference_line(first, second, found)
            for (first, second), found in self.differences.items()
        ]
        table = self.page.with_name(DIFFERING_FILE)
        return [
            *models,
            *pairs,
            *self.notes,
            f"{self.num_differing:,} pairs are not judged alike: {table}",
            f"report: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The headline numbers and the differences."""
        models = [
            {"name": name, "of": self.headlines[name], **headline_numbers(evaluation)}
            for name, evaluation in self.evaluations.items()
        ]
        differences = [
            {"first": first, "second": second, **asdict(found)}
            for (first, second), found in self.differences.items()
        ]
        numbers: dict[str, Any] = plain(
            {
                "models": models,
                "differences": differences,
                "num_differing": self.num_differing,
                "notes": self.notes,
                "report": self.page,
            }
        )
        return numbers


def compare_reports(out: str | Path, reports: Sequence[str | Path]) -> ModelComparison:
    """Put reports of the same pairs side by side, and like beside like.

    Of each report its headline is taken or, where these are of different ways to
    compare (with and without a PCA), the first way that all reports have, which is
    said. The most accurate comes first and is the headline. For every two models there
    are McNemar's exact test and the bootstrap of the differences, and ``differing.csv``
    lists the pairs that not all judge alike; they are shown where crops are known.

    Args:
        out: Folder of the new report.
        reports: ``report.json`` files, or the folders that hold them; at least two. The
            ``scores.csv`` beside each is read too.

    Returns:
        What was compared, and the differences.

    Raises:
        ParameterError: If there are fewer than two, one is given twice, or ``out`` is
            the folder of one.
        DataError: If they are not of the same pairs in the same folds, have no way to
            compare in common, or treat pairs without a photo by different rules.
        FaceverError: If a report cannot be read.
    """
    out = Path(out)
    paths = [Path(path) for path in reports]
    if len(reports) < 2:
        raise ParameterError(f"compare needs at least 2 reports, got {len(reports)}")
    folders = [path.parent if path.name == JSON_FILE else path for path in paths]
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        given = ", ".join(map(str, reports))
        raise ParameterError(f"compare needs different reports, got {given}")
    if out.resolve() in places:
        raise ParameterError(
            f"out must be another folder than those of the reports, got {out}, whose "
            "report would be replaced"
        )
    check_report_folder(out)
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    read = {name: read_report(f) for name, f in zip(names, folders, strict=True)}
    chosen, notes = choose_alike(read)
    evaluations = {name: read[name].evaluations[chosen[name]] for name in read}
    check_same_pairs(evaluations)
    _check_missing_rules(evaluations)
    headlines = {name: read[name].describe(chosen[name]) for name in evaluations}
    return write_comparison(
        out,
        evaluations,
        headlines,
        f"{len(names)} models on the same pairs",
        find_pictures(read.values()),
        notes,
    )


def write_comparison(
    out: Path,
    evaluations: Mapping[str, Evaluation],
    headlines: Mapping[str, str],
    title: str,
    crop_of: CropOf | None,
    notes: tuple[str, ...] = (),
    reference: str | None = None,
) -> ModelComparison:
    """Write the report of models side by side, the most accurate first.

    Args:
        out: Folder of the report.
        evaluations: The evaluations by the name of the model, all of the same pairs.
        headlines: In words, what each of them was measured on.
        title: The page's title.
        crop_of: Gives the picture of a source; without it pairs are listed by name.
        notes: What a reader of the numbers must know, a line each.
        reference: The model that each other is compared with; None compares every two,
            and shows pairs that others judge differently than the best.

    Returns:
        What was compared, and the differences.
    """
    evaluations = dict(
        sorted(evaluations.items(), key=lambda e: (-e[1].accuracy, -e[1].auc))
    )
    compared = [
        pair
        for pair in combinations(evaluations, 2)
        if reference is None or reference in pair
    ]
    differences = {
        (first, second): compare_evaluations(evaluations[first], evaluations[second])
        for first, second in compared
    }
    bootstraps = {
        name: folder_bootstrap(evaluation) for name, evaluation in evaluations.items()
    }
    headlines = {name: headlines[name] for name in evaluations}
    differing = list(differing_rows(evaluations))
    with whole_file(out / DIFFERING_FILE) as temporary:
        columns = "fold", "left", "right", "same", *evaluations
        write_csv(temporary, columns, differing, for_people=True)
    page = write_report(
        out,
        evaluations,
        title,
        {**headlines, **({"notes": "; ".join(notes)} if notes else {})},
        crop_of=crop_of,
        extras=ReportExtras(bootstraps, differences=differences, reference=reference),
    )
    return ModelComparison(
        evaluations, headlines, bootstraps, differences, len(differing), notes, page
    )


def choose_alike(
    read: Mapping[str, ReadReport],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What to compare of each report, by the names of both, and what is to be said.

    Raises:
        DataError: If the reports have no way to compare in common.
    """
    ways = {name: report.ways for name, report in read.items()}
    first, *others = ways.values()
    common = [way for way in first if all(way in other for other in others)]
    if not common:
        of_each = "; ".join(f"{name} by {' and '.join(w)}" for name, w in ways.items())
        raise DataError(
            f"the reports have no way to compare in common: {of_each}; evaluate again "
            "with the same --pca, --whiten, --subtract-mean and --measure"
        )
    chosen = {name: each[common[0]] for name, each in ways.items()}
    headlines = {name: next(iter(each)) for name, each in ways.items()}
    if set(headlines.values()) == {common[0]}:
        return chosen, ()
    of_each = ", ".join(f"{name}'s by {way!r}" for name, way in headlines.items())
    return chosen, (
        f"compared by {common[0]!r}, which all reports have, for their headlines are "
        f"of several ways: {of_each}",
    )


def _check_missing_rules(evaluations: Mapping[str, Evaluation]) -> None:
    rules = {name: each.missing_rule for name, each in evaluations.items()}
    if len(set(rules.values())) > 1 and any(
        each.num_missing_pairs for each in evaluations.values()
    ):
        of_each = ", ".join(f"{name} {rule}" for name, rule in rules.items())
        raise DataError(
            "the reports treat pairs without a photo by different rules, "
            f"{of_each}: evaluate again with the same --missing"
        )


def find_pictures(reports: Iterable[ReadReport]) -> CropOf | None:
    """The crops of the first report of which they are still there."""
    for report in reports:
        with suppress(FaceverError, OSError):
            return _pictures_of_bin(report)
        pairs = report.evaluations[next(iter(report.evaluations))].pairs
        places = [report.settings.get("crops"), report.folder / CROPS_FOLDER]
        for place in places:
            with suppress(FaceverError):
                if place is not None:
                    return crop_finder(CropStore.open(place), pairs.sources)
    return None


def _pictures_of_bin(report: ReadReport) -> CropOf:
    """The photos of the ``.bin`` that a report is of.

    Raises:
        FaceverError: If it is of no ``.bin``, or that is another now.
        OSError: If its file is gone.
    """
    path = Path(str(report.settings.get("pairs")))
    if sha256(path) != report.settings.get("pairs_sha256"):
        raise DataError(f"{path} is not the file that the report is of")
    pair_bin = read_bin(path)
    sizes = {template.shape[:2]: template for template in TEMPLATES.values()}
    size = photo_size(pair_bin.photos[0])
    return bin_crop_finder(pair_bin, sizes.get(size, DEFAULT_TEMPLATE))


def _difference_line(first: str, second: str, found: PairedComparison) -> str:
    interval = found.accuracy.interval
    drawn = "pairs" if found.num_identities is None else "people"
    return (
        f"{first} less {second}: accuracy {100 * found.accuracy.value:+.2f} % "
        f"({interval.level:.0%} interval {100 * interval.low:+.2f} to "
        f"{100 * interval.high:+.2f}, p = {found.accuracy.p_value:.3g}, {drawn} "
        f"drawn); McNemar p = {found.mcnemar_p_value:.3g}: right alone "
        f"{found.num_only_first} to {found.num_only_second}"
    )


def compare_evaluations(first: Evaluation, second: Evaluation) -> PairedComparison:
    """People are drawn where the photos' names say who is on them, else pairs."""
    left, right = folder_identities(first.pairs) or (None, None)
    same = first.pairs.same
    return compare_models(
        same=same,
        left_identity=left,
        right_identity=right,
        first_scores=first.scores,
        first_right=first.accepted == same,
        second_scores=second.scores,
        second_right=second.accepted == same,
    )
