"""The charts of a report's page: inline SVG, styled by the page's CSS.

The curves as files for documents are drawn in ``documents``, which says why both
are there.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtri

from facever.verification.evaluation import Evaluation
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
from facever.verification.roc import Roc

Curve = tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]

NUM_LINE_STYLES = 6
_NUM_BINS = 60
# Of the axis's length; on a phone texts are larger.
_LEAST_MARK_STEP = 0.19
_MOST_DECADES = 6


def roc_svg(evaluations: Mapping[str, Evaluation]) -> str:
    """ROC curves of several models, with a dot for each TAR at FAR."""
    return rate_svg(
        "ROC curve",
        {name: log_curve(evaluation.roc) for name, evaluation in evaluations.items()},
        {
            name: [(a.target_far, a.tar) for a in evaluation.tar if a.tar is not None]
            for name, evaluation in evaluations.items()
        },
        ("False accept rate", "True accept rate"),
        ("FAR", "TAR"),
    )


def rate_svg(
    label: str,
    curves: Mapping[str, Curve],
    dots: Mapping[str, Sequence[tuple[float, float]]],
    titles: tuple[str, str],
    short: tuple[str, str],
) -> str:
    """Rates of right answers over a logarithmic axis of wrong ones.

    The axis begins at one wrong answer. Line ``i`` has the class ``model-i``, counted
    modulo ``NUM_LINE_STYLES``.

    Args:
        label: What the chart shows, for readers who cannot see it.
        curves: Each model's curve from ``log_curve``, by the model's name.
        dots: Each model's points to mark, as rates of wrong and of right answers.
        titles: Titles of the two axes, that of the wrong answers first.
        short: Short names of the two rates, for the tip of a dot.
    """
    lowest_far = min(float(far[0]) for far, _ in curves.values())
    bottom, step = rate_axis(min(float(tar[0]) for _, tar in curves.values()))
    decades = -math.log10(lowest_far)
    # The texts of more marks would meet.
    marks = range(0, int(decades) + 1, 1 if decades < _MOST_DECADES else 2)

    def x(far: float) -> float:
        return RIGHT + math.log10(far) / max(decades, 1e-9) * (RIGHT - LEFT)

    y = linear(bottom, 1.0, BOTTOM, TOP)
    parts = [
        x_axis(
            [(x(10.0**-d), format_rate(10.0**-d)) for d in marks],
            f"{titles[0]} (log)",
        ),
        rates_up(bottom, step, titles[1]),
    ]
    for index, (name, (far, tar)) in enumerate(curves.items()):
        style = f"model-{index % NUM_LINE_STYLES}"
        points = [(x(f), y(t)) for f, t in zip(far, tar, strict=True)]
        parts.append(f'<path class="curve {style}" d="{path_of(points)}"/>')
        parts += [
            f'<circle class="dot {style}" cx="{x(wrong):.1f}" cy="{y(right):.1f}" '
            f'r="4.5"><title>{escape(name)}: {short[1]} {100 * right:.2f} % at '
            f"{short[0]} {format_rate(wrong)}</title></circle>"
            for wrong, right in dots[name]
            if right >= bottom
        ]
    return svg(label, parts)


def det_svg(curves: Mapping[str, Roc]) -> str:
    """DET curves of several models: FNMR over FMR, both axes in normal deviates.

    Scores that are normally distributed give a straight line there. Each axis begins at
    one error and ends at 50 %.

    References:
        Martin et al., The DET curve in assessment of detection task performance, 1997.
    """
    lowest = lowest_errors(curves.values())
    x_at, y_at = (ndtri(rate) for rate in lowest)
    x, y = linear(x_at, 0.0, LEFT, RIGHT), linear(y_at, 0.0, BOTTOM, TOP)
    both = max(lowest)
    parts = [
        x_axis(
            [(x(ndtri(r)), format_rate(r)) for r in det_ticks(lowest[0])],
            "False match rate",
        ),
        y_axis(
            [(y(ndtri(r)), format_rate(r)) for r in det_ticks(lowest[1])],
            "False non-match rate",
        ),
        '<path class="ideal" d="'
        f'{path_of([(x(ndtri(rate)), y(ndtri(rate))) for rate in (both, 0.5)])}"/>',
    ]
    for index, roc in enumerate(curves.values()):
        points = zip(*det_curve(roc, lowest), strict=True)
        line = path_of([(x(ndtri(fmr)), y(ndtri(fnmr))) for fmr, fnmr in points])
        parts.append(
            f'<path class="curve model-{index % NUM_LINE_STYLES}" d="{line}"/>'
        )
    return svg("DET curve", parts)


def lowest_errors(curves: Collection[Roc]) -> tuple[float, float]:
    """Where the axes of a DET picture begin: one false match, one false non-match."""
    # With hardly any pairs, or none, there is still an axis.
    fmr = min([0.1, *(1 / roc.num_impostor for roc in curves)])
    fnmr = min([0.1, *(1 / roc.num_genuine for roc in curves)])
    return fmr, fnmr


def det_curve(roc: Roc, lowest: tuple[float, float]) -> Curve:
    """FMR and FNMR of the curve's corners, moved onto the borders of the picture.

    Args:
        roc: The curve.
        lowest: Where the two axes begin; both end at one half.
    """
    corners = roc.corners()
    fmr = np.clip(corners.far, lowest[0], 0.5)
    fnmr = np.clip(1 - corners.tar, lowest[1], 0.5)
    # What lies outside is left out, but for the point where the curve comes in.
    inside = (fmr < 0.5) & (fnmr < 0.5)
    kept = inside | np.append(inside[1:], False) | np.append(False, inside[:-1])
    return fmr[kept], fnmr[kept]


def det_ticks(lowest: float) -> list[float]:
    """The marks of an axis of normal deviates from ``lowest`` to one half.

    Marks whose texts would meet are left out.
    """
    width = -ndtri(lowest)
    kept: list[float] = []
    for mark in (0.5, 0.2, 0.05, 0.01, *(10.0**-power for power in range(3, 10))):
        if mark >= lowest * (1 - 1e-9) and (
            not kept or ndtri(kept[-1]) - ndtri(mark) > _LEAST_MARK_STEP * width
        ):
            kept.append(mark)
    return kept


def histogram_svg(evaluation: Evaluation) -> str:
    """Scores of genuine and impostor pairs, with the mean of the folds' thresholds."""
    same = evaluation.pairs.same
    return score_histogram_svg(
        evaluation.scores[same],
        evaluation.scores[~same],
        float(evaluation.thresholds.mean()),
        "Pairs",
    )


def score_histogram_svg(
    genuine: Float64[np.ndarray, " genuine"],
    impostor: Float64[np.ndarray, " impostor"],
    threshold: float | None,
    counted: str,
    shares: bool = False,
) -> str:
    """Two kinds of scores side by side.

    Args:
        genuine: Scores of one kind; those that are not finite are left out.
        impostor: Scores of the other kind; at least one score of both is finite.
        threshold: The threshold to mark, or None.
        counted: What the upright axis counts.
        shares: Whether each kind is shown as shares of its own scores, where one kind
            is so much rarer that its counts could not be seen.
    """
    genuine, impostor = (side[np.isfinite(side)] for side in (genuine, impostor))
    edges = score_bins(np.append(genuine, impostor), _NUM_BINS)
    counts = {
        "impostor": np.histogram(impostor, edges)[0],
        "genuine": np.histogram(genuine, edges)[0],
    }
    heights = {
        kind: count / max(1, count.sum()) if shares else count
        for kind, count in counts.items()
    }
    highest = max(float(height.max()) for height in heights.values())
    x = linear(float(edges[0]), float(edges[-1]), LEFT, RIGHT)
    y = linear(0.0, highest * 1.12, BOTTOM, TOP)
    parts = [
        x_axis(
            [
                (x(tick), f"{tick:g}")
                for tick in nice_ticks(float(edges[0]), float(edges[-1]), 6)
            ],
            "Score",
        ),
        y_axis(
            [
                (y(tick), format_rate(tick) if shares else f"{tick:,g}")
                for tick in nice_ticks(0.0, highest * 1.12, 4)
            ],
            counted,
        ),
    ]
    for kind, height in heights.items():
        outline = [(x(float(edges[0])), y(0))]
        for i, number in enumerate(height.tolist()):
            outline += [(x(float(edge)), y(number)) for edge in edges[i : i + 2]]
        outline.append((x(float(edges[-1])), y(0)))
        parts.append(f'<path class="hump {kind}" d="{path_of(outline)}"/>')
    if threshold is not None:
        at = min(max(x(threshold), LEFT), RIGHT)
        anchor, shift = ("end", -6) if at > (LEFT + RIGHT) / 2 else ("start", 6)
        parts.append(
            f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" '
            f'y2="{BOTTOM}"/><text class="strong" x="{at + shift:.1f}" y="{TOP + 11}" '
            f'text-anchor="{anchor}">threshold {threshold:.3f}</text>'
        )
    return svg("Histogram of scores", parts)


def score_bins(
    scores: Float64[np.ndarray, " scores"], num_bins: int
) -> Float64[np.ndarray, " edges"]:
    """The edges of bins of one width over scores, which may all be equal.

    Args:
        scores: Finite scores, at least one.
        num_bins: Number of bins.
    """
    low, high = float(scores.min()), float(scores.max())
    # Scores that differ by rounding alone leave no room for bins between them.
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        half = max(0.5, abs(low) / 2)
        low, high = low - half, high + half
    return np.linspace(low, high, num_bins + 1)


def cmc_svg(cmc: Float64[np.ndarray, " ranks"]) -> str:
    """The share of mated probes found up to each rank, over a logarithmic axis."""
    decades = math.log10(max(2, len(cmc)))
    bottom, step = rate_axis(float(cmc[0]))
    y = linear(bottom, 1.0, BOTTOM, TOP)

    def x(rank: int) -> float:
        return LEFT + math.log10(rank) / decades * (RIGHT - LEFT)

    # A corner where the share changes, and the end.
    ranks = np.append(np.flatnonzero(np.diff(cmc, prepend=0.0)) + 1, len(cmc))
    points = [(x(1), y(float(cmc[0])))]
    for rank in ranks.tolist():
        points += [(x(rank), points[-1][1]), (x(rank), y(float(cmc[rank - 1])))]
    marks = [rank for d in range(8) for rank in (10**d, 3 * 10**d) if rank <= len(cmc)]
    parts = [
        x_axis([(x(rank), f"{rank:,}") for rank in marks], "Rank (log)"),
        rates_up(bottom, step, "Mated probes found"),
        f'<path class="curve model-0" d="{path_of(points)}"/>',
    ]
    return svg("Cumulative match characteristic", parts)


def rates_up(bottom: float, step: float, title: str) -> str:
    """The left axis for rates from ``bottom`` to 1."""
    y = linear(bottom, 1.0, BOTTOM, TOP)
    ticks = np.arange(bottom, 1 + step / 2, step).tolist()
    return y_axis([(y(rate), format_rate(rate)) for rate in ticks], title)


def log_curve(roc: Roc) -> Curve:
    """FAR and TAR of the curve's corners, from a FAR of one false accept upwards."""
    corners = roc.corners()
    beyond = corners.false_accepts > 1
    start = corners.tar[~beyond].max()
    far = np.append(1 / corners.num_impostor, corners.far[beyond])
    return far, np.append(start, corners.tar[beyond])


def rate_axis(lowest: float) -> tuple[float, float]:
    """Where an axis of rates that ends at 1 begins, and the step of its marks."""
    for bottom, step in ((0.9, 0.02), (0.8, 0.05), (0.5, 0.1)):
        if lowest >= bottom:
            return bottom, step
    return 0.0, 0.2
