"""Axes and paths of inline SVG, styled by the page's CSS."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby

LEFT, RIGHT, TOP, BOTTOM = 60.0, 466.0, 14.0, 280.0
_WIDTH, _HEIGHT = 480, 330

Scale = Callable[[float], float]


def nice_ticks(low: float, high: float, at_most: int) -> list[float]:
    """Round numbers in [low, high]."""
    raw = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def linear(low: float, high: float, at_low: float, at_high: float) -> Scale:
    """The function whose graph is the straight line through two points."""
    return lambda value: at_low + (value - low) / (high - low) * (at_high - at_low)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """The attribute ``d`` of a path with straight lines from point to point.

    A point that is written as the one before is left out: a curve of millions of pairs
    has tens of thousands.
    """
    texts = (f"{x:.1f},{y:.1f}" for x, y in points)
    return "M" + "L".join(text for text, _ in groupby(texts))


def x_axis(ticks: Sequence[tuple[float, str]], title: str) -> str:
    """The lower axis; a tick is a place and a text."""
    marks = "".join(
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
        f'<text x="{x:.1f}" y="{BOTTOM + 18}" '
        f'text-anchor="{"end" if x > RIGHT - 8 else "middle"}">{text}</text>'
        for x, text in ticks
    )
    middle = (LEFT + RIGHT) / 2
    return (
        f'{marks}<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" '
        f'y2="{BOTTOM}"/><text class="title" x="{middle}" y="{BOTTOM + 40}" '
        f'text-anchor="middle">{title}</text>'
    )


def y_axis(ticks: Sequence[tuple[float, str]], title: str) -> str:
    """The left axis; a tick is a place and a text."""
    marks = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        for y, text in ticks
    )
    return f"<g><title>{title}</title>{marks}</g>"


def svg(label: str, parts: Sequence[str]) -> str:
    """A drawing made of ready parts."""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def format_rate(rate: float) -> str:
    """A share as a percentage without needless zeros: ``0.1 %``.

    >>> format_rate(0.5), format_rate(1e-7)
    ('50 %', '0.00001 %')
    """
    digits = f"{float(f'{100 * rate:.6g}'):.12f}"
    return f"{digits.rstrip('0').rstrip('.')} %"
