"""Draws of pairs; those of people are tested with the intervals and comparisons."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.roc import area_under_curve, roc_curve, tar_at_far
from facever.verification.uncertainty.intervals import Interval, bootstrap
from facever.verification.uncertainty.paired import compare_models
from facever.verification.uncertainty.resampling import IndependentPairs, RankedPairs

TARGETS = (0.2, 0.5, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_draw_gives_the_numbers_of_the_pairs_that_it_repeats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.permutation(12) < rng.integers(1, 12)
    scores = rng.choice([-np.inf, 0.1, 0.2, 0.3, 0.4], size=12)
    scores[rng.integers(12)] = 0.25
    right = rng.random(12) < 0.7
    weights = IndependentPairs(same).draw(rng)
    assert weights.min() >= 0
    assert weights[same].sum() == same.sum()
    assert weights.sum() == 12
    repeated = np.repeat(np.arange(12), weights)
    ranked = RankedPairs.of(scores, same, right)
    found = ranked.measure(*ranked.sort(weights), TARGETS)
    assert float(found.accuracy) == pytest.approx(right[repeated].mean())
    if not np.isfinite(scores[repeated]).any():
        return
    roc = roc_curve(scores[repeated], same[repeated])
    assert float(found.auc) == area_under_curve(roc)
    for answer, tar in zip(tar_at_far(roc, TARGETS), found.tar, strict=True):
        assert answer.tar is None or answer.tar == tar


def test_draws_by_hand(types_unchecked: None) -> None:
    # Of two genuine pairs one is right: a draw of two has 0, 1 or 2 right ones, once,
    # twice and once in four times. Both impostor pairs always are.
    pairs = {
        "scores": np.array([0.9, 0.1, 0.3, 0.2]),
        "same": np.array([True, True, False, False]),
        "right": np.array([True, False, True, True]),
    }
    wide = bootstrap(**pairs, targets=[1.0], level=0.7)
    assert wide.accuracy == Interval(0.5, 1.0, 0.7)
    assert wide.auc == Interval(0.0, 1.0, 0.7)
    narrow = bootstrap(**pairs, targets=[1.0], level=0.3)
    assert narrow.accuracy == Interval(0.75, 0.75, 0.3)
    assert (wide.num_identities, wide.num_draws) == (None, 1000)
    # One side alone says nothing of who is in an impostor pair.
    assert bootstrap(**pairs, targets=[1.0], left_identity=np.arange(4)).auc == (
        bootstrap(**pairs, targets=[1.0]).auc
    )


def test_the_interval_of_a_difference_is_that_of_independent_tosses(
    types_unchecked: None,
) -> None:
    # On 40 of 400 pairs of each kind one model alone is right, by 30 to 10. The
    # difference of a draw is (a - b) / 800, a and b multinomial: its variance is that
    # of 400 tosses of +1 (30/400), -1 (10/400) or 0, for each kind.
    same = np.arange(800) < 400
    place = np.arange(800) % 400
    first, second = place >= 10, (place < 10) | (place >= 40)
    found = compare_models(
        same=same,
        first_scores=np.where(first, same, ~same) * 1.0,
        first_right=first,
        second_scores=np.where(second, same, ~same) * 1.0,
        second_right=second,
        num_draws=3000,
    )
    assert (found.num_only_first, found.num_only_second) == (60, 20)
    tail = sum(comb(80, k) for k in range(21)) / 2**80
    assert found.mcnemar_p_value == pytest.approx(2 * tail)
    assert found.num_identities is None
    assert found.accuracy.value == 0.05
    deviation = (2 * 400 * (40 / 400 - (20 / 400) ** 2)) ** 0.5 / 800
    half = 1.96 * deviation
    assert found.accuracy.interval.low == pytest.approx(0.05 - half, abs=0.004)
    assert found.accuracy.interval.high == pytest.approx(0.05 + half, abs=0.004)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="0 genuine"):
        bootstrap(
            scores=np.array([0.1, 0.2]),
            same=np.array([False, False]),
            right=np.array([True, True]),
            targets=TARGETS,
        )
