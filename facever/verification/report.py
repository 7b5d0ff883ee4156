"""Write a report: report.html, report.json, scores.csv, roc.png and roc.svg."""

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facever.errors import DataError, FileError
from facever.verification.error_bars import accuracy_interval
from facever.verification.evaluation import Evaluation
from facever.verification.figures import save_roc
from facever.verification.intervals import BootstrapIntervals
from facever.verification.page import Setting, render_page
from facever.verification.rule_judging import RuleResult
from facever.verification.worst_errors import CropOf
from facever.version import __version__

PAGE_FILE = "report.html"
JSON_FILE = "report.json"
SCORES_FILE = "scores.csv"
PICTURE_FILE = "roc.png"
DRAWING_FILE = "roc.svg"
SCORE_COLUMNS = ("model", "fold", "left", "right", "same", "score", "accepted")


def write_report(
    out: Path,
    evaluations: Mapping[str, Evaluation],
    title: str,
    settings: Mapping[str, Setting],
    reasons: Mapping[str, str] | None = None,
    crop_of: CropOf | None = None,
    *,
    bootstraps: Mapping[str, BootstrapIntervals | None] | None = None,
    rules: Mapping[str, RuleResult] | None = None,
) -> Path:
    """Write all files of a report into a folder.

    A file of an earlier report is replaced only after all new ones are written in full
    under other names.

    Args:
        out: Folder, made if need be.
        evaluations: By the name of the model, all of the same pairs; the first is the
            one whose number is the headline and whose errors are shown.
        title: Of the page.
        settings: What a reader needs to repeat the numbers, such as files and their
            SHA-256, in the order to show them; underscores in names become spaces.
        reasons: Why a photo is missing, by its source, where that is known.
        crop_of: Gives the picture of a source, or None where there is none. Asked for
            the worst errors only. Without it the errors are listed by name.
        bootstraps: Intervals over draws of people, by the name of the model.
        rules: The headline's embeddings under other projects' rules, by name.

    Returns:
        The page, ``out / "report.html"``.

    Raises:
        DataError: If there is no evaluation, or they are not of the same pairs.
        FileError: If the folder cannot be written.
    """
    _check_same_pairs(evaluations)
    bootstraps, rules = bootstraps or {}, rules or {}
    page = render_page(
        evaluations, title, settings, reasons or {}, crop_of, bootstraps, rules
    )
    numbers = report_numbers(evaluations, title, settings, bootstraps, rules)
    names = (JSON_FILE, SCORES_FILE, PICTURE_FILE, DRAWING_FILE, PAGE_FILE)
    written = {name: out / f".{name}.{os.getpid()}.part" for name in names}
    try:
        out.mkdir(parents=True, exist_ok=True)
        written[PAGE_FILE].write_text(page, encoding="utf-8")
        text = json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False)
        written[JSON_FILE].write_text(text + "\n", encoding="utf-8")
        _write_scores(written[SCORES_FILE], evaluations)
        save_roc(written[PICTURE_FILE], evaluations, "png")
        save_roc(written[DRAWING_FILE], evaluations, "svg")
        for name, path in written.items():
            os.replace(path, out / name)
    except OSError as error:
        raise FileError(
            f"cannot write the report into {out}: {error.strerror}"
        ) from None
    finally:
        if out.is_dir():
            for path in written.values():
                path.unlink(missing_ok=True)
    return out / PAGE_FILE


def report_numbers(
    evaluations: Mapping[str, Evaluation],
    title: str,
    settings: Mapping[str, Setting],
    bootstraps: Mapping[str, BootstrapIntervals | None],
    rules: Mapping[str, RuleResult],
) -> dict[str, Any]:
    """What ``report.json`` holds: every number, in plain Python types."""
    pairs = next(iter(evaluations.values())).pairs
    num_genuine = int(np.count_nonzero(pairs.same))
    return {
        "title": title,
        "rule": "a pair is accepted when its score is greater than the threshold, "
        "which is chosen on the other folds",
        "settings": dict(settings),
        "pairs": {
            "num_pairs": len(pairs),
            "num_genuine": num_genuine,
            "num_impostor": len(pairs) - num_genuine,
            "num_folds": pairs.num_folds,
        },
        "models": [
            {"name": name, **_numbers(evaluation, bootstraps.get(name))}
            for name, evaluation in evaluations.items()
        ],
        "rules": [_rule(result) for result in rules.values()],
        "versions": {
            "facever": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def _rule(result: RuleResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "accuracy": result.accuracy,
        "spread": result.spread,
        "spread_kind": result.rule.spread_kind,
        "biased": result.rule.biased,
        "thresholds": result.thresholds.tolist(),
        "accuracies": result.accuracies.tolist(),
        "description": result.rule.description,
        "source": result.rule.source,
    }


def _bootstrap(intervals: BootstrapIntervals | None) -> dict[str, Any] | None:
    if intervals is None:
        return None
    return {
        "level": intervals.accuracy.level,
        "num_draws": intervals.num_draws,
        "num_identities": intervals.num_identities,
        "seed": intervals.seed,
        "accuracy": [intervals.accuracy.low, intervals.accuracy.high],
        "auc": [intervals.auc.low, intervals.auc.high],
        "tar": [
            None if each is None else [each.low, each.high] for each in intervals.tar
        ],
    }


def _numbers(
    evaluation: Evaluation, bootstrap: BootstrapIntervals | None
) -> dict[str, Any]:
    wilson = accuracy_interval(evaluation)
    corners = evaluation.roc.corners()
    return {
        "accuracy": evaluation.accuracy,
        "standard_error": evaluation.standard_error,
        "standard_deviation": evaluation.standard_deviation,
        "wilson": {"level": wilson.level, "accuracy": [wilson.low, wilson.high]},
        "bootstrap": _bootstrap(bootstrap),
        "auc": evaluation.auc,
        "eer": evaluation.eer,
        "tar_at_far": [
            {
                "target_far": answer.target_far,
                "far": answer.far,
                "tar": answer.tar,
                "threshold": answer.threshold,
                "note": answer.note,
            }
            for answer in evaluation.tar
        ],
        "pca_components": evaluation.pca_components,
        "folds": [
            {"fold": fold + 1, "threshold": threshold, "accuracy": accuracy}
            for fold, (threshold, accuracy) in enumerate(
                zip(
                    evaluation.thresholds.tolist(),
                    evaluation.accuracies.tolist(),
                    strict=True,
                )
            )
        ],
        "missing": {
            "rule": evaluation.missing_rule,
            "num_photos": len(evaluation.missing),
            "num_pairs": evaluation.num_missing_pairs,
            "photos": evaluation.missing,
        },
        # Corners say it all: between them the curve is straight. The end that accepts
        # pairs without a score has no threshold.
        "roc": {
            "far": corners.far.tolist(),
            "tar": corners.tar.tolist(),
            "threshold": _finite_or_none(corners.thresholds.tolist()),
        },
    }


def _finite_or_none(numbers: Sequence[float]) -> list[float | None]:
    return [number if np.isfinite(number) else None for number in numbers]


def _check_same_pairs(evaluations: Mapping[str, Evaluation]) -> None:
    if not evaluations:
        raise DataError("a report needs at least one evaluation, got none")
    (first_name, first), *others = evaluations.items()
    for name, other in others:
        if (
            other.pairs.left != first.pairs.left
            or other.pairs.right != first.pairs.right
            or not np.array_equal(other.pairs.same, first.pairs.same)
            or not np.array_equal(other.pairs.fold, first.pairs.fold)
        ):
            raise DataError(
                f"a report compares models on the same pairs; those of {name!r} are "
                f"not those of {first_name!r}"
            )


def _write_scores(path: Path, evaluations: Mapping[str, Evaluation]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCORE_COLUMNS)
        for name, evaluation in evaluations.items():
            pairs = evaluation.pairs
            for left, right, same, fold, score, accepted in zip(
                pairs.left,
                pairs.right,
                pairs.same.tolist(),
                pairs.fold.tolist(),
                _finite_or_none(evaluation.scores.tolist()),
                evaluation.accepted.tolist(),
                strict=True,
            ):
                writer.writerow(
                    (name, fold + 1, left, right, int(same), score, int(accepted))
                )
