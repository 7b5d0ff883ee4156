"""Tables of a report's page: error bars, and the numbers under other rules."""

from collections.abc import Mapping
from html import escape

from facever.verification.error_bars import accuracy_interval
from facever.verification.evaluation import Evaluation
from facever.verification.figures import format_rate
from facever.verification.intervals import BootstrapIntervals, Interval
from facever.verification.markup import table
from facever.verification.rule_judging import MISSING_RULE, RuleResult


def error_bars(
    name: str,
    evaluation: Evaluation,
    bootstrap: BootstrapIntervals | None,
    alone: bool,
) -> str:
    """Confidence intervals of one model."""
    wilson = accuracy_interval(evaluation)
    head = ["", "Value", f"{wilson.level:.0%} interval, pairs independent"]
    rows = [["Accuracy", _percent(evaluation.accuracy), _range(wilson)]]
    note = "Who is on the photos is not known, so people cannot be drawn."
    if bootstrap:
        head.append(f"{wilson.level:.0%} interval, people drawn")
        rows[0].append(_range(bootstrap.accuracy))
        rows.append(["AUC", _percent(evaluation.auc), "", _range(bootstrap.auc)])
        for answer, interval in zip(evaluation.tar, bootstrap.tar, strict=True):
            if answer.tar is not None and interval is not None:
                label = f"TAR at FAR {format_rate(answer.target_far)}"
                rows.append([label, _percent(answer.tar), "", _range(interval)])
        note = (
            f"People drawn: {bootstrap.num_draws:,} bootstrap draws of the "
            f"{bootstrap.num_identities:,} people, seed {bootstrap.seed}. Pairs of one "
            "person are judged alike, which independent pairs overlook; where "
            "impostor pairs hardly share people, as in LFW, these intervals are rather "
            "too wide. Thresholds, PCA and training stay as they are."
        )
    whose = "" if alone else f'<span class="soft">: {escape(name)}</span>'
    return (
        f"<h2>Error bars{whose}</h2>{table(head, rows, name='bars')}"
        f'<p class="soft">{note}</p>'
    )


def other_rules(rules: Mapping[str, RuleResult]) -> str:
    """The same embeddings as other projects would judge them."""
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


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"
