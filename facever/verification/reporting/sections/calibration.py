"""The page's section on calibration: from a score to a probability."""

from collections.abc import Mapping
from html import escape

import numpy as np

from facever.verification.evaluation import Evaluation
from facever.verification.reporting.charts.curves import score_bins
from facever.verification.reporting.charts.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    format_rate,
    linear,
    nice_ticks,
    path_of,
    svg,
    x_axis,
    y_axis,
)
from facever.verification.reporting.markup import legend, table
from facever.verification.uncertainty.calibration import Probabilities
from facever.verification.uncertainty.intervals import Interval, wilson

_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_NUM_SCORE_BINS = 25
_NUM_CURVE_POINTS = 120


def calibration(
    evaluations: Mapping[str, Evaluation],
    found: Mapping[str, Probabilities | None],
) -> str:
    """The section: two charts for each model, and how good its probabilities are."""
    parts = [
        "<h2>Calibration</h2>"
        '<p class="soft lead">The chance that a pair shows one person, from its score, '
        "for this list's mixture of pairs. Each fold's curve was fitted on the other "
        "folds alone. Bars are 95% Wilson intervals, numbers above count pairs.</p>"
    ]
    charts, rows = [], []
    for name, evaluation in evaluations.items():
        probabilities = found[name]
        if probabilities is None:
            parts.append(
                f"<p>{escape(name)}: too few pairs have a score to fit a curve for "
                "each fold.</p>"
            )
            continue
        whose = f", {escape(name)}" if len(evaluations) > 1 else ""
        charts += [
            f"<figure><h3>Probability of one person, by score{whose}</h3>"
            + legend([("curve thin", "each fold's curve"), _OBSERVED])
            + f"{_curve_svg(evaluation, probabilities)}</figure>",
            f"<figure><h3>Share of one person, by predicted probability{whose}</h3>"
            + legend([("ideal", "as predicted"), _OBSERVED])
            + f"{_reliability_svg(probabilities)}</figure>",
        ]
        rows.append(
            [
                escape(name),
                f"{probabilities.cllr:.4f}",
                f"{probabilities.min_cllr:.4f}",
                f"{probabilities.brier:.4f}",
                f"{probabilities.expected_calibration_error:.4f}",
                f"{probabilities.num_without_score:,}",
            ]
        )
    if charts:
        head = ["", "Cllr", "Least Cllr", "Brier", "ECE", "Pairs left out"]
        parts += [
            f'<div class="charts">{"".join(charts)}</div>',
            table(head, rows, name="calibration"),
            '<p class="soft">Cllr: cost of the log-likelihood ratios in bits; 0 is '
            "perfect, 1 says nothing. Least: under the best rising curve, chosen on "
            "the pairs themselves; the rest is what the calibration costs. Brier: mean "
            "squared distance of probability and truth. ECE: mean distance of the "
            "predicted and the observed share over ten bins. Pairs without a score are "
            "left out.</p>",
        ]
    return "".join(parts)


_OBSERVED = ("bar", "observed share")


def _curve_svg(evaluation: Evaluation, found: Probabilities) -> str:
    """Every fold's curve over the score, and the shares in bins of scores."""
    scored = np.isfinite(evaluation.scores)
    scores, same = evaluation.scores[scored], evaluation.pairs.same[scored]
    edges = score_bins(scores, _NUM_SCORE_BINS)
    low, high = float(edges[0]), float(edges[-1])
    x, y = linear(low, high, LEFT, RIGHT), linear(0.0, 1.0, BOTTOM, TOP)
    parts = [
        x_axis([(x(tick), f"{tick:g}") for tick in nice_ticks(low, high, 6)], "Score"),
        y_axis([(y(tick), format_rate(tick)) for tick in _TICKS], "Probability"),
    ]
    along = np.linspace(low, high, _NUM_CURVE_POINTS)
    for slope, intercept in zip(found.slopes, found.intercepts, strict=True):
        heights = np.exp(-np.logaddexp(0, -(slope * along + intercept)))
        points = [(x(s), y(p)) for s, p in zip(along, heights, strict=True)]
        parts.append(f'<path class="curve thin" d="{path_of(points)}"/>')
    genuine, total = (
        np.histogram(scores[same], edges)[0],
        np.histogram(scores, edges)[0],
    )
    for place in np.flatnonzero(total).tolist():
        of_bin = int(genuine[place]), int(total[place])
        middle = float(edges[place] + edges[place + 1]) / 2
        share, interval = of_bin[0] / of_bin[1], wilson(*of_bin)
        parts.append(
            _whisker(x(middle), y(interval.low), y(interval.high))
            + _dot(x(middle), y(share), share, interval, of_bin[1])
        )
    return svg("Probability over the score", parts)


def _reliability_svg(found: Probabilities) -> str:
    """The genuine share over the mean probability, with each bin's number of pairs."""
    x, y = linear(0.0, 1.0, LEFT, RIGHT), linear(0.0, 1.12, BOTTOM, TOP)
    parts = [
        x_axis(
            [(x(tick), format_rate(tick)) for tick in _TICKS], "Predicted probability"
        ),
        y_axis([(y(tick), format_rate(tick)) for tick in _TICKS], "Observed share"),
        f'<path class="ideal" d="{path_of([(x(0), y(0)), (x(1), y(1))])}"/>',
    ]
    for each in found.bins:
        at, share = x(each.mean_probability), each.genuine_share
        low, high = y(each.interval.low), y(each.interval.high)
        parts.append(
            _whisker(at, low, high)
            + _dot(at, y(share), share, each.interval, each.num_pairs)
            + f'<text class="count" x="{x((each.low + each.high) / 2):.1f}" '
            f'y="{y(1.06):.1f}" text-anchor="middle">{_short(each.num_pairs)}</text>'
        )
    return svg("Observed share over predicted probability, and pairs", parts)


def _whisker(at: float, low: float, high: float) -> str:
    return (
        f'<line class="bar" x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" '
        f'y2="{high:.1f}"/>'
    )


def _dot(at: float, height: float, share: float, ends: Interval, pairs: int) -> str:
    return (
        f'<circle class="observed" cx="{at:.1f}" cy="{height:.1f}" r="4">'
        f"<title>{100 * share:.1f} % ({100 * ends.low:.1f} to {100 * ends.high:.1f}) "
        f"of {pairs:,} pairs</title></circle>"
    )


def _short(count: int) -> str:
    """In at most four characters or so: 950, 2.8k, 28k, 1.2M."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= size:
            number = count / size
            return f"{number:.1f}{letter}" if number < 10 else f"{number:.0f}{letter}"
    return str(count)
