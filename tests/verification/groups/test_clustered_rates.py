from itertools import product
from math import exp
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from facever.errors import ParameterError
from facever.verification.groups.clustered_rates import (
    PairSums,
    clustered_rates,
    common_correlation,
    effective_wilson,
)
from facever.verification.uncertainty.intervals import wilson

quickly = settings(max_examples=60, deadline=None)


def draw_pairs(seed: int, people: int = 5):
    """Pairs of few people, many of them repeated, genuine and impostor ones mixed."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 30))
    left, right = rng.integers(people, size=(2, size))
    return rng.random(size) < rng.choice([0.1, 0.5, 1.0]), left, right


def slow_sums(wrong, left, right) -> tuple[int, float]:
    """Couples of pairs that share a person, and the sum of their residuals' product."""
    mean = sum(map(bool, wrong)) / len(wrong)
    number, total = 0, 0.0
    for one, other in product(range(len(wrong)), repeat=2):
        if one != other and {left[one], right[one]} & {left[other], right[other]}:
            number += 1
            total += (wrong[one] - mean) * (wrong[other] - mean)
    return number, total


@quickly
@given(st.integers(0, 100_000))
def test_sums_are_those_of_all_couples_of_pairs(seed: int) -> None:
    wrong, left, right = draw_pairs(seed)
    found = PairSums.of(wrong, left, right)
    number, total = slow_sums(wrong.astype(float), left, right)
    assert found.num_together == number
    assert found.together == pytest.approx(total, abs=1e-9)
    assert (found.num_errors, found.num_pairs) == (int(wrong.sum()), wrong.size)
    assert found.num_people == len({*left.tolist(), *right.tolist()})
    # Names and sides of people change nothing.
    assert PairSums.of(wrong, 7 * right + 3, 7 * left + 3) == found


def slow_design_effect(groups, index: int, correlation: float) -> float:
    """By the formulas of the module's head, with SciPy's bivariate normal."""
    wrong, left, right = groups[index]
    size, errors = len(wrong), int(wrong.sum())
    number, total = slow_sums(wrong.astype(float), left, right)
    z = NormalDist().inv_cdf(0.975)
    varies = 0 < errors < size
    rate = errors / size if varies else (errors + z**2 / 2) / (size + z**2)
    common = 1 + number / size * slow_covariance(rate, correlation) / (
        rate * (1 - rate)
    )
    people = len({*left.tolist(), *right.tolist()})
    if not varies or people < 2:
        return common
    own = (1 + total / (size * rate * (1 - rate))) * people / (people - 1)
    return max(1.0, common, own)


def slow_covariance(rate: float, correlation: float) -> float:
    bound = NormalDist().inv_cdf(rate)
    both = multivariate_normal.cdf(
        [bound, bound], cov=[[1, correlation], [correlation, 1]], allow_singular=True
    )
    return float(both - rate**2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000))
def test_rates_against_the_formulas(seed: int) -> None:
    groups = [draw_pairs(seed + shift) for shift in range(3)]
    sums = [PairSums.of(*group) for group in groups]
    correlation = common_correlation(sums)
    varying = [s for s in sums if 0 < s.num_errors < s.num_pairs]
    observed = sum(s.together for s in varying)
    expected = sum(
        s.num_together * slow_covariance(s.num_errors / s.num_pairs, correlation)
        for s in varying
    )
    if 0 < correlation < 1:
        assert expected == pytest.approx(observed, abs=1e-4)
    elif correlation == 0:
        assert observed <= 1e-9
    else:
        assert expected <= observed + 1e-4
    for index, found in enumerate(clustered_rates(sums)):
        effect = slow_design_effect(groups, index, correlation)
        assert found.design_effect == pytest.approx(effect, abs=1e-4)
        assert found.rate == groups[index][0].mean()
        assert found.interval == effective_wilson(
            found.rate, found.num_pairs / found.design_effect, 0.95
        )
        assert 0 <= found.interval.low <= found.rate <= found.interval.high <= 1


@quickly
@given(st.integers(4, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95]))
def test_many_errors_give_wilsons_interval(total: int, part: float, level) -> None:
    errors = round(part * total)
    found = effective_wilson(errors / total, float(total), level)
    plain = wilson(errors, total, level)
    if errors > 3:
        assert found.low == pytest.approx(plain.low)
    else:
        assert found.low <= plain.low + 1e-12
    if total - errors > 3:
        assert found.high == pytest.approx(plain.high)
    mirrored = effective_wilson(1 - errors / total, float(total), level)
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-9)


def test_few_errors_have_the_lower_end_of_a_poisson_count() -> None:
    # With this expectation, as many errors or more have a chance of 5 %.
    for errors in (1, 2, 3):
        low = 1000 * effective_wilson(errors / 1000, 1000.0, 0.95).low
        fewer = sum(low**k / [1, 1, 2][k] for k in range(errors)) * exp(-low)
        assert fewer == pytest.approx(0.95)


def test_no_error_is_near_the_rule_of_three() -> None:
    # One of 40 stays possible with 95 % on two sides: 1 - 0.025 ** (1 / n), about.
    interval = effective_wilson(0.0, 150.0, 0.95)
    assert interval.low == 0
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 150), rel=0.05)


def people_with(errors: list[int], pairs: int) -> PairSums:
    wrong = np.concatenate([np.arange(pairs) < count for count in errors])
    people = np.arange(len(errors)).repeat(pairs)
    return PairSums.of(wrong, people, people)


def test_errors_of_one_person_widen_the_interval() -> None:
    apart, together = people_with([1] * 8 + [0] * 12, 8), people_with([8] + [0] * 19, 8)
    [one], [other] = clustered_rates([apart]), clustered_rates([together])
    assert one.rate == other.rate
    assert one.design_effect == 1
    assert other.design_effect > 6
    assert other.interval.high > 1.5 * one.interval.high


def test_a_group_without_errors_borrows_the_others_correlation() -> None:
    together = people_with([4, 4, 4, 4] + [0] * 36, 4)
    free = people_with([0] * 40, 4)
    [_, alone] = clustered_rates([people_with([1] * 20 + [0] * 20, 4), free])
    [_, beside] = clustered_rates([together, free])
    assert alone.design_effect == 1
    assert beside.design_effect > 1.3
    assert beside.interval.high > alone.interval.high


def test_too_small_to_say_anything() -> None:
    large = people_with([1] * 30 + [0] * 70, 10)
    nine, enough, few_pairs = (
        people_with([0] * 9, 40),
        people_with([0] * 11, 40),
        people_with([0] * 11, 4),
    )
    found = clustered_rates([large, nine, enough, few_pairs])
    assert [rate.is_small for rate in found] == [False, True, False, True]
    none = PairSums.of(np.zeros(0, bool), np.zeros(0, int), np.zeros(0, int))
    [_, nothing] = clustered_rates([large, none])
    assert (nothing.rate, nothing.interval, nothing.is_small) == (None, None, True)


def test_bad_level() -> None:
    with pytest.raises(ParameterError, match="level must be"):
        clustered_rates([people_with([1, 0], 2)], level=1.0)


@pytest.mark.parametrize("kind", ["genuine", "impostor"])
def test_coverage_of_drawn_data_sets(kind: str, types_unchecked: None) -> None:
    """A small version of ``eval/group_coverage.py``: 200 sets of four groups."""
    rng = np.random.default_rng(1)
    sizes, rates, num_sets = (10, 30, 60, 100), (0.2, 0.1, 0.05, 0.05), 200
    threshold = [NormalDist().inv_cdf(rate) for rate in rates]
    pairs = []
    for size in sizes:
        left = np.repeat(np.arange(size), 6)
        right = left
        if kind == "impostor":
            right = (left + rng.integers(1, size, size=left.size)) % size
        pairs.append((left, right))
    covered, covered_by_wilson = np.zeros(4), np.zeros(4)
    for _ in range(num_sets):
        sums = []
        for (left, right), bound in zip(pairs, threshold, strict=True):
            trait = rng.normal(size=left.max() + 1)
            shared = trait[left] + trait[right]
            shared /= 2 if kind == "genuine" else np.sqrt(2)
            scores = np.sqrt(0.4) * shared + np.sqrt(0.6) * rng.normal(size=left.size)
            sums.append(PairSums.of(scores < bound, left, right))
        for group, found in enumerate(clustered_rates(sums)):
            covered[group] += found.interval.low <= rates[group] <= found.interval.high
            plain = effective_wilson(found.rate, float(found.num_pairs), 0.95)
            covered_by_wilson[group] += plain.low <= rates[group] <= plain.high
    # Three standard errors of a share of 200 sets around 93 to 97 %.
    assert (covered / num_sets >= 0.93 - 0.054).all()
    assert (covered / num_sets <= 0.97 + 0.03).all()
    assert covered_by_wilson.mean() < covered.mean() - 0.02 * num_sets
