"""Write all files of a report on pairs: the page, the numbers, scores and curves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from facever.csv_tables import write_csv
from facever.errors import DataError
from facever.files import whole_file
from facever.verification.evaluation import Evaluation
from facever.verification.protocols import PairList
from facever.verification.reporting.charts.documents import save_det, save_roc
from facever.verification.reporting.charts.groups import save_groups
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.page import render_page
from facever.verification.reporting.report_json import finite_or_none, report_numbers
from facever.verification.reporting.sections.worst_errors import CropOf
from facever.verification.uncertainty.calibration import probabilities_of
from facever.verification.uncertainty.error_rates import error_rates

PAGE_FILE = "report.html"
JSON_FILE = "report.json"
SCORES_FILE = "scores.csv"
_KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")
_DRAWINGS = tuple(f"{curve}.{kind}" for curve in ("roc", "det") for kind in _KINDS)
GROUPS_FILE = "groups.png"
SCORE_COLUMNS = ("model", "fold", "left", "right", "same", "score", "accepted")

_NOTHING = ReportExtras()


def write_report(
    out: Path,
    evaluations: Mapping[str, Evaluation],
    title: str,
    settings: Mapping[str, Setting],
    reasons: Mapping[str, str] | None = None,
    crop_of: CropOf | None = None,
    extras: ReportExtras = _NOTHING,
) -> Path:
    """Write all files of a report into a folder.

    A file of an earlier report is replaced only after all new ones are written in full
    under other names.

    Args:
        out: Folder of the report; it is made if need be.
        evaluations: The evaluations by the name of the model, all of the same pairs;
            the number of the first is the headline, and its errors are shown.
        title: The page's title.
        settings: What a reader needs to repeat the numbers, such as files and their
            SHA-256, in the order to show them; underscores in names become spaces.
        reasons: The reason why a photo is missing, by its source, where that is known.
        crop_of: Gives the picture of a source, or None if it has none; it is called
            for the worst errors only. Without it the errors are listed by name.
        extras: What to show in addition to the evaluations.

    Returns:
        The page, ``out / "report.html"``.

    Raises:
        DataError: If there is no evaluation, or they are not of the same pairs.
        FileError: If the folder cannot be written.
    """
    check_same_pairs(evaluations)
    probabilities = {
        name: probabilities_of(evaluation) for name, evaluation in evaluations.items()
    }
    rates = {
        name: error_rates(evaluation, extras.bootstraps.get(name))
        for name, evaluation in evaluations.items()
    }
    page = render_page(
        evaluations,
        title,
        settings,
        reasons or {},
        crop_of,
        extras,
        probabilities,
        rates,
    )
    numbers = report_numbers(evaluations, title, settings, extras, probabilities, rates)
    curves = {name: found.roc for name, found in rates.items() if found}
    rocs = {
        f"{name} ({evaluation.accuracy:.2%})": evaluation.roc
        for name, evaluation in evaluations.items()
    }
    # Renamed from last to first, so that the page never shows what is not there yet.
    names = (PAGE_FILE, *_DRAWINGS, SCORES_FILE, JSON_FILE)
    with ExitStack() as stack:
        written = {name: stack.enter_context(whole_file(out / name)) for name in names}
        written[PAGE_FILE].write_text(page, encoding="utf-8")
        text = json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False)
        written[JSON_FILE].write_text(text + "\n", encoding="utf-8")
        write_csv(
            written[SCORES_FILE],
            SCORE_COLUMNS,
            _score_rows(evaluations),
            for_people=True,
        )
        roc, det = (
            {kind: written[f"{curve}.{kind}"] for kind in _KINDS}
            for curve in ("roc", "det")
        )
        save_roc(roc, rocs)
        save_det(det, curves)
        if extras.groups:
            save_groups(
                stack.enter_context(whole_file(out / GROUPS_FILE)), extras.groups
            )
    if not extras.groups:
        # That of an earlier report would pass for a part of this one.
        (out / GROUPS_FILE).unlink(missing_ok=True)
    return out / PAGE_FILE


def check_same_pairs(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuse evaluations that cannot stand in one report.

    Raises:
        DataError: If there is no evaluation, or one is of other pairs than the first.
    """
    if not evaluations:
        raise DataError("a report needs at least one evaluation, got none")
    (first_name, first), *others = evaluations.items()
    for name, other in others:
        reason = _difference(first.pairs, other.pairs)
        if reason:
            raise DataError(
                f"a report compares models on the same pairs; those of {name!r} are "
                f"not those of {first_name!r}: {reason}"
            )


def _difference(pairs: PairList, others: PairList) -> str:
    """In words, what is other about the second list of pairs; empty if nothing is."""
    if len(pairs) != len(others):
        return f"{len(others):,} pairs and {len(pairs):,}"
    for row, (one, other) in enumerate(
        zip(
            zip(pairs.left, pairs.right, strict=True),
            zip(others.left, others.right, strict=True),
            strict=True,
        )
    ):
        if one != other:
            return f"pair {row + 1} is {' and '.join(other)}, and {' and '.join(one)}"
    if not np.array_equal(pairs.same, others.same):
        row = int(np.argmax(pairs.same != others.same))
        return f"pair {row + 1} shows one person in one of them and two in the other"
    if not np.array_equal(pairs.fold, others.fold):
        return "they are in other folds"
    return ""


def _score_rows(evaluations: Mapping[str, Evaluation]) -> Iterator[Sequence[object]]:
    for name, evaluation in evaluations.items():
        pairs = evaluation.pairs
        for left, right, same, fold, score, accepted in zip(
            pairs.left,
            pairs.right,
            pairs.same.tolist(),
            pairs.fold.tolist(),
            finite_or_none(evaluation.scores.tolist()),
            evaluation.accepted.tolist(),
            strict=True,
        ):
            yield name, fold + 1, left, right, int(same), score, int(accepted)
