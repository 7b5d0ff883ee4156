"""``facever evaluate compare``: several reports of the same pairs, side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from facever.csv_tables import read_csv
from facever.errors import DataError, FileError, ParameterError
from facever.results import Result, plain
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.evaluation import Evaluation, judged_scores
from facever.verification.protocols import PairList
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.report import (
    JSON_FILE,
    SCORE_COLUMNS,
    SCORES_FILE,
    check_same_pairs,
    write_report,
)
from facever.verification.reporting.report_json import headline_numbers
from facever.verification.uncertainty.error_bars import (
    folder_bootstrap,
    folder_identities,
)
from facever.verification.uncertainty.paired import PairedComparison, compare_models


@dataclass(frozen=True)
class ModelComparison(Result):
    """Models on the same pairs, side by side.

    Attributes:
        evaluations: The headline of each report, by the name of the report's folder.
        headlines: In words, what each of them was measured on.
        differences: The first model less the second, by the names of both.
        page: The new report's page; the other files lie beside it.
    """

    evaluations: dict[str, Evaluation]
    headlines: dict[str, str]
    differences: dict[tuple[str, str], PairedComparison]
    page: Path

    def lines(self) -> list[str]:
        """A line for each model and each two of them, and one for the report."""
        models = [
            f"{name} ({self.headlines[name]}): accuracy {100 * each.accuracy:.2f} ± "
            f"{100 * each.standard_error:.2f} %, AUC {100 * each.auc:.3f} %"
            for name, each in self.evaluations.items()
        ]
        pairs = [
            _difference_line(first, second, found)
            for (first, second), found in self.differences.items()
        ]
        return [*models, *pairs, f"report: {self.page}"]

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
            {"models": models, "differences": differences, "report": self.page}
        )
        return numbers


def compare_reports(out: str | Path, reports: Sequence[str | Path]) -> ModelComparison:
    """Put the headlines of reports of the same pairs side by side.

    Writes a report with all of them and, for every two, McNemar's exact test and the
    bootstrap of the differences.

    Args:
        out: Folder of the new report.
        reports: ``report.json`` files, or the folders that hold them; at least two. The
            ``scores.csv`` beside each is read too.

    Returns:
        The headlines and the differences.

    Raises:
        ParameterError: If there are fewer than two, one is given twice, or ``out`` is
            the folder of one.
        FaceverError: If a report cannot be read, or they are not of the same pairs.
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
    whole = {name: _read(folder) for name, folder in zip(names, folders, strict=True)}
    evaluations = {name: evaluation for name, (_, evaluation) in whole.items()}
    check_same_pairs(evaluations)
    differences = {
        (first, second): _compare(evaluations[first], evaluations[second])
        for first, second in combinations(names, 2)
    }
    bootstraps = {
        name: folder_bootstrap(evaluation) for name, evaluation in evaluations.items()
    }
    headlines = {name: headline for name, (headline, _) in whole.items()}
    page = write_report(
        out,
        evaluations,
        f"{len(names)} models on the same pairs",
        headlines,
        extras=ReportExtras(bootstraps, differences=differences),
    )
    return ModelComparison(evaluations, headlines, differences, page)


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


def _compare(first: Evaluation, second: Evaluation) -> PairedComparison:
    """People are drawn where the photos' folders name them, else pairs."""
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


def _read(folder: Path) -> tuple[str, Evaluation]:
    """In words what a report's headline was measured on, and the headline itself."""
    try:
        numbers = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        rows = list(read_csv(folder / SCORES_FILE, SCORE_COLUMNS, exact=True))
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"cannot read {error.filename}: {error.strerror}; give the folder of a "
            "report, with report.json and scores.csv"
        ) from None
    except ValueError as error:
        raise DataError(
            f"{folder} has a damaged {JSON_FILE} or {SCORES_FILE} ({error}); evaluate "
            "again"
        ) from None
    try:
        model = numbers["models"][0]
        settings = numbers["settings"]
        of = settings.get("model") or settings.get("embeddings")
        headline = f"{model['name']}, of {of}" if of else model["name"]
        rows = [row for row in rows if row["model"] == model["name"]]
        pairs = PairList(
            [row["left"] for row in rows],
            [row["right"] for row in rows],
            np.array([row["same"] == "1" for row in rows], dtype=np.bool_),
            np.array([int(row["fold"]) - 1 for row in rows], dtype=np.int64),
        )
        scores = np.array([float(row["score"] or "-inf") for row in rows])
        thresholds = np.array([float(fold["threshold"]) for fold in model["folds"]])
        missing = model["missing"]
        evaluation = judged_scores(
            scores,
            thresholds,
            pairs,
            list(missing["photos"]),
            int(missing["num_pairs"]),
            missing["rule"],
            model["pca_components"],
        )
        # Quotients of counts, which are the same on every machine.
        found = [*evaluation.accuracies.tolist(), evaluation.auc]
        if found != [*(fold["accuracy"] for fold in model["folds"]), model["auc"]]:
            raise DataError(f"{SCORES_FILE} gives other numbers than {JSON_FILE}")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder} is not a whole report of this version of facever ({error}); "
            "evaluate again"
        ) from None
    return headline, evaluation
