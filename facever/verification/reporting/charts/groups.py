"""Rates of groups as pictures: for the page and, as a PNG, for documents.

Each group is a line: its name, its rate as a dot, and the interval as a bar. See
``documents`` for why the page's pictures and those of documents are drawn by
other means.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from facever.verification.groups.clustered_rates import ClusteredRate
from facever.verification.groups.comparison import (
    ComparedGroups,
    GroupComparison,
    RateOfGroups,
)
from facever.verification.reporting.charts.svg import (
    Scale,
    format_rate,
    linear,
    nice_ticks,
)

FMR_TITLE = "False match rate"
FNMR_TITLE = "False non-match rate"
_LEFT, _RIGHT, _TOP, _STEP, _FOOT = 14.0, 462.0, 14.0, 46.0, 44.0
_LONGEST_NAME = 40


def format_small(rate: float) -> str:
    """A share as a percentage with three digits: ``0.0314 %``, ``3.00 %``."""
    return f"{100 * rate:#.3g}".rstrip(".") + " %"


def group_rates_svg(
    title: str, names: Sequence[str], rates: RateOfGroups, overall: float
) -> str:
    """The groups' own rates, with a line at the rate of all pairs.

    Args:
        title: The rate's name, beside the axis.
        names: The groups.
        rates: Their rates; a group without pairs has its name alone.
        overall: The rate of all pairs.
    """
    end = axis_end(rates, len(names), overall)
    x = linear(0.0, end, _LEFT, _RIGHT)
    bottom = _TOP + _STEP * len(names)
    parts = [
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" '
        f'y2="{bottom}"/><text x="{x(tick):.1f}" y="{bottom + 17}" '
        f'text-anchor="{_anchor(tick, end)}">{format_rate(tick)}</text>'
        for tick in nice_ticks(0.0, end, 4)
    ]
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="threshold" x1="{x(overall):.1f}" x2="{x(overall):.1f}" '
        f'y1="{_TOP}" y2="{bottom}"><title>all pairs: {format_small(overall)}</title>'
        f'</line><text class="title" x="{(_LEFT + _RIGHT) / 2}" y="{bottom + 38}" '
        f'text-anchor="middle">{title}</text>'
    )
    for group, name in enumerate(names):
        top = _TOP + _STEP * group
        short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        rate = rates.own(group)
        parts.append(
            f'<text class="strong" x="{_LEFT}" y="{top + 17}">{escape(short)}</text>'
            + _bar(rate, x, end, top + 31)
        )
    return (
        f'<svg viewBox="0 0 480 {bottom + _FOOT}" role="img" '
        f'aria-label="{title} of groups">{"".join(parts)}</svg>'
    )


def axis_end(rates: RateOfGroups, num_groups: int, overall: float) -> float:
    """Where an axis of groups' rates ends: a bar of a tiny group may go beyond."""
    own = [rates.own(group) for group in range(num_groups)]
    known = [rate for rate in own if rate.interval is not None]
    large = [rate for rate in known if not rate.is_small] or known
    ends = [rate.interval.high for rate in large if rate.interval is not None]
    dots = [rate.rate for rate in known if rate.rate is not None]
    return min(1.0, 1.08 * max([overall, 1e-9, *ends, *dots]))


def _anchor(tick: float, end: float) -> str:
    if tick == 0:
        return "start"
    return "end" if tick > 0.95 * end else "middle"


def _bar(rate: ClusteredRate, x: Scale, end: float, height: float) -> str:
    if rate.rate is None or rate.interval is None:
        return f'<text x="{_LEFT}" y="{height + 5}">no pairs</text>'
    low, high = x(rate.interval.low), x(min(rate.interval.high, end))
    faint = ' style="opacity:.45"' if rate.is_small else ""
    beyond = (
        f'<path class="bar" d="M{high - 6:.1f},{height - 5}L{high:.1f},{height}'
        f'L{high - 6:.1f},{height + 5}" fill="none"/>'
        if rate.interval.high > end
        else ""
    )
    return (
        f"<g{faint}><title>{format_small(rate.rate)} ("
        f"{format_small(rate.interval.low)} to {format_small(rate.interval.high)}), "
        f"{rate.num_errors:,} of {rate.num_pairs:,} pairs</title>"
        f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{height}" '
        f'y2="{height}"/>{beyond}<circle class="observed" cx="{x(rate.rate):.1f}" '
        f'cy="{height}" r="5"/></g>'
    )


def save_groups(path: Path, found: GroupComparison) -> None:
    """Save the rates of all attributes' groups as a PNG file."""
    heights = [1.2 + 0.34 * len(each.attribute.groups) for each in found.compared]
    figure = Figure(figsize=(9, sum(heights)), dpi=150, layout="constrained")
    rows = figure.subplots(
        len(heights), 2, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for each, (left, right) in zip(found.compared, rows, strict=True):
        _draw(left, each, each.fnmr, found.fnmr, FNMR_TITLE)
        _draw(right, each, each.fmr, found.fmr, FMR_TITLE)
        right.tick_params(labelleft=False)
    figure.savefig(path, format="png")


def _draw(
    axes: Axes, each: ComparedGroups, rates: RateOfGroups, overall: float, title: str
) -> None:
    # A name is text, not a formula.
    names = [name.replace("$", r"\$") for name in each.attribute.groups]
    for group in range(len(names)):
        rate = rates.own(group)
        if rate.rate is None or rate.interval is None:
            continue
        faint = 0.4 if rate.is_small else 1.0
        ends = [rate.interval.low, rate.interval.high]
        axes.plot(ends, [group, group], color="#615e68", linewidth=1.6, alpha=faint)
        axes.plot(rate.rate, group, "o", color="#5b3fd1", alpha=faint)
    axes.axvline(overall, color="#615e68", linestyle="--", linewidth=1)
    axes.set_xlim(0, axis_end(rates, len(names), overall))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: format_rate(rate)))
    axes.set_xlabel(title)
    axes.set_title(each.attribute.name.replace("$", r"\$"), loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
