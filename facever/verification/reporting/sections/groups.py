"""The page's section on groups: rates with intervals, how far apart, and tests."""

from collections.abc import Callable
from html import escape

from facever.verification.groups.clustered_rates import ClusteredRate
from facever.verification.groups.comparison import (
    ByChance,
    ComparedGroups,
    GroupComparison,
    GroupTest,
    RateOfGroups,
)
from facever.verification.reporting.charts.groups import (
    FMR_TITLE,
    FNMR_TITLE,
    format_small,
    group_rates_svg,
)
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.markup import table

SIGNIFICANT = 0.05
_NUM_SHOWN = 4
_RATES = {"fnmr": "FNMR", "fmr": "FMR"}
_LIMITS = (
    "It shows how these photos of these people are judged at this one threshold. "
    "Another threshold, other photos or another list of pairs give other rates.",
    "It does not say why. Groups differ in more than their name: in the number, age, "
    "pose and quality of their photos, and in how the list's pairs were drawn.",
    "A difference that is not found may still be there: the intervals say how large "
    "it can be. The largest over the smallest rate, the Gini coefficient and GARBE "
    "grow by chance alone where groups are small; what chance gives stands beside.",
    "Pairs of two people within one group are the hardest ones as a rule. Where "
    "people of all groups meet, the rates across groups count as well.",
    "The groups are those of the file. Where labels are wrong, groups look more alike "
    "than they are.",
)


def groups_section(found: GroupComparison) -> str:
    """The section: for each attribute charts, rates, differentials and tests."""
    lead = (
        f"One threshold for all: {found.threshold:.4f}, which accepts "
        f"{format_small(found.fmr)} of all impostor pairs (asked for: at most "
        f"{format_rate(found.target_far)}), by {escape(found.model)}. The false match "
        "rate (FMR) is the share of impostor pairs that are accepted, the false "
        "non-match rate (FNMR) the share of genuine pairs that are not; a pair without "
        "a photo is in neither. Bars are 95% intervals that know that pairs of one "
        "person are judged alike; the upright line is the rate of all pairs. Faint "
        "bars rest on too little to say anything."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    limits = "".join(f"<li>{text}</li>" for text in _LIMITS)
    return (
        f'<h2>Groups</h2><p class="soft lead">{lead}</p>'
        + "".join(_attribute(found, each) for each in found.compared)
        + '<h3 style="margin-top:24px">What such a table shows, and what not</h3>'
        f'<ul class="soft lead">{limits}</ul>'
        f'<ul class="soft lead">{notes}</ul>'
    )


def describe_groups(each: ComparedGroups) -> str:
    """In a sentence, what an attribute's groups have in common or not, as text."""
    tests = sorted(each.tests, key=lambda test: test.corrected)
    differing = [test for test in tests if test.corrected < SIGNIFICANT]
    if not tests:
        return "no two groups have pairs that could be compared"
    if not differing:
        return (
            f"none of {len(tests):,} comparisons of two groups shows more than chance "
            f"(least corrected p = {_p_value(tests[0].corrected)})"
        )
    shown = "; ".join(map(_describe_test, differing[:_NUM_SHOWN]))
    rest = f" and {len(differing) - _NUM_SHOWN:,} more" * (len(differing) > _NUM_SHOWN)
    return (
        f"{len(differing):,} of {len(tests):,} comparisons of two groups show more "
        f"than chance: {shown}{rest}"
    )


def small_groups(each: ComparedGroups) -> str:
    """Which rates rest on too little to say anything, as text; empty if none do."""
    parts = []
    for kind, name in _RATES.items():
        rates: RateOfGroups = getattr(each, kind)
        small = [
            group
            for place, group in enumerate(each.attribute.groups)
            if rates.own(place).is_small
        ]
        if len(small) == len(each.attribute.groups):
            parts.append(f"{name} of all groups")
        elif small:
            parts.append(f"{name} of {', '.join(small)}")
    return "; ".join(parts)


def _describe_test(test: GroupTest) -> str:
    which = "higher" if test.difference > 0 else "lower"
    return (
        f"{_RATES[test.rate]} of {test.first} {which} than of {test.second} by "
        f"{format_small(abs(test.difference))} (corrected p = "
        f"{_p_value(test.corrected)})"
    )


def _attribute(found: GroupComparison, each: ComparedGroups) -> str:
    names = each.attribute.groups
    said = describe_groups(each)
    parts = [
        f'<h3 style="margin-top:24px">{escape(each.attribute.name)}</h3>'
        f"<p>{escape(said[0].upper() + said[1:])}.</p>"
    ]
    if small := small_groups(each):
        parts.append(
            f"<p><b>Too little to say anything:</b> {escape(small)}. Fewer than ten "
            "people, or so few pairs that fewer than three errors are expected: even "
            "none at all would not show a lower rate than that of all.</p>"
        )
    parts.append(
        '<div class="charts">'
        f"<figure><h3>{FNMR_TITLE}</h3>"
        f"{group_rates_svg(FNMR_TITLE, names, each.fnmr, found.fnmr)}</figure>"
        f"<figure><h3>{FMR_TITLE}</h3>"
        f"{group_rates_svg(FMR_TITLE, names, each.fmr, found.fmr)}</figure></div>"
        + _rates_table(each)
        + _differentials_table(each)
        + _across(each)
        + _tests(each)
    )
    return "".join(parts)


def _rates_table(each: ComparedGroups) -> str:
    head = ["", "FNMR", "FMR"]
    head += ["People"] * (each.num_people is not None)
    head += ["Photos missing"] * any(each.num_missing)
    rows = []
    for group, name in enumerate(each.attribute.groups):
        row = [escape(name), _cell(each.fnmr.own(group)), _cell(each.fmr.own(group))]
        if each.num_people is not None:
            row.append(f"{each.num_people[group]:,}")
        if any(each.num_missing):
            missing, photos = each.num_missing[group], each.attribute.num_photos[group]
            row.append(f"{missing:,} of {photos:,}")
        rows.append(row)
    said = []
    if each.attribute.num_without:
        said.append(
            f"{each.attribute.num_without:,} photos of the pairs have no group."
        )
    if each.num_in_several:
        said.append(f"{each.num_in_several:,} people have photos in several groups.")
    if each.num_people is None:
        said.append(
            "The photos' names do not say who is on them, so pairs are taken for "
            "independent; intervals and p-values are too small where they share people."
        )
    how = "The 95% interval and the number of errors stand below each rate."
    return table(head, rows, name="groups") + (
        f'<p class="soft">{" ".join([how, *said])}</p>'
    )


def _differentials_table(each: ComparedGroups) -> str:
    head = [
        "", "Largest / smallest", "Largest / geometric mean", "Gini", "Gini by chance",
    ]  # fmt: skip
    rows = []
    for kind, name in _RATES.items():
        rates: RateOfGroups = getattr(each, kind)
        apart = rates.differentials
        rows.append(
            [
                name,
                _number(apart.largest_over_smallest),
                _number(apart.largest_over_mean),
                _number(apart.gini),
                _chance(rates.gini_by_chance),
            ]
        )
    rows.append(
        ["Both: GARBE", "", "", _number(each.garbe), _chance(each.garbe_by_chance)]
    )
    return table(head, rows, name="differentials") + (
        '<p class="soft">0 in the Gini coefficient is all alike, 1 all errors in one '
        "group. GARBE is the mean of both rates' coefficients. By chance: if the "
        "people were dealt into groups of these sizes at random, half of the deals "
        "would give less than the first number, 95% less than the second. A ratio "
        "needs an error in every group.</p>"
    )


def _across(each: ComparedGroups) -> str:
    """The rates of every two groups, of both kinds, where there are pairs for them."""
    parts = [
        _matrix(each, name, getattr(each, kind))
        for kind, name in _RATES.items()
        if any(
            rate.num_pairs
            for (first, second), rate in getattr(each, kind).of.items()
            if first != second
        )
    ]
    if not parts:
        return ""
    return (
        "<details><summary>Rates across groups</summary>"
        '<p class="soft" style="margin-top:10px">One photo of the row\'s group, one of '
        "the column's, with the 95% interval and the number of errors.</p>"
        f"{''.join(parts)}</details>"
    )


def _matrix(each: ComparedGroups, name: str, rates: RateOfGroups) -> str:
    names = each.attribute.groups
    rows = [
        [
            escape(row),
            *(
                _cell(rates.of[min(one, other), max(one, other)])
                for other in range(len(names))
            ),
        ]
        for one, row in enumerate(names)
    ]
    return table([name, *map(escape, names)], rows, name="across")


def _tests(each: ComparedGroups) -> str:
    tests = sorted(each.tests, key=lambda test: (test.corrected, test.p_value))
    if not tests:
        return ""
    head = ["", "Rate", "Difference", "p", "Corrected p"]
    rows = [
        [
            f"{escape(test.first)} less {escape(test.second)}",
            _RATES[test.rate],
            f"{'-' * (test.difference < 0)}{format_small(abs(test.difference))}",
            _p_value(test.p_value),
            _p_value(test.corrected),
        ]
        for test in tests
    ]
    return (
        f"<details><summary>All {len(tests):,} comparisons of two groups</summary>"
        + table(head, rows, name="tests")
        + f'<p class="soft">p: the share of {each.num_deals:,} deals of the people of '
        "both groups that give as large a difference. Corrected: by Holm, for all "
        "comparisons of this attribute.</p></details>"
    )


def _known(show: Callable[[float], str], value: float | None) -> str:
    return '<span class="soft">none</span>' if value is None else show(value)


def _number(value: float | None) -> str:
    return _known(lambda number: f"{number:.2f}", value)


def _chance(chance: ByChance | None) -> str:
    if chance is None:
        return _known(str, None)
    return f"{chance.median:.2f} to {chance.high:.2f}"


def _cell(rate: ClusteredRate) -> str:
    """The rate, its interval and its errors."""
    if rate.rate is None or rate.interval is None:
        return _known(format_small, None)
    low, high = format_small(rate.interval.low), format_small(rate.interval.high)
    return (
        f'{format_small(rate.rate)}<br><small class="soft">{low[:-2]} to {high}<br>'
        f"{rate.num_errors:,} of {rate.num_pairs:,}</small>"
    )


def _p_value(chance: float) -> str:
    return f"{chance:.4f}" if chance >= 1e-4 else f"{chance:.0e}"
