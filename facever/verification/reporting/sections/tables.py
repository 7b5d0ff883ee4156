"""Sections of a page that are tables: error bars, differences, other rules, frames."""

from collections.abc import Iterator, Mapping
from html import escape

from facever.verification.evaluation import Evaluation
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.markup import percent, percent_range, table
from facever.verification.rules import MISSING_RULE, RuleResult
from facever.verification.uncertainty.error_bars import accuracy_interval
from facever.verification.uncertainty.intervals import BootstrapIntervals, Interval
from facever.verification.uncertainty.paired import Difference, PairedComparison

_NUM_VIDEOS = 20


def error_bars(
    evaluations: Mapping[str, Evaluation],
    bootstraps: Mapping[str, BootstrapIntervals],
) -> str:
    """The section with the confidence intervals of all models, in one table."""
    alone = len(evaluations) == 1
    head = ["" if alone else "Measure and model", "Value"]
    drawn = next(iter(bootstraps.values()), None)
    if drawn:
        what = "pairs" if drawn.num_identities is None else "people"
        head.append(f"{drawn.accuracy.level:.0%} interval, {what} drawn")
    head.append("95% interval, pairs independent")
    rows_of: dict[str, list[list[str]]] = {}
    for name, evaluation in evaluations.items():
        bars = _bars(evaluation, bootstraps.get(name), bool(drawn))
        for measure, *cells in bars:
            whose = "" if alone else f', <span class="soft">{escape(name)}</span>'
            rows_of.setdefault(measure, []).append([measure + whose, *cells])
    rows = [row for of_measure in rows_of.values() for row in of_measure]
    note = ""
    if drawn:
        note = _how_drawn(drawn) + " Thresholds, PCA and training stay as they are."
    return f"<h2>Error bars</h2>{table(head, rows, name='bars')}" + (
        f'<p class="soft">{note}</p>' if note else ""
    )


def _bars(
    evaluation: Evaluation, drawn: BootstrapIntervals | None, with_drawn: bool
) -> Iterator[list[str]]:
    """Measure, value, the interval by draws where there are any, Wilson's."""
    wilson = percent_range(accuracy_interval(evaluation))

    def between(interval: Interval) -> list[str]:
        return [percent_range(interval)] if with_drawn else []

    accuracy = between(drawn.accuracy) if drawn else [""] * with_drawn
    yield ["Accuracy", percent(evaluation.accuracy), *accuracy, wilson]
    if drawn is None:
        return
    yield ["AUC", percent(evaluation.auc), *between(drawn.auc), ""]
    for answer, interval in zip(evaluation.tar, drawn.tar, strict=True):
        if answer.tar is not None and interval is not None:
            label = f"TAR at FAR {format_rate(answer.target_far)}"
            yield [label, percent(answer.tar), *between(interval), ""]


def differences(found: Mapping[tuple[str, str], PairedComparison]) -> str:
    """The section with the differences of every two models."""
    first = next(iter(found.values()))
    level = f"{first.accuracy.interval.level:.0%} interval"
    head = [
        "", "Right alone", "McNemar's p", "Accuracy", level, "p", "AUC", level, "p",
    ]  # fmt: skip
    rows = [
        [
            f"{escape(one)} less {escape(other)}",
            f"{comparison.num_only_first:,} to {comparison.num_only_second:,}",
            _p_value(comparison.mcnemar_p_value),
            *_difference(comparison.accuracy),
            *_difference(comparison.auc),
        ]
        for (one, other), comparison in found.items()
    ]
    return (
        "<h2>Differences</h2>"
        '<p class="soft lead">On the same pairs. McNemar\'s exact test looks at the '
        "pairs that one model alone judges right, and takes pairs for independent.</p>"
        + table(head, rows, name="differences")
        + f'<p class="soft">Intervals and their p: {_how_drawn(first)}</p>'
    )


def other_rules(rules: Mapping[str, RuleResult]) -> str:
    """The section with the same embeddings under other projects' rules."""
    head = ["Rule", "Accuracy", "Printed spread", "How"]
    rows = [
        [
            escape(name) + (" (biased)" if result.rule.biased else ""),
            f"{100 * result.accuracy:.3f} %",
            "none"
            if result.spread is None
            else f"± {100 * result.spread:.3f}, {result.rule.spread_kind}",
            escape(result.rule.description),
        ]
        for name, result in rules.items()
    ]
    return (
        "<h2>Under other rules</h2>"
        '<p class="soft lead">The same embeddings, without a PCA, judged as other '
        "projects' published code judges. A biased rule chooses its threshold on the "
        f"pairs that it tests. Missing photos: {MISSING_RULE}.</p>"
        + table(head, rows, name="rules")
    )


def failed_frames(counts: FrameCounts) -> str:
    """The section with the videos of which frames give no face, the worst first."""
    worst = counts.worst_first()
    num_failed, num_taken = int(counts.num_failed.sum()), int(counts.num_taken.sum())
    lead = (
        f"{num_taken:,} frames taken of {int(counts.num_found.sum()):,}, in "
        f"{len(counts.videos):,} videos. "
    )
    lead += (
        f"{num_failed:,} give no face ({num_failed / num_taken:.2%}) and were left "
        f"out, in {len(worst):,} videos"
        if worst
        else "Each gives a face"
    )
    lead += f". Videos without a frame left: {counts.num_videos_lost:,}."
    rows = [
        [
            escape(counts.videos[place]),
            f"{counts.num_failed[place]:,}",
            f"{counts.num_taken[place]:,}",
            f"{counts.num_failed[place] / counts.num_taken[place]:.1%}",
        ]
        for place in worst
    ]
    head = ["Video", "Frames without a face", "Taken", "Share"]
    parts = ["<h2>Frames</h2>", f'<p class="soft lead">{lead}</p>']
    if rows:
        parts.append(table(head, rows[:_NUM_VIDEOS], name="frames"))
    if rest := rows[_NUM_VIDEOS:]:
        parts.append(
            f"<details><summary>{len(rest):,} more</summary>"
            f"{table(head, rest, name='frames')}</details>"
        )
    return "".join(parts)


def _how_drawn(found: BootstrapIntervals | PairedComparison) -> str:
    draws = f"{found.num_draws:,} bootstrap draws"
    if found.num_identities is None:
        return (
            f"{draws} of the pairs of each kind, seed {found.seed}, for the photos' "
            "names do not say who is on them. Pairs that share a person are taken "
            "for independent, so where there are many the intervals are too narrow."
        )
    return (
        f"{draws} of the {found.num_identities:,} people, seed {found.seed}. Pairs of "
        "one person are judged alike, which independent pairs overlook; where impostor "
        "pairs hardly share people, as in LFW, these intervals are somewhat too wide."
    )


def _difference(difference: Difference) -> list[str]:
    ends = difference.interval.low, difference.interval.high
    low, high = (f"{100 * end:+.2f}" for end in ends)
    return [
        f"{100 * difference.value:+.2f} %",
        f"{low} to {high} %",
        _p_value(difference.p_value),
    ]


def _p_value(chance: float) -> str:
    return f"{chance:.4f}" if chance >= 1e-4 else f"{chance:.0e}"
