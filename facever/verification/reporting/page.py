"""The HTML page of a report on pairs: one file that needs no other."""

from collections.abc import Mapping
from html import escape

import numpy as np

from facever.verification.evaluation import Evaluation
from facever.verification.reporting.charts.curves import (
    NUM_LINE_STYLES,
    det_svg,
    histogram_svg,
    roc_svg,
)
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.markup import (
    Setting,
    hero,
    legend,
    percent,
    settings_list,
    swatch,
    table,
    whole_page,
)
from facever.verification.reporting.sections.calibration import calibration
from facever.verification.reporting.sections.disagreements import disagreements
from facever.verification.reporting.sections.error_rates import error_rates_section
from facever.verification.reporting.sections.groups import groups_section
from facever.verification.reporting.sections.quality import quality_section
from facever.verification.reporting.sections.tables import (
    differences,
    error_bars,
    failed_frames,
    other_rules,
)
from facever.verification.reporting.sections.worst_errors import CropOf, worst_errors
from facever.verification.roc import TarAtFar
from facever.verification.uncertainty.calibration import Probabilities
from facever.verification.uncertainty.error_rates import ErrorRates

_MISSING = {
    "reject": "is rejected, so it counts as an error where both photos show one person",
    "lowest": "scores as the least similar pair does",
}


def render_page(
    evaluations: Mapping[str, Evaluation],
    title: str,
    settings: Mapping[str, Setting],
    reasons: Mapping[str, str],
    crop_of: CropOf | None,
    extras: ReportExtras,
    probabilities: Mapping[str, Probabilities | None],
    rates: Mapping[str, ErrorRates | None],
) -> str:
    """The page as text; see ``write_report`` for the arguments."""
    name, first = next(iter(evaluations.items()))
    whose = "" if len(evaluations) == 1 else f"<b>{escape(name)}</b>: "
    if extras.differences:
        whose = f"<b>{escape(name)}</b>, the best of {len(evaluations)}: "
    parts = [_hero(whose, first, title)]
    if len(evaluations) > 1:
        parts.append(_comparison(evaluations))
    if extras.differences:
        parts.append(differences(extras.differences))
    parts += [
        _charts(evaluations, rates),
        error_rates_section(rates),
        calibration(evaluations, probabilities),
        error_bars(evaluations, extras.bootstraps),
        *([groups_section(extras.groups)] if extras.groups else []),
        *([quality_section(extras.qualities)] if extras.qualities else []),
        *([other_rules(extras.rules)] if extras.rules else []),
        _folds(evaluations),
        *(
            [disagreements(evaluations, extras.reference or name, crop_of)]
            if extras.differences
            else []
        ),
        worst_errors(name, first, crop_of, alone=len(evaluations) == 1),
        *([failed_frames(extras.frames)] if extras.frames else []),
        _missing(evaluations, reasons),
        settings_list(settings),
    ]
    return whole_page(title, parts)


def _hero(whose: str, evaluation: Evaluation, title: str) -> str:
    pairs = evaluation.pairs
    num_right = int(np.count_nonzero(evaluation.accepted == pairs.same))
    facts = [
        (
            "AUC",
            percent(evaluation.auc),
            "the chance that a pair of one person scores above a pair of two",
        ),
        (
            "Equal error rate",
            percent(evaluation.eer),
            "of both kinds of pairs are judged wrong at one threshold",
        ),
        *(
            (
                f"TAR at FAR {format_rate(a.target_far)}",
                _tar(a),
                f"of pairs of one person pass where 1 in {round(1 / a.target_far):,} "
                "pairs of two does",
            )
            for a in evaluation.tar
        ),
        (
            "Pairs not scored",
            f"{evaluation.num_missing_pairs:,}",
            "have a photo without an embedding: missing, without a face, or refused",
        ),
    ]
    return hero(
        title,
        f"{100 * evaluation.accuracy:.2f} %"
        f"<small>± {100 * evaluation.standard_error:.2f}</small>",
        f"{whose}{num_right:,} of {len(pairs):,} pairs judged right. Mean accuracy "
        f"of {pairs.num_folds} folds and its standard error, in percent.",
        facts,
    )


def _comparison(evaluations: Mapping[str, Evaluation]) -> str:
    models = list(evaluations.values())
    head = [""]
    head += [
        swatch(f"curve model-{index % NUM_LINE_STYLES}") + escape(name)
        for index, name in enumerate(evaluations)
    ]
    rows = [
        ["Accuracy", *(f"{100 * model.accuracy:.2f} %" for model in models)],
        [
            "Standard error",
            *(f"± {100 * model.standard_error:.2f}" for model in models),
        ],
        ["AUC", *(f"{100 * model.auc:.2f} %" for model in models)],
        ["Equal error rate", *(f"{100 * model.eer:.2f} %" for model in models)],
    ]
    for answers in zip(*(model.tar for model in models), strict=True):
        target = format_rate(answers[0].target_far)
        rows.append([f"TAR at FAR {target}", *map(_tar, answers)])
    return "<h2>Side by side</h2>" + table(head, rows, name="side")


def _charts(
    evaluations: Mapping[str, Evaluation], rates: Mapping[str, ErrorRates | None]
) -> str:
    lines = [
        (f"curve model-{index % NUM_LINE_STYLES}", name)
        for index, name in enumerate(evaluations)
    ]
    humps = [("hump impostor", "two people"), ("hump genuine", "one person")]
    parts = [
        "<figure><h3>True accepts for a given rate of false accepts</h3>"
        f"{legend(lines)}{roc_svg(evaluations)}</figure>"
    ]
    curves = {name: found.roc for name, found in rates.items() if found}
    if curves:
        parts.append(
            "<figure><h3>FNMR over FMR, on axes of normal deviates</h3>"
            f"{legend([*lines, ('ideal', 'both alike')])}{det_svg(curves)}</figure>"
        )
    for name, evaluation in evaluations.items():
        whose = f", {escape(name)}" if len(evaluations) > 1 else ""
        parts.append(
            f"<figure><h3>Scores of the pairs{whose}</h3>{legend(humps)}"
            f"{histogram_svg(evaluation)}</figure>"
        )
    odd = " odd" if len(parts) % 2 else ""
    return f'<h2>Curves</h2><div class="charts{odd}">{"".join(parts)}</div>'


def _folds(evaluations: Mapping[str, Evaluation]) -> str:
    parts = ["<h2>Folds</h2>"]
    sizes = np.bincount(next(iter(evaluations.values())).pairs.fold)
    unequal = (
        f" The folds hold {sizes.min():,} to {sizes.max():,} pairs and weigh alike in "
        "the mean."
    )
    parts.append(
        '<p class="soft lead">The threshold of each fold was chosen on the other folds '
        "alone. A pair is accepted when its score is greater than the threshold."
        f"{unequal * bool(np.ptp(sizes))}</p>"
    )
    for index, (name, evaluation) in enumerate(evaluations.items()):
        rows = _fold_table(evaluation)
        if index:
            rows = f"<details><summary>{escape(name)}</summary>{rows}</details>"
        elif len(evaluations) > 1:
            rows = f"<h3>{escape(name)}</h3>{rows}"
        parts.append(rows)
    return "".join(parts)


def _fold_table(evaluation: Evaluation) -> str:
    pairs, accuracies = evaluation.pairs, evaluation.accuracies
    false_accepts = np.bincount(
        pairs.fold[evaluation.accepted & ~pairs.same], minlength=pairs.num_folds
    )
    false_rejects = np.bincount(
        pairs.fold[~evaluation.accepted & pairs.same], minlength=pairs.num_folds
    )
    sizes = np.bincount(pairs.fold)
    low, high = float(accuracies.min()), float(accuracies.max())
    strip_head = f"{100 * low:.2f} to {100 * high:.2f} %"
    head = [
        "Fold", "Accuracy", strip_head, "Threshold", "False accepts", "False rejects",
        "Pairs",
    ]  # fmt: skip
    rows = [
        [
            str(fold + 1),
            f"{100 * accuracies[fold]:.2f} %",
            _strip((accuracies[fold] - low) / (high - low or 1.0)),
            f"{evaluation.thresholds[fold]:.4f}",
            str(false_accepts[fold]),
            str(false_rejects[fold]),
            f"{sizes[fold]:,}",
        ]
        for fold in range(pairs.num_folds)
    ]
    rows.append(
        [
            "Mean",
            f"{100 * evaluation.accuracy:.2f} %",
            "",
            f"{evaluation.thresholds.mean():.4f}",
            f"{false_accepts.mean():.1f}",
            f"{false_rejects.mean():.1f}",
            f"{sizes.mean():,.0f}",
        ]
    )
    classes = ["", "", "strip", "minor", "", "", "minor"]
    return table(head, rows, classes, "folds", total=True)


def _missing(evaluations: Mapping[str, Evaluation], reasons: Mapping[str, str]) -> str:
    parts = ["<h2>Missing</h2>"]
    if not any(evaluation.num_missing_pairs for evaluation in evaluations.values()):
        return parts[0] + "<p>Nothing: every pair has both its photos.</p>"
    for name, evaluation in evaluations.items():
        if not evaluation.num_missing_pairs:
            continue
        whose = f"{escape(name)}: " if len(evaluations) > 1 else ""
        items = "".join(
            f"<li>{escape(source)}"
            + (f" ({escape(reasons[source])})" if source in reasons else "")
            + "</li>"
            for source in evaluation.missing
        )
        parts.append(
            f"<p>{whose}{len(evaluation.missing):,} photos without an embedding, in "
            f"{evaluation.num_missing_pairs:,} pairs. Such a pair stays in its fold "
            f"and {_MISSING[evaluation.missing_rule]}.</p>"
            "<details><summary>The photos</summary>"
            f'<ul class="missing">{items}</ul></details>'
        )
    return "".join(parts)


def _tar(answer: TarAtFar) -> str:
    if answer.tar is None:
        return f'<span class="soft" title="{escape(answer.note)}">too few pairs</span>'
    return f"{100 * answer.tar:.2f} %"


def _strip(share: float) -> str:
    """A dot between the worst fold on the left and the best on the right."""
    return (
        '<svg viewBox="0 0 200 16" aria-hidden="true">'
        '<line class="grid" x1="6" x2="194" y1="8" y2="8"/>'
        f'<circle cx="{6 + 188 * share:.1f}" cy="8" r="5"/></svg>'
    )
