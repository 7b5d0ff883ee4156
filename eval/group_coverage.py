"""How often intervals of groups' error rates hold the truth, and tests find nothing.

    python eval/group_coverage.py

Draws 1,000 data sets of each setting with known error rates, takes the 95% intervals
of ``facever.verification.groups`` and, beside them, Wilson's for independent pairs and
the percentiles of a bootstrap that draws people; then data sets in which two groups
differ in nothing or in all but their rates, and the share of p-values up to 0.05. A few
minutes on one core.

The people of a group have traits. In a *normal* setting a pair's score is the sum of
its people's traits and noise, and an error lies beyond the threshold that gives the
rate; ``shared`` is the share of the variance that comes from the traits. In a *beta*
setting each person has an error rate of his own, from a beta distribution, which is not
what the intervals' common correlation supposes.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest, norm

from facever.environment import describe_machine, describe_versions
from facever.progress import progress_bar
from facever.verification.groups.clustered_rates import (
    PairSums,
    clustered_rates,
    effective_wilson,
)
from facever.verification.groups.deals import (
    MemberPairs,
    Members,
    compare_two_groups,
)

_EQUAL = ((0.03,) * 4, (0.01,) * 4, (0.001,) * 4)
_UNEQUAL = ((0.2, 0.1, 0.05, 0.02), (0.02, 0.05, 0.1, 0.2))
# It takes more time than all else, and its faults are large.
_SETS_A_BOOTSTRAP, _BOOTSTRAP_DRAWS = 5, 200


@dataclass(frozen=True)
class Setting:
    """How data sets of four groups are drawn.

    Attributes:
        kind: ``genuine`` or ``impostor`` pairs.
        pairs: Pairs of a person: ``few``, ``many`` or, of impostors, ``all``.
        rates: The true error rate of each group.
        model: ``normal`` or ``beta``.
        shared: How alike a person's pairs are judged in each group: the traits' share
            of the variance, or the correlation of two errors.
    """

    kind: str
    pairs: str
    rates: tuple[float, ...]
    model: str
    shared: tuple[float, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of people in each group."""
        return (10, 30, 60, 100) if self.pairs == "all" else (10, 30, 100, 300)


def settings() -> Iterator[Setting]:
    """Every setting."""
    for kind, pairs in (
        ("genuine", "few"),
        ("genuine", "many"),
        ("impostor", "few"),
        ("impostor", "many"),
        ("impostor", "all"),
    ):
        for rates in (*_EQUAL, *_UNEQUAL):
            yield Setting(kind, pairs, rates, "normal", (0.3,) * 4)
        yield Setting(kind, pairs, (0.05,) * 4, "normal", (0.0,) * 4)
        for shared in ((0.4, 0.2, 0.2, 0.4), (0.2, 0.4, 0.4, 0.2)):
            yield Setting(kind, pairs, (0.1,) * 4, "normal", shared)
        if kind == "genuine":
            for rates in (*_EQUAL, *_UNEQUAL):
                yield Setting(kind, pairs, rates, "beta", (0.15,) * 4)


def list_pairs(
    kind: str, pairs: str, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Who is on the pairs of a group."""
    if kind == "genuine":
        counts = (
            rng.geometric(0.4, size) if pairs == "few" else rng.integers(1, 40, size)
        )
        people = np.arange(size).repeat(counts)
        return people, people
    if pairs == "all":
        first, second = np.triu_indices(size, 1)
        return first, second
    first = np.arange(size).repeat(1 if pairs == "few" else 5)
    return first, (first + rng.integers(1, size, first.size)) % size


def draw_errors(
    model: str,
    shared: float,
    rate: float,
    left: np.ndarray,
    right: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which pairs are errors."""
    people = int(max(left.max(), right.max())) + 1
    if model == "beta":
        total = 1 / shared - 1
        own = rng.beta(rate * total, (1 - rate) * total, people)
        return rng.random(left.size) < own[left]
    trait = rng.normal(size=people)
    both = trait[left] if left is right else (trait[left] + trait[right]) / np.sqrt(2)
    scores = np.sqrt(shared) * both + np.sqrt(1 - shared) * rng.normal(size=left.size)
    return scores > norm.isf(rate)


def bootstrap_ends(
    wrong: np.ndarray, left: np.ndarray, right: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """The percentiles of the rate over draws of people."""
    people = int(max(left.max(), right.max())) + 1
    drawn = rng.multinomial(people, np.full(people, 1 / people), _BOOTSTRAP_DRAWS)
    if left is right:
        totals = drawn @ np.bincount(left, minlength=people)
        errors = drawn @ np.bincount(left, wrong, people)
    else:
        weights = drawn[:, left] * drawn[:, right]
        totals, errors = weights.sum(axis=1), weights[:, wrong].sum(axis=1)
    rates = errors[totals > 0] / totals[totals > 0]
    low, high = np.quantile(rates, [0.025, 0.975]).tolist()
    return low, high


def measure_intervals(setting: Setting, num_sets: int, seed: int) -> dict[str, Any]:
    """The share of data sets in which each kind of interval holds each group's rate."""
    rng = np.random.default_rng(seed)
    listed = [
        list_pairs(setting.kind, setting.pairs, size, rng) for size in setting.sizes
    ]
    held = {name: np.zeros(4) for name in ("groups", "independent", "bootstrap")}
    width, small = np.zeros(4), np.zeros(4)
    for number in range(num_sets):
        errors = [
            draw_errors(setting.model, shared, rate, left, right, rng)
            for (left, right), rate, shared in zip(
                listed, setting.rates, setting.shared, strict=True
            )
        ]
        sums = [
            PairSums.of(wrong, *pairs)
            for wrong, pairs in zip(errors, listed, strict=True)
        ]
        for group, found in enumerate(clustered_rates(sums)):
            rate, interval = found.rate, found.interval
            assert rate is not None
            assert interval is not None
            plain = effective_wilson(rate, float(found.num_pairs), 0.95)
            ends = {
                "groups": (interval.low, interval.high),
                "independent": (plain.low, plain.high),
            }
            if number < num_sets // _SETS_A_BOOTSTRAP:
                drawn = bootstrap_ends(errors[group], *listed[group], rng)
                ends["bootstrap"] = drawn
            for name, (low, high) in ends.items():
                held[name][group] += low <= setting.rates[group] <= high
            width[group] += interval.high - interval.low
            small[group] += found.is_small
    return {
        **asdict(setting),
        "groups": [
            {
                "num_people": setting.sizes[group],
                "num_pairs": len(listed[group][0]),
                "rate": setting.rates[group],
                "expected_errors": setting.rates[group] * len(listed[group][0]),
                "called_too_small": small[group] / num_sets,
                "mean_width": width[group] / num_sets,
                "coverage": held["groups"][group] / num_sets,
                "coverage_of_wilson_for_independent_pairs": held["independent"][group]
                / num_sets,
                "coverage_of_bootstrap_of_people": held["bootstrap"][group]
                / (num_sets // _SETS_A_BOOTSTRAP),
            }
            for group in range(4)
        ],
    }


TESTS = {
    "people dealt at random": {"sizes": (30, 30), "shared": (0.3, 0.3)},
    "unequal sizes": {"sizes": (10, 90), "shared": (0.3, 0.3)},
    "unequal sizes, unlike people": {"sizes": (20, 60), "shared": (0.5, 0.1)},
}


def measure_tests(
    name: str, kind: str, across: bool, num_sets: int, seed: int
) -> dict[str, Any]:
    """P-values of two groups of one rate.

    Args:
        name: The row of ``TESTS``.
        kind: ``genuine`` or ``impostor`` pairs.
        across: Whether there are impostor pairs of both groups; else all are within
            one, as in RFW's lists.
        num_sets: Number of data sets.
        seed: Seed of all draws.
    """
    rng = np.random.default_rng(seed)
    sizes, shared = TESTS[name]["sizes"], TESTS[name]["shared"]
    people = sum(sizes)
    group = np.arange(2).repeat(sizes)
    variance = np.array(shared)[group]
    p_values = []
    for number in range(num_sets):
        left = right = np.arange(people).repeat(6)
        if kind == "impostor" and across:
            right = (left + rng.integers(1, people, left.size)) % people
        elif kind == "impostor":
            size, start = np.array(sizes)[group[left]], (group[left] == 1) * sizes[0]
            right = start + (left - start + rng.integers(1, size)) % size
        trait = rng.normal(size=people) * np.sqrt(variance)
        both = (
            trait[left] if kind == "genuine" else (trait[left] + trait[right]) / 2**0.5
        )
        noise = 1 - (variance[left] + variance[right]) / 2
        scores = both + np.sqrt(noise) * rng.normal(size=left.size)
        pairs = MemberPairs.of(scores > norm.isf(0.1), left, right, people)
        test = compare_two_groups(Members(np.arange(people), group), pairs, 199, number)
        # A group may have no pair within it, or too few in most deals.
        if test is not None:
            p_values.append(test.p_value)
    found = np.array(p_values)
    return {
        "setting": name,
        "kind": kind,
        "pairs": "across and within groups" if across else "within groups alone",
        **{key: list(value) for key, value in TESTS[name].items()},
        "num_tests": len(p_values),
        "share_up_to_0.05": float(np.mean(found <= 0.05)) if p_values else None,
        "kolmogorov_smirnov_p": (
            float(kstest(found, "uniform").pvalue) if p_values else None
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/group-coverage.json")
    )
    options = parser.parse_args()

    every = list(settings())
    tried = [
        (name, kind, across)
        for name in TESTS
        for kind, across in (
            ("genuine", False),
            ("impostor", True),
            ("impostor", False),
        )
    ]
    with progress_bar("settings", len(every) + len(tried), "settings") as advance:
        intervals, tests = [], []
        for number, setting in enumerate(every):
            intervals.append(measure_intervals(setting, options.sets, number))
            advance()
        for number, (name, kind, across) in enumerate(tried):
            tests.append(measure_tests(name, kind, across, options.sets, number))
            advance()
    table = {
        "sets_of_each_setting": options.sets,
        "level": 0.95,
        "summary": _summary(intervals),
        "intervals": intervals,
        "tests": tests,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    for line in table["summary"]:
        print(line)
    for test in tests:
        print(test["setting"], test["kind"], test["pairs"], test["share_up_to_0.05"])


def _summary(intervals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many groups are covered in 93 to 97% of the sets, by what they have."""

    def is_alike(setting: dict[str, Any]) -> bool:
        return setting["model"] == "normal" and len(set(setting["shared"])) == 1

    lines = []
    for what, alike, least, most in (
        ("groups alike in dependence, 3 errors or more", True, 3, np.inf),
        ("groups alike in dependence, fewer than 3 errors", True, 0, 3),
        ("unlike in dependence, or beta; 3 errors or more", False, 3, np.inf),
        ("unlike in dependence, or beta; fewer than 3 errors", False, 0, 3),
    ):
        groups = [
            group
            for setting in intervals
            if is_alike(setting) == alike
            for group in setting["groups"]
            if least <= group["expected_errors"] < most
        ]
        line: dict[str, Any] = {"groups": what, "num_groups": len(groups)}
        for name in (
            "coverage",
            "coverage_of_wilson_for_independent_pairs",
            "coverage_of_bootstrap_of_people",
        ):
            found = np.array([group[name] for group in groups])
            line[name] = {
                "lowest": float(found.min()),
                "highest": float(found.max()),
                "share_below_0.93": float(np.mean(found < 0.93)),
                "share_above_0.97": float(np.mean(found > 0.97)),
            }
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
