"""The page's section on the quality of photos: error against discard curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from facever.verification.quality import MOST_DISCARDED, DiscardCurve, QualityCut
from facever.verification.reporting.charts.curves import NUM_LINE_STYLES
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
from facever.verification.reporting.markup import legend, percent, table

_SHOWN = 0.5
"""The picture shows discards of up to half of the pairs."""


@dataclass(frozen=True)
class Qualities:
    """What some qualities say of one model's errors.

    Attributes:
        model: The name of the evaluation.
        target_fmr: The false match rate that the threshold was set for, on all pairs.
        threshold: That threshold.
        curves: The curve of each quality, by its name.
        notes: What a reader must know, a line each.
    """

    model: str
    target_fmr: float
    threshold: float
    curves: Mapping[str, DiscardCurve]
    notes: tuple[str, ...] = ()


def quality_section(found: Qualities) -> str:
    """The curves in one picture, and what cut-offs of each quality buy."""
    rate = format_rate(found.target_fmr)
    head = ["Quality", "Of what could be gained", "Mean FNMR", "At best", "FNMR of all"]
    rows = [
        [
            escape(name),
            f"{100 * curve.gain:.0f} %",
            percent(curve.area),
            percent(curve.ideal_area),
            percent(float(curve.fnmr[0])),
        ]
        for name, curve in found.curves.items()
    ]
    lines = [
        (f"curve model-{index % NUM_LINE_STYLES}", name)
        for index, name in enumerate(found.curves)
    ]
    parts = [
        "<h2>Quality of photos</h2>"
        '<p class="soft lead">What becomes of the false non-match rate when photos of '
        "low quality are refused. The threshold stays at "
        f"{found.threshold:.4f}, for an FMR of {rate} over all pairs, by "
        f"{escape(found.model)}.</p>",
        *(f"<p>{text}</p>" for text in _meaning(found)),
        '<div class="charts odd"><figure><h3>FNMR of the pairs that are left, by '
        f"the share discarded</h3>{legend([*lines, ('ideal', 'at best')])}"
        f"{discard_svg(found)}</figure></div>",
        table(head, rows, name="rates"),
        '<p class="soft">Means are over discards of up to '
        f"{format_rate(MOST_DISCARDED)} of the pairs of one person. A quality that "
        "discards the wrong pairs first gains 100 % of what could be gained, one that "
        "says nothing 0 %.</p>",
    ]
    parts += [_cuts(name, curve) for name, curve in found.curves.items() if curve.cuts]
    parts += [f'<p class="soft">{escape(note)}.</p>' for note in found.notes]
    return "".join(parts)


def _meaning(found: Qualities) -> list[str]:
    name, curve = max(found.curves.items(), key=lambda item: item[1].gain)
    cut = _cut_of(curve, 0.05)
    if cut is None or curve.gain <= 0:
        return ["None of these qualities tells which pairs go wrong."]
    return [
        f"{escape(name)} says most. Refusing the {percent(cut.refused.rate)} of photos "
        f"below {cut.cutoff:.4g} changes the FNMR from "
        f"{percent(float(curve.fnmr[0]))} to {percent(cut.fnmr.rate)}."
    ]


def _cut_of(curve: DiscardCurve, share: float) -> QualityCut | None:
    """The cut-off that refuses nearest to a share of the photos."""
    return min(curve.cuts, key=lambda cut: abs(cut.refused.rate - share), default=None)


def discard_svg(found: Qualities) -> str:
    """The curve of each quality, and the best that any could be."""
    highest = max(
        float(curve.fnmr[curve.discarded <= _SHOWN].max())
        for curve in found.curves.values()
    )
    top = 1.08 * highest or 0.01
    x, y = linear(0.0, _SHOWN, LEFT, RIGHT), linear(0.0, top, BOTTOM, TOP)
    parts = [
        x_axis(
            [(x(tick), format_rate(tick)) for tick in nice_ticks(0.0, _SHOWN, 5)],
            "Pairs of one person discarded",
        ),
        y_axis(
            [(y(tick), format_rate(tick)) for tick in nice_ticks(0.0, top, 5)],
            "False non-match rate",
        ),
    ]
    first = float(next(iter(found.curves.values())).fnmr[0])
    along = np.linspace(0.0, min(first, _SHOWN), 30)
    ideal = [(x(share), y((first - share) / (1 - share))) for share in along.tolist()]
    parts.append(f'<path class="ideal" d="{path_of(ideal)}"/>')
    for index, curve in enumerate(found.curves.values()):
        shown = curve.discarded <= _SHOWN
        points: list[tuple[float, float]] = []
        for share, rate in zip(
            curve.discarded[shown].tolist(), curve.fnmr[shown].tolist(), strict=True
        ):
            if points:
                points.append((x(share), points[-1][1]))
            points.append((x(share), y(rate)))
        points.append((x(_SHOWN), points[-1][1]))
        style = f"curve model-{index % NUM_LINE_STYLES}"
        parts.append(f'<path class="{style}" d="{path_of(points)}"/>')
    return svg("False non-match rate over discarded pairs", parts)


def _cuts(name: str, curve: DiscardCurve) -> str:
    head = [f"{escape(name)} of at least", "Photos refused", "FNMR", "Errors", "FMR"]
    rows = [
        [
            f"{cut.cutoff:.4g}",
            percent(cut.refused.rate),
            percent(cut.fnmr.rate),
            f"{cut.fnmr.num_errors:,} of {cut.fnmr.num_trials:,}",
            "no pairs" if cut.fmr is None else percent(cut.fmr.rate),
        ]
        for cut in curve.cuts
    ]
    return (
        f"<details><summary>Cut-offs: {escape(name)}</summary>"
        f"{table(head, rows, name='rates')}</details>"
    )


def quality_numbers(found: Qualities | None) -> dict[str, Any] | None:
    """Every number of the section, in plain types."""
    if found is None:
        return None
    return {
        "target_fmr": found.target_fmr,
        "threshold": found.threshold,
        "most_discarded": MOST_DISCARDED,
        "curves": [
            {
                "quality": name,
                "gain": curve.gain,
                "area": curve.area,
                "ideal_area": curve.ideal_area,
                "discarded": curve.discarded.tolist(),
                "fnmr": curve.fnmr.tolist(),
                "num_photos_without": curve.num_photos_without,
                "num_pairs_left_out": curve.num_pairs_left_out,
                "cuts": [
                    {
                        "cutoff": cut.cutoff,
                        "refused": cut.refused.rate,
                        "fnmr": cut.fnmr.rate,
                        "num_false_non_matches": cut.fnmr.num_errors,
                        "num_genuine": cut.fnmr.num_trials,
                        "fmr": None if cut.fmr is None else cut.fmr.rate,
                    }
                    for cut in curve.cuts
                ],
            }
            for name, curve in found.curves.items()
        ],
        "notes": list(found.notes),
    }
