"""Figures of a report: inline SVG, styled by the page's CSS, and the ROC as PNG."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from facever.verification.drawing import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    linear,
    nice_ticks,
    path_of,
    svg,
    x_axis,
    y_axis,
)
from facever.verification.evaluation import Evaluation
from facever.verification.roc import Roc

NUM_LINE_STYLES = 6
_PNG_COLOURS = ("#5b3fd1", "#00805a", "#a3326f", "#7a6200", "#00708f", "#555555")
_PNG_DASHES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (1, 1)))

_NUM_BINS = 60


def roc_svg(evaluations: Mapping[str, Evaluation]) -> str:
    """ROC curves of several models over a logarithmic FAR axis.

    The axis begins at one false accept. Line ``i`` has the class ``model-i``, counted
    modulo ``NUM_LINE_STYLES``. A dot marks each TAR at FAR.
    """
    curves = [log_curve(evaluation.roc) for evaluation in evaluations.values()]
    lowest_far = min(float(far[0]) for far, _ in curves)
    lowest_tar = min(float(tar[0]) for _, tar in curves)
    bottom, step = _tar_axis(lowest_tar)
    decades = -math.log10(lowest_far)

    def x(far: float) -> float:
        return RIGHT + math.log10(far) / max(decades, 1e-9) * (RIGHT - LEFT)

    y = linear(bottom, 1.0, BOTTOM, TOP)
    parts = [
        x_axis(
            [(x(10.0**-d), format_rate(10.0**-d)) for d in range(int(decades) + 1)],
            "False accept rate (log)",
        ),
        y_axis(
            [
                (y(tar), format_rate(tar))
                for tar in np.arange(bottom, 1 + step / 2, step).tolist()
            ],
            "True accept rate",
        ),
    ]
    for index, (name, (far, tar)) in enumerate(zip(evaluations, curves, strict=True)):
        style = f"model-{index % NUM_LINE_STYLES}"
        points = [(x(f), y(t)) for f, t in zip(far, tar, strict=True)]
        parts.append(f'<path class="curve {style}" d="{path_of(points)}"/>')
        for answer in evaluations[name].tar:
            if answer.tar is not None and answer.tar >= bottom:
                parts.append(
                    f'<circle class="dot {style}" cx="{x(answer.target_far):.1f}" '
                    f'cy="{y(answer.tar):.1f}" r="4.5"><title>{escape(name)}: '
                    f"TAR {100 * answer.tar:.2f} % at FAR "
                    f"{format_rate(answer.target_far)}</title></circle>"
                )
    return svg("ROC curve", parts)


def histogram_svg(evaluation: Evaluation) -> str:
    """Scores of genuine and impostor pairs, with the mean of the folds' thresholds."""
    scored = np.isfinite(evaluation.scores)
    scores, same = evaluation.scores[scored], evaluation.pairs.same[scored]
    edges = np.histogram_bin_edges(scores, bins=_NUM_BINS)
    counts = {
        "impostor": np.histogram(scores[~same], edges)[0],
        "genuine": np.histogram(scores[same], edges)[0],
    }
    highest = max(int(count.max()) for count in counts.values())
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
            [(y(tick), f"{tick:,g}") for tick in nice_ticks(0.0, highest * 1.12, 4)],
            "Pairs",
        ),
    ]
    for kind, count in counts.items():
        outline = [(x(float(edges[0])), y(0))]
        for i, number in enumerate(count.tolist()):
            outline += [(x(float(edge)), y(number)) for edge in edges[i : i + 2]]
        outline.append((x(float(edges[-1])), y(0)))
        parts.append(f'<path class="hump {kind}" d="{path_of(outline)}"/>')
    threshold = float(evaluation.thresholds.mean())
    at = min(max(x(threshold), LEFT), RIGHT)
    anchor, shift = ("end", -6) if at > (LEFT + RIGHT) / 2 else ("start", 6)
    parts.append(
        f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" '
        f'y2="{BOTTOM}"/><text class="strong" x="{at + shift:.1f}" y="{TOP + 11}" '
        f'text-anchor="{anchor}">threshold {threshold:.3f}</text>'
    )
    return svg("Histogram of scores", parts)


def save_roc(
    path: Path, evaluations: Mapping[str, Evaluation], kind: Literal["png", "svg"]
) -> None:
    """The curves of ``roc_svg`` as a picture, or a drawing, for documents."""
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    bottom = 1.0
    for index, (name, evaluation) in enumerate(evaluations.items()):
        far, tar = log_curve(evaluation.roc)
        style = index % NUM_LINE_STYLES
        axes.plot(
            far,
            tar,
            color=_PNG_COLOURS[style],
            linestyle=_PNG_DASHES[
                (style + index // NUM_LINE_STYLES) % len(_PNG_DASHES)
            ],
            linewidth=1.8,
            # A name is text: neither a formula nor, with its underscore, hidden.
            label=f"{name.replace('$', chr(92) + '$')} ({evaluation.accuracy:.2%})",
        )
        bottom = min(bottom, _tar_axis(float(tar[0]))[0])
    axes.set_xscale("log")
    axes.set_xlim(None, 1)
    axes.set_ylim(bottom, 1 + 0.01 * (1 - bottom))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    axes.set_xlabel("False accept rate")
    axes.set_ylabel("True accept rate")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(evaluations) > NUM_LINE_STYLES:  # Too many to lie over the curves.
        figure.legend(frameon=False, loc="outside right upper", fontsize="small")
        figure.set_size_inches(9.5, 4.6)
    else:
        axes.legend(frameon=False, loc="lower right")
    # Without a date, and with names that are not drawn at random, the same numbers give
    # the same file.
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "facever"}):
        figure.savefig(path, format=kind, metadata=metadata)


def save_cmc(path: Path, cmc: Float64[np.ndarray, " ranks"]) -> None:
    """The share of mated probes found up to each rank, as a PNG."""
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.step(np.arange(1, len(cmc) + 1), cmc, where="post", color=_PNG_COLOURS[0])
    axes.set_xscale("log")
    axes.set_ylim(max(0.0, float(cmc[0]) - 0.05), 1.005)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    axes.set_xlabel("Rank")
    axes.set_ylabel("Mated probes found")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def log_curve(
    roc: Roc,
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """FAR and TAR of the curve's corners, from what one false accept allows on."""
    corners = roc.corners()
    beyond = corners.false_accepts > 1
    start = corners.tar[~beyond].max()
    far = np.append(1 / corners.num_impostor, corners.far[beyond])
    return far, np.append(start, corners.tar[beyond])


def format_rate(rate: float) -> str:
    """A share as a percentage without needless zeros: ``0.1 %``."""
    return f"{float(f'{100 * rate:.6g}'):g} %"


def _tar_axis(lowest_tar: float) -> tuple[float, float]:
    """Where a TAR axis that ends at 1 begins, and the step of its marks."""
    for bottom, step in ((0.9, 0.02), (0.8, 0.05), (0.5, 0.1)):
        if lowest_tar >= bottom:
            return bottom, step
    return 0.0, 0.2
