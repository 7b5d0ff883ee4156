from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from facever.errors import DataError, ParameterError
from facever.verification.roc import (
    area_under_curve,
    equal_error_rate,
    roc_curve,
    tar_at_far,
)

both_kinds = st.lists(
    st.tuples(st.integers(-3, 3).map(lambda i: i / 3), st.booleans()),
    min_size=2,
    max_size=24,
).filter(lambda pairs: len({same for _, same in pairs}) == 2)

quickly = settings(max_examples=50, deadline=None)


def split(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, same = zip(*pairs, strict=True)
    return np.array(scores, dtype=np.float64), np.array(same)


def far_and_tar(
    scores: np.ndarray, same: np.ndarray, threshold: float
) -> tuple[Fraction, Fraction]:
    accepted = [score > threshold for score in scores]
    false = sum(a and not k for a, k in zip(accepted, same, strict=True))
    true = sum(a and k for a, k in zip(accepted, same, strict=True))
    genuine = int(same.sum())
    return Fraction(false, len(same) - genuine), Fraction(true, genuine)


@quickly
@given(both_kinds)
def test_curve_and_area_are_those_of_scikit_learn(pairs) -> None:
    scores, same = split(pairs)
    roc = roc_curve(scores, same)
    fpr, tpr, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.far, fpr, atol=1e-12)
    np.testing.assert_allclose(roc.tar, tpr, atol=1e-12)
    area = metrics.roc_auc_score(same, scores)
    assert area_under_curve(roc) == pytest.approx(area, abs=1e-12)


@quickly
@given(both_kinds)
def test_each_threshold_does_what_the_curve_says(pairs) -> None:
    scores, same = split(pairs)
    roc = roc_curve(scores, same)
    for threshold, far, tar in zip(roc.thresholds, roc.far, roc.tar, strict=True):
        assert (far, tar) == tuple(map(float, far_and_tar(scores, same, threshold)))


@quickly
@given(both_kinds)
def test_area_counts_wins_and_half_the_ties(pairs) -> None:
    genuine = [score for score, same in pairs if same]
    impostor = [score for score, same in pairs if not same]
    wins = sum(
        Fraction(1) if g > i else Fraction(1, 2) if g == i else Fraction(0)
        for g in genuine
        for i in impostor
    )
    expected = wins / (len(genuine) * len(impostor))
    assert area_under_curve(roc_curve(*split(pairs))) == pytest.approx(float(expected))


@quickly
@given(both_kinds)
def test_equal_error_rate_is_where_the_straight_lines_cross(pairs) -> None:
    """Exact oracle: walk along the curve's straight pieces in fractions."""
    scores, same = split(pairs)
    levels = [*sorted({*scores.tolist()}, reverse=True), -9.0]
    points = [far_and_tar(scores, same, level) for level in levels]
    crossing = next(
        far0 + share * (far1 - far0)
        for (far0, tar0), (far1, tar1) in pairwise(points)
        if far1 + tar1 >= 1
        # On the piece far + tar grows evenly from below 1 to at least 1.
        for share in [(1 - far0 - tar0) / (far1 + tar1 - far0 - tar0)]
    )
    rate = equal_error_rate(roc_curve(scores, same))
    assert rate == pytest.approx(float(crossing), abs=1e-12)


@quickly
@given(both_kinds, st.sampled_from([1e-2, 0.1, 0.25, 0.34, 0.5, 1.0]))
def test_tar_at_far_is_the_best_of_brute_force(pairs, target: float) -> None:
    scores, same = split(pairs)
    (answer,) = tar_at_far(roc_curve(scores, same), [target])
    num_impostor = int((~same).sum())
    if num_impostor < 1 / target:
        assert answer.tar is None
        assert answer.threshold is None
        assert f"there are {num_impostor}" in answer.note
        return
    levels = [*scores.tolist(), -9.0]
    possible = [far_and_tar(scores, same, level) for level in levels]
    expected = max((tar for far, tar in possible if far <= target), default=0)
    assert answer.tar == pytest.approx(float(expected))
    assert answer.far is not None
    assert answer.threshold is not None
    assert answer.far <= target
    assert (answer.far, answer.tar) == tuple(
        map(float, far_and_tar(scores, same, answer.threshold))
    )


def test_tar_at_far_by_hand() -> None:
    # Impostors 0.1 .. 0.4, genuine 0.25, 0.35, 0.45 (twice). One false accept of four
    # is allowed at 0.25: the threshold lies between 0.3 and 0.35.
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.25, 0.35, 0.45, 0.45])
    same = np.array([False] * 4 + [True] * 4)
    strict, quarter, half = tar_at_far(roc_curve(scores, same), [0.2, 0.25, 0.5])
    assert strict.tar is None
    assert strict.note == "FAR 0.2 needs at least 5 impostor pairs, there are 4"
    assert (quarter.far, quarter.tar) == (0.25, 0.75)
    assert quarter.threshold == pytest.approx(0.325)
    assert (half.far, half.tar) == (0.5, 1.0)


def test_a_tie_at_the_top_keeps_the_far_below_the_target() -> None:
    # Accepting any pair accepts 2 of 4 impostors; at 0.25 none may be accepted.
    scores = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.5])
    same = np.array([False, False, False, False, True, True])
    (answer,) = tar_at_far(roc_curve(scores, same), [0.25])
    assert (answer.far, answer.tar) == (0.0, 0.0)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, np.nan])
def test_far_out_of_range(target: float) -> None:
    roc = roc_curve(np.array([0.1, 0.2]), np.array([False, True]))
    with pytest.raises(ParameterError, match=r"in \(0, 1\]"):
        tar_at_far(roc, [target])


def test_all_scores_equal() -> None:
    roc = roc_curve(np.full(6, 0.3), np.array([True, True, False, False, False, True]))
    assert roc.far.tolist() == [0, 1]
    assert roc.tar.tolist() == [0, 1]
    assert area_under_curve(roc) == 0.5
    assert equal_error_rate(roc) == 0.5


@pytest.mark.parametrize(("reverse", "rate"), [(False, 0.0), (True, 1.0)])
def test_perfect_and_reversed(reverse: bool, rate: float) -> None:
    same = np.array([True, True, False, False]) ^ reverse
    roc = roc_curve(np.array([0.9, 0.8, 0.2, 0.1]), same)
    assert area_under_curve(roc) == 1 - rate
    assert equal_error_rate(roc) == rate


def test_missing_pairs_are_accepted_by_no_finite_threshold() -> None:
    scores = np.array([0.9, -np.inf, 0.5, -np.inf])
    same = np.array([True, True, False, False])
    roc = roc_curve(scores, same)
    assert roc.thresholds[-1] == -np.inf
    assert np.isfinite(roc.thresholds[:-1]).all()
    assert roc.tar.tolist() == [0, 0.5, 0.5, 1]
    # 0.9 wins twice; the missing genuine pair loses once and ties once: 2.5 of 4.
    assert area_under_curve(roc) == 0.625
    (answer,) = tar_at_far(roc, [1.0])
    assert (answer.far, answer.tar) == (0.5, 0.5)


@pytest.mark.parametrize("kind", [True, False])
def test_one_class_only(kind: bool) -> None:
    with pytest.raises(DataError, match="genuine and impostor pairs, got"):
        roc_curve(np.array([0.1, 0.2]), np.full(2, kind))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers(wrong: float) -> None:
    with pytest.raises(DataError, match="finite"):
        roc_curve(np.array([0.1, wrong]), np.array([True, False]))


def test_no_score_at_all() -> None:
    with pytest.raises(DataError, match="at least one pair"):
        roc_curve(np.full(2, -np.inf), np.array([True, False]))


@quickly
@given(both_kinds)
def test_a_rising_transform_changes_nothing(pairs) -> None:
    scores, same = split(pairs)
    plain, bent = roc_curve(scores, same), roc_curve(np.exp(3 * scores) + 7, same)
    np.testing.assert_array_equal(plain.false_accepts, bent.false_accepts)
    np.testing.assert_array_equal(plain.true_accepts, bent.true_accepts)
    assert equal_error_rate(plain) == equal_error_rate(bent)
    for one, other in zip(
        tar_at_far(plain, [0.1, 0.5]), tar_at_far(bent, [0.1, 0.5]), strict=True
    ):
        assert (one.far, one.tar) == (other.far, other.tar)


@quickly
@given(both_kinds)
def test_corners_keep_the_curve(pairs) -> None:
    roc = roc_curve(*split(pairs))
    corners = roc.corners()
    assert area_under_curve(corners) == area_under_curve(roc)
    assert equal_error_rate(corners) == pytest.approx(equal_error_rate(roc), abs=1e-12)
    steps = np.diff(corners.false_accepts), np.diff(corners.true_accepts)
    assert np.all(steps[0][1:] * steps[1][:-1] != steps[0][:-1] * steps[1][1:])
