"""The numbers of a report, as ``report.json`` holds them."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np

from facever.verification.evaluation import Evaluation
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.group_numbers import group_numbers
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.sections.quality import quality_numbers
from facever.verification.roc import Roc
from facever.verification.rules import RuleResult
from facever.verification.uncertainty.calibration import Probabilities
from facever.verification.uncertainty.error_bars import accuracy_interval
from facever.verification.uncertainty.error_rates import CountedRate, ErrorRates
from facever.verification.uncertainty.intervals import BootstrapIntervals
from facever.verification.uncertainty.paired import Difference, PairedComparison
from facever.version import __version__


def report_numbers(
    evaluations: Mapping[str, Evaluation],
    title: str,
    settings: Mapping[str, Setting],
    extras: ReportExtras,
    probabilities: Mapping[str, Probabilities | None],
    rates: Mapping[str, ErrorRates | None],
) -> dict[str, Any]:
    """Every number of a report, in the plain types that ``report.json`` holds."""
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
            {
                "name": name,
                **_numbers(evaluation, extras.bootstraps.get(name)),
                "error_rates": error_rate_numbers(rates[name]),
                "calibration": _calibration(probabilities[name]),
            }
            for name, evaluation in evaluations.items()
        ],
        "differences": [
            {"first": first, "second": second, **_comparison(comparison)}
            for (first, second), comparison in extras.differences.items()
        ],
        "rules": [rule_numbers(result) for result in extras.rules.values()],
        "qualities": quality_numbers(extras.qualities),
        "frames": _frames(extras.frames),
        "groups": group_numbers(extras.groups),
        "versions": {
            "facever": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def _frames(counts: FrameCounts | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    worst = counts.worst_first()
    return {
        "num_found": int(counts.num_found.sum()),
        "num_taken": int(counts.num_taken.sum()),
        "num_failed": int(counts.num_failed.sum()),
        "num_videos": len(counts.videos),
        "num_videos_with_failed_frames": len(worst),
        "num_videos_lost": counts.num_videos_lost,
        "videos_with_failed_frames": [
            {
                "video": counts.videos[place],
                "num_found": int(counts.num_found[place]),
                "num_taken": int(counts.num_taken[place]),
                "num_failed": int(counts.num_failed[place]),
            }
            for place in worst
        ],
    }


def _bootstrap(intervals: BootstrapIntervals | None) -> dict[str, Any] | None:
    if intervals is None:
        return None
    return {
        "level": intervals.accuracy.level,
        "drawn": _drawn(intervals.num_identities),
        "num_draws": intervals.num_draws,
        "num_identities": intervals.num_identities,
        "seed": intervals.seed,
        "accuracy": [intervals.accuracy.low, intervals.accuracy.high],
        "auc": [intervals.auc.low, intervals.auc.high],
        "tar": [
            None if each is None else [each.low, each.high] for each in intervals.tar
        ],
    }


def error_rate_numbers(
    found: ErrorRates | None, interval: str = "bootstrap"
) -> dict[str, Any] | None:
    """The error rates in the terms of ISO/IEC 19795-1; None where there are none.

    Args:
        found: The rates.
        interval: What the interval of the FNMR is called.
    """
    if found is None:
        return None
    return {
        "terms": "ISO/IEC 19795-1",
        "failure_to_acquire": _counted(found.failure_to_acquire),
        "num_genuine": found.roc.num_genuine,
        "num_impostor": found.roc.num_impostor,
        "eer": found.eer,
        "at_fmr": [
            {
                "target_fmr": errors.target_fmr,
                "threshold": errors.threshold,
                "fmr": _counted(errors.fmr),
                "fnmr": {
                    **_counted(errors.fnmr),
                    interval: [
                        errors.fnmr_interval.low,
                        errors.fnmr_interval.high,
                    ],
                },
                "far": _counted(errors.far),
                "frr": _counted(errors.frr),
            }
            for errors in found.at_fmr
        ],
        "notes": list(found.notes),
        "smallest_fmr_by_rule_of_three": found.smallest_fmr,
        "smallest_fmr_by_rule_of_30": found.smallest_exact_fmr,
    }


def _counted(rate: CountedRate) -> dict[str, Any]:
    return {
        "rate": rate.rate,
        "num_errors": rate.num_errors,
        "num_trials": rate.num_trials,
        "wilson": [rate.interval.low, rate.interval.high],
    }


def _calibration(found: Probabilities | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "map": "1 / (1 + exp(-(slope * score + intercept))), of each fold fitted on "
        "the others, with Platt's targets",
        "slopes": found.slopes.tolist(),
        "intercepts": found.intercepts.tolist(),
        "num_pairs_without_score": found.num_without_score,
        "brier": found.brier,
        "expected_calibration_error": found.expected_calibration_error,
        "cllr": found.cllr,
        "min_cllr": found.min_cllr,
        "bins": [
            {
                "low": each.low,
                "high": each.high,
                "num_pairs": each.num_pairs,
                "mean_probability": each.mean_probability,
                "genuine_share": each.genuine_share,
                "wilson": [each.interval.low, each.interval.high],
            }
            for each in found.bins
        ],
    }


def _comparison(found: PairedComparison) -> dict[str, Any]:
    return {
        "num_both_right": found.num_both_right,
        "num_only_first": found.num_only_first,
        "num_only_second": found.num_only_second,
        "num_both_wrong": found.num_both_wrong,
        "mcnemar_p_value": found.mcnemar_p_value,
        "accuracy": _difference(found.accuracy),
        "auc": _difference(found.auc),
        "drawn": _drawn(found.num_identities),
        "num_draws": found.num_draws,
        "num_identities": found.num_identities,
        "seed": found.seed,
    }


def _difference(difference: Difference) -> dict[str, float]:
    return {
        "difference": difference.value,
        "low": difference.interval.low,
        "high": difference.interval.high,
        "level": difference.interval.level,
        "p_value": difference.p_value,
    }


def _drawn(num_identities: int | None) -> str:
    return "pairs" if num_identities is None else "people"


def headline_numbers(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers that a reader asks for first, in plain Python types."""
    return {
        "accuracy": evaluation.accuracy,
        "standard_error": evaluation.standard_error,
        "auc": evaluation.auc,
        "eer": evaluation.eer,
        "tar_at_far": [asdict(answer) for answer in evaluation.tar],
        "pca_components": evaluation.pca_components,
        "missing": {
            "rule": evaluation.missing_rule,
            "num_photos": len(evaluation.missing),
            "num_pairs": evaluation.num_missing_pairs,
            "photos": evaluation.missing,
        },
    }


def rule_numbers(result: RuleResult) -> dict[str, Any]:
    """The numbers under another project's rule."""
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


def _numbers(
    evaluation: Evaluation, bootstrap: BootstrapIntervals | None
) -> dict[str, Any]:
    wilson = accuracy_interval(evaluation)
    return {
        **headline_numbers(evaluation),
        "standard_deviation": evaluation.standard_deviation,
        "wilson": {"level": wilson.level, "accuracy": [wilson.low, wilson.high]},
        "bootstrap": _bootstrap(bootstrap),
        "folds": [
            {
                "fold": fold + 1,
                "threshold": threshold,
                "accuracy": accuracy,
                "num_pairs": num_pairs,
            }
            for fold, (threshold, accuracy, num_pairs) in enumerate(
                zip(
                    evaluation.thresholds.tolist(),
                    evaluation.accuracies.tolist(),
                    np.bincount(evaluation.pairs.fold).tolist(),
                    strict=True,
                )
            )
        ],
        "roc": roc_numbers(evaluation.roc),
    }


def roc_numbers(roc: Roc) -> dict[str, Any]:
    """The points of a ROC curve."""
    # Corners say it all: between them the curve is straight. The end that accepts
    # pairs without a score has no threshold.
    corners = roc.corners()
    return {
        "far": corners.far.tolist(),
        "tar": corners.tar.tolist(),
        "threshold": finite_or_none(corners.thresholds.tolist()),
    }


def finite_or_none(numbers: Sequence[float]) -> list[float | None]:
    """The numbers with None for infinity, which JSON does not know."""
    return [number if np.isfinite(number) else None for number in numbers]
