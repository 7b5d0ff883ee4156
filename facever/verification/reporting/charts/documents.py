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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.special import ndtri

from facever.verification.reporting.charts.curves import (
    NUM_LINE_STYLES,
    det_curve,
    det_ticks,
    log_curve,
    lowest_errors,
    rate_axis,
)
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.roc import Roc

_PNG_COLOURS = ("#5b3fd1", "#00805a", "#a3326f", "#7a6200", "#00708f", "#555555")
_PNG_DASHES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (1, 1)))


Kind = Literal["png", "svg"]


def save_roc(paths: Mapping[Kind, Path], curves: Mapping[str, Roc]) -> None:
    """Save the curves of ``charts.roc_svg``, one drawing as files of several kinds."""
    figure, axes = _axes("False accept rate", "True accept rate")
    bottom = 1.0
    for index, (name, roc) in enumerate(curves.items()):
        far, tar = log_curve(roc)
        _plot(axes, index, far, tar, name)
        bottom = min(bottom, rate_axis(float(tar[0]))[0])
    axes.set_xscale("log")
    axes.set_xlim(None, 1)
    axes.set_ylim(bottom, 1 + 0.01 * (1 - bottom))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    _save(paths, figure, "lower right")


def save_det(paths: Mapping[Kind, Path], curves: Mapping[str, Roc]) -> None:
    """Save the curves of ``charts.det_svg``, one drawing as files of several kinds."""
    figure, axes = _axes("False match rate", "False non-match rate")
    lowest = lowest_errors(curves.values())
    for index, (name, roc) in enumerate(curves.items()):
        fmr, fnmr = det_curve(roc, lowest)
        _plot(axes, index, ndtri(fmr), ndtri(fnmr), name)
    axes.axline((0, 0), slope=1, color="#888888", linestyle=":", linewidth=1)
    for axis, low in zip((axes.xaxis, axes.yaxis), lowest, strict=True):
        marks = det_ticks(low)
        axis.set_ticks(ndtri(marks).tolist(), [format_rate(mark) for mark in marks])
    axes.set_xlim(ndtri(lowest[0]), 0)
    axes.set_ylim(ndtri(lowest[1]), 0)
    _save(paths, figure, "upper right")


def _axes(x_title: str, y_title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plot(
    axes: Axes,
    index: int,
    x: Float64[np.ndarray, " points"],
    y: Float64[np.ndarray, " points"],
    name: str,
) -> None:
    style = index % NUM_LINE_STYLES
    axes.plot(
        x,
        y,
        color=_PNG_COLOURS[style],
        linestyle=_PNG_DASHES[(style + index // NUM_LINE_STYLES) % len(_PNG_DASHES)],
        linewidth=1.8,
        # A name is text: neither a formula nor, with its underscore, hidden.
        label=name.replace("$", r"\$"),
    )


def _save(
    paths: Mapping[Kind, Path],
    figure: Figure,
    place: Literal["lower right", "upper right"],
) -> None:
    [axes] = figure.axes
    names = axes.get_legend_handles_labels()[1]
    if len(names) > NUM_LINE_STYLES:  # Too many to lie over the curves.
        figure.legend(frameon=False, loc="outside right upper", fontsize="small")
        figure.set_size_inches(9.5, 4.6)
    elif names:
        axes.legend(frameon=False, loc=place)
    # The places of everything are found once: that takes half of the time.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # Without a date, and with names that are not drawn at random, the same numbers give
    # the same file.
    with rc_context({"svg.hashsalt": "facever"}):
        for kind, path in paths.items():
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(path, format=kind, metadata=metadata)


def save_cmc(path: Path, cmc: Float64[np.ndarray, " ranks"]) -> None:
    """Save the share of mated probes found up to each rank as a PNG file."""
    figure, axes = _axes("Rank", "Mated probes found")
    axes.step(np.arange(1, len(cmc) + 1), cmc, where="post", color=_PNG_COLOURS[0])
    axes.set_xscale("log")
    axes.set_ylim(max(0.0, float(cmc[0]) - 0.05), 1.005)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    figure.savefig(path, format="png")
