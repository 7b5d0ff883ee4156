"""The curves of a report as files of their own, for documents.

matplotlib draws them, while ``charts`` writes the SVG of the page by hand. Neither can
do the other's work: the page's curves take their colours from its CSS, in a light and a
dark scheme, and say the numbers under the pointer; a document wants a PNG, which
nothing here could make of an SVG, and a legend and axis titles inside the picture. What
is drawn (the curve's corners, where its axis begins, the styles of lines) is defined
once, in ``charts``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from facever.verification.evaluation import Evaluation
from facever.verification.reporting.charts import NUM_LINE_STYLES, log_curve, rate_axis
from facever.verification.reporting.svg import format_rate

_PNG_COLOURS = ("#5b3fd1", "#00805a", "#a3326f", "#7a6200", "#00708f", "#555555")
_PNG_DASHES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (1, 1)))


def save_roc(
    path: Path, evaluations: Mapping[str, Evaluation], kind: Literal["png", "svg"]
) -> None:
    """Save the curves of ``charts.roc_svg`` as a PNG or an SVG file."""
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
        bottom = min(bottom, rate_axis(float(tar[0]))[0])
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
    """Save the share of mated probes found up to each rank as a PNG file."""
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
