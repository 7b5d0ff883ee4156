"""The page, the table and the numbers of several models on several sets of pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from facever.results import counted
from facever.verification.evaluation import Evaluation
from facever.verification.reporting.charts.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    linear,
    nice_ticks,
    svg,
    x_axis,
)
from facever.verification.reporting.markup import (
    Setting,
    percent,
    percent_range,
    settings_list,
    table,
    whole_page,
)
from facever.verification.reporting.report_json import headline_numbers
from facever.verification.uncertainty.intervals import BootstrapIntervals
from facever.verification.uncertainty.paired import PairedComparison

LEVEL = 0.05
"""A difference is marked where its corrected p-value is not above this."""

COLUMNS = (
    "set", "model", "compared_by", "accuracy", "standard_error", "low", "high", "auc",
    "eer", "tar_at_far_0.001", "num_pairs", "num_pairs_missing", "difference",
    "difference_low", "difference_high", "p_value", "p_value_holm", "failed",
)  # fmt: skip


@dataclass(frozen=True)
class SuiteCell:
    """A model on a set.

    Attributes:
        evaluation: Its numbers; None where it was not evaluated.
        intervals: Their intervals.
        difference: The model less the baseline; None for the baseline itself, and where
            one of the two was not evaluated.
        p_value: The p-value of the difference in accuracy after Holm's correction over
            all differences of the suite.
        failed: Why it was not evaluated; empty where it was, or where nobody asked.
        way: How its embeddings were compared, such as ``PCA to 64, cosine``: alike for
            all models of a set.
    """

    evaluation: Evaluation | None = None
    intervals: BootstrapIntervals | None = None
    difference: PairedComparison | None = None
    p_value: float | None = None
    failed: str = ""
    way: str = ""

    @property
    def mark(self) -> str:
        """``+`` where it is better than the baseline beyond chance, ``-`` if worse."""
        if self.difference is None or self.p_value is None or self.p_value > LEVEL:
            return ""
        return "+" if self.difference.accuracy.value > 0 else "-"


Suite = Mapping[str, Mapping[str, SuiteCell]]
"""The cells by set and by model."""


def render_suite(
    title: str,
    suite: Suite,
    baseline: str,
    pages: Mapping[str, Mapping[str, str]],
    settings: Mapping[str, Setting],
) -> str:
    """The page as text.

    Args:
        title: Its title.
        suite: The cells; every set has the same models.
        baseline: The model that the others are compared with.
        pages: Addresses of the sets' reports relative to the page: by set and model,
            and of the comparison by ``""``.
        settings: What a reader needs to repeat the numbers.
    """
    models = list(next(iter(suite.values())))
    head = ["Accuracy", *(_linked(name, pages[name].get("")) for name in suite)]
    rows = [
        [escape(model), *(_cell(suite, name, model, pages[name]) for name in suite)]
        for model in models
    ]
    parts = [
        f"<header><h1>{escape(title)}</h1></header>",
        f'<p class="lead">{_meaning(suite, baseline)}</p>',
        table(head, rows, name="side"),
        '<p class="soft">Mean accuracy of the folds and its standard error; below it '
        "the 95% interval over draws of people, or of pairs where nobody says who is "
        f"on the photos. ▲ better, ▼ worse than {escape(baseline)} on the same pairs: "
        "p at most 0.05 by the bootstrap of differences, after Holm's correction over "
        "all of them. Bold: the highest of a set.</p>",
        _failures(suite),
        f'<h2>Intervals</h2><div class="charts">{"".join(_figures(suite))}</div>',
        _other_measures(suite),
        _differences(suite, baseline),
        settings_list(settings),
    ]
    return whole_page(title, parts)


def _meaning(suite: Suite, baseline: str) -> str:
    cells = [cell for of_set in suite.values() for cell in of_set.values()]
    num_compared = sum(cell.difference is not None for cell in cells)
    if not num_compared:
        return f"{counted(len(suite), 'set')}."
    better, worse = (sum(cell.mark == mark for cell in cells) for mark in "+-")
    return (
        f"Of {num_compared} comparisons with {escape(baseline)}, {better} are better "
        f"and {worse} worse beyond chance; {num_compared - better - worse} may differ "
        "by chance."
    )


def _failures(suite: Suite) -> str:
    items = "".join(
        f"<li><b>{escape(model)} on {escape(of_set)}:</b> {escape(cell.failed)}</li>"
        for of_set, cells in suite.items()
        for model, cell in cells.items()
        if cell.failed
    )
    return f'<h2>Failed</h2><ul class="soft">{items}</ul>' if items else ""


def _linked(text: str, address: str | None) -> str:
    name = escape(text)
    return f'<a href="{escape(address)}">{name}</a>' if address else name


def _cell(suite: Suite, of_set: str, model: str, pages: Mapping[str, str]) -> str:
    cell = suite[of_set][model]
    found = cell.evaluation
    if found is None or cell.intervals is None:
        return f'<span class="soft">{"failed" if cell.failed else "not asked"}</span>'
    number = f"{100 * found.accuracy:.2f} ± {100 * found.standard_error:.2f}"
    highest = max(
        each.evaluation.accuracy
        for each in suite[of_set].values()
        if each.evaluation is not None
    )
    if found.accuracy == highest:
        number = f"<b>{number}</b>"
    sign = {"+": " ▲", "-": " ▼", "": ""}[cell.mark]
    address = escape(pages[model])
    below = percent_range(cell.intervals.accuracy)
    if missing := found.num_missing_pairs:
        below += f"<br>{missing:,} of {len(found.pairs):,} pairs not scored"
    return (
        f'<a href="{address}">{number}</a>{sign}<br><span class="soft">{below}</span>'
    )


def _figures(suite: Suite) -> Iterator[str]:
    for name, cells in suite.items():
        yield f"<figure><h3>{escape(name)}</h3>{_intervals_svg(cells)}</figure>"


def _intervals_svg(cells: Mapping[str, SuiteCell]) -> str:
    """A line for each model: its accuracy and the interval around it."""
    bars = {
        name: (100 * cell.evaluation.accuracy, cell.intervals.accuracy)
        for name, cell in cells.items()
        if cell.evaluation is not None and cell.intervals is not None
    }
    ends = [100 * end for _, bar in bars.values() for end in (bar.low, bar.high)]
    low, high = min(ends, default=0.0), max(ends, default=100.0)
    room = 0.06 * (high - low) or 0.5
    low, high = max(0.0, low - room), min(100.0, high + room)
    x = linear(low, high, LEFT, RIGHT)
    ticks = [(x(tick), f"{tick:g} %") for tick in nice_ticks(low, high, 5)]
    parts = [x_axis(ticks, "Accuracy")]
    step = (BOTTOM - TOP) / max(1, len(cells))
    for index, name in enumerate(cells):
        at = TOP + step * (index + 0.5)
        anchor = f'x="{LEFT + 6}" y="{at - min(14, step / 3):.1f}"'
        if name not in bars:
            parts.append(f"<text {anchor}>{escape(name)}: no number</text>")
            continue
        value, bar = bars[name]
        parts.append(
            f"<text {anchor}>{escape(name)}</text>"
            f'<line class="bar" x1="{x(100 * bar.low):.1f}" '
            f'x2="{x(100 * bar.high):.1f}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<circle class="observed" cx="{x(value):.1f}" cy="{at:.1f}" r="5.5">'
            f"<title>{escape(name)}: {value:.2f} % ({percent_range(bar)})</title>"
            "</circle>"
        )
    return svg("Accuracies with intervals", parts)


def _other_measures(suite: Suite) -> str:
    head = [
        "Set and model", "Compared by", "AUC", "EER", "TAR at FAR 0.1 %", "Pairs",
        "Not scored",
    ]  # fmt: skip
    rows = []
    for of_set, cells in suite.items():
        for model, cell in cells.items():
            if (found := cell.evaluation) is None:
                continue
            tar = found.tar[-1].tar
            rows.append(
                [
                    f'{escape(of_set)}, <span class="soft">{escape(model)}</span>',
                    escape(cell.way),
                    percent(found.auc),
                    percent(found.eer),
                    "too few pairs" if tar is None else percent(tar),
                    f"{len(found.pairs):,}",
                    f"{found.num_missing_pairs:,}",
                ]
            )
    return (
        "<h2>Other measures</h2>"
        '<p class="soft lead">All models of a set are compared in one way: after a PCA '
        "only if each has enough photos for one. A pair is not scored where a photo is "
        "missing or shows no face; what becomes of it, the setting missing says.</p>"
        + table(head, rows, name="rates")
    )


def _differences(suite: Suite, baseline: str) -> str:
    head = [
        "Set and model", f"Accuracy less {escape(baseline)}'s", "95% interval",
        "Right alone", "p", "p, corrected",
    ]  # fmt: skip
    rows = []
    for of_set, cells in suite.items():
        for model, cell in cells.items():
            if (found := cell.difference) is None or cell.p_value is None:
                continue
            ends = found.accuracy.interval
            rows.append(
                [
                    f'{escape(of_set)}, <span class="soft">{escape(model)}</span>',
                    f"{100 * found.accuracy.value:+.2f} %",
                    f"{100 * ends.low:+.2f} to {100 * ends.high:+.2f} %",
                    f"{found.num_only_first:,} to {found.num_only_second:,}",
                    f"{found.accuracy.p_value:.4f}",
                    f"{cell.p_value:.4f}",
                ]
            )
    if not rows:
        return ""
    return (
        "<h2>Differences</h2>"
        '<p class="soft lead">Both models meet the same pairs and the same draws of '
        "people, so that what is hard for both cancels. Right alone: pairs that this "
        f"model alone judges right, to those that {escape(baseline)} alone does.</p>"
        + table(head, rows, name="rates")
    )


def suite_rows(suite: Suite) -> Iterator[Sequence[object]]:
    """A row for each set and model, with ``COLUMNS``; what there is not is empty."""
    for of_set, cells in suite.items():
        for model, cell in cells.items():
            row: dict[str, object] = {"set": of_set, "model": model}
            if (found := cell.evaluation) is not None and cell.intervals is not None:
                row |= {
                    "compared_by": cell.way,
                    "accuracy": found.accuracy,
                    "standard_error": found.standard_error,
                    "low": cell.intervals.accuracy.low,
                    "high": cell.intervals.accuracy.high,
                    "auc": found.auc,
                    "eer": found.eer,
                    "tar_at_far_0.001": found.tar[-1].tar,
                    "num_pairs": len(found.pairs),
                    "num_pairs_missing": found.num_missing_pairs,
                }
            if (of := cell.difference) is not None:
                row |= {
                    "difference": of.accuracy.value,
                    "difference_low": of.accuracy.interval.low,
                    "difference_high": of.accuracy.interval.high,
                    "p_value": of.accuracy.p_value,
                    "p_value_holm": cell.p_value,
                }
            row["failed"] = cell.failed
            yield [row.get(column) for column in COLUMNS]


def suite_numbers(
    title: str, suite: Suite, baseline: str, settings: Mapping[str, Setting]
) -> dict[str, Any]:
    """Every number of a suite, in plain types."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in suite_rows(suite)]
    for row in rows:
        found = suite[str(row["set"])][str(row["model"])].evaluation
        row["headline"] = None if found is None else headline_numbers(found)
    return {
        "title": title,
        "baseline": baseline,
        "level": LEVEL,
        "settings": dict(settings),
        "cells": rows,
    }


_LATEX = str.maketrans(
    {
        **{letter: "\\" + letter for letter in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
)


def latex_table(suite: Suite, baseline: str) -> str:
    """The table of accuracies for a paper; it wants the package booktabs."""
    models = list(next(iter(suite.values())))
    lines = [
        "% Accuracy in %, and its standard error. Bold: the highest. A dagger marks "
        "better,",
        "% a double dagger worse than the baseline on the same pairs "
        "(p <= 0.05, Holm).",
        rf"\begin{{tabular}}{{l{'r' * len(suite)}}}",
        r"\toprule",
        " & ".join(["Model", *(name.translate(_LATEX) for name in suite)]) + r" \\",
        r"\midrule",
    ]
    for model in models:
        name = model.translate(_LATEX) + " (baseline)" * (model == baseline)
        cells = [_latex_cell(cells, model) for cells in suite.values()]
        lines.append(" & ".join([name, *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex_cell(cells: Mapping[str, SuiteCell], model: str) -> str:
    found = cells[model].evaluation
    if found is None:
        return "--"
    number = f"{100 * found.accuracy:.2f}"
    highest = max(
        each.evaluation.accuracy for each in cells.values() if each.evaluation
    )
    if found.accuracy == highest:
        number = rf"\textbf{{{number}}}"
    sign = {"+": r"$^\dagger$", "-": r"$^\ddagger$", "": ""}[cells[model].mark]
    return rf"{number} $\pm$ {100 * found.standard_error:.2f}{sign}"
