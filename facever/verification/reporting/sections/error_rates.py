"""The page's section on error rates by the terms of ISO/IEC 19795-1."""

from collections.abc import Mapping
from html import escape

from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.markup import percent, percent_range, table
from facever.verification.uncertainty.error_rates import (
    CountedRate,
    ErrorRates,
    ErrorsAtFmr,
    rule_of_three,
)


def error_rates_section(
    rates: Mapping[str, ErrorRates | None],
    compared: str = "photo",
    interval: str = "",
) -> str:
    """A table of FMR and FNMR, one row for each model and target, and what it says.

    Args:
        rates: The rates of each model, by its name; None where there are none.
        compared: What the pairs are of, in the singular.
        interval: What the intervals are, where nobody is drawn for them.
    """
    parts = [
        "<h2>Error rates</h2>"
        '<p class="soft lead">In the terms of ISO/IEC 19795-1. The false match rate '
        "(FMR) and the false non-match rate (FNMR) are of pairs that could be "
        f"compared. The false reject rate (FRR) also counts pairs with a {compared} "
        "that gave no embedding.</p>"
    ]
    measured = {name: found for name, found in rates.items() if found}
    if not measured:
        return parts[0] + "<p>Too few pairs could be compared.</p>"
    [(name, first), *_] = measured.items()
    if first.at_fmr:
        whose = f"{escape(name)}: " if len(rates) > 1 else ""
        parts.append(f"<p>{whose}{_meaning(first.at_fmr[-1])}</p>")
    whom = "pairs" if first.num_identities is None else "people"
    head = [
        "", "FMR at most", "Threshold", "False matches", "FNMR",
        interval or f"95% interval, {whom} drawn", "False non-matches", "FRR",
    ]  # fmt: skip
    rows = [
        [
            escape(name),
            format_rate(errors.target_fmr),
            f"{errors.threshold:.4f}",
            _count(errors.fmr),
            percent(errors.fnmr.rate),
            percent_range(errors.fnmr_interval),
            _count(errors.fnmr),
            percent(errors.frr.rate),
        ]
        for name, found in measured.items()
        for errors in found.at_fmr
    ]
    if rows:
        parts.append(table(head, rows, name="rates"))
    parts.append(f'<p class="soft">{_limits(first)}</p>')
    parts += [
        f'<p class="soft">{escape(name)}: '
        f"{_count(found.failure_to_acquire)} {compared}s gave no embedding (failure to "
        f"acquire, {percent(found.failure_to_acquire.rate)}).</p>"
        for name, found in measured.items()
        if found.failure_to_acquire.num_errors
    ]
    return "".join(parts)


def _meaning(errors: ErrorsAtFmr) -> str:
    refused = round(1000 * errors.fnmr.rate)
    return (
        "With a threshold that takes at most "
        f"{_one_in(errors.target_fmr)} pairs of strangers for one person, about "
        f"{refused} of 1,000 pairs of one person are not recognised."
    )


def _one_in(rate: float) -> str:
    return f"1 in {round(1 / rate):,}"


def _limits(found: ErrorRates) -> str:
    """What the number of impostor pairs can say, and what it cannot."""
    num_impostor = found.roc.num_impostor
    text = (
        f"What {num_impostor:,} impostor pairs can show: without any false match, an "
        f"FMR below {format_rate(float(f'{found.smallest_fmr:.2g}'))} (rule of three, "
        "95 % confidence)"
    )
    if found.smallest_exact_fmr <= 1:
        text += (
            "; an FMR to within 30 % of itself from "
            f"{format_rate(float(f'{found.smallest_exact_fmr:.2g}'))} on (rule of 30, "
            "90 % confidence)"
        )
    text += ". Pairs that share people say less."
    return text + "".join(f" {escape(note)}." for note in found.notes)


def _count(rate: CountedRate) -> str:
    counted = f"{rate.num_errors:,} of {rate.num_trials:,}"
    if rate.num_errors:
        return counted
    most = float(f"{rule_of_three(rate.num_trials):.2g}")
    return f"{counted}, below {format_rate(most)}"
