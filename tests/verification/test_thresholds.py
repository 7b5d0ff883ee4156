from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.thresholds import (
    best_threshold,
    candidate_thresholds,
    fold_accuracies,
    fold_thresholds,
    sort_pairs,
)

# Few distinct values, so that ties are the rule.
tied_scores = st.lists(
    st.tuples(st.integers(-4, 4).map(lambda i: i / 4), st.booleans()),
    min_size=1,
    max_size=14,
)

quickly = settings(max_examples=50, deadline=None)


def split(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, same = zip(*pairs, strict=True)
    return np.array(scores, dtype=np.float64), np.array(same)


def brute_force(pairs: list[tuple[float, bool]]) -> float:
    """All thresholds one by one, each judged pair by pair."""
    values = sorted({score for score, _ in pairs})
    width = (values[-1] - values[0]) or 1.0
    tried = [values[0] - width]
    tried += [(a + b) / 2 for a, b in pairwise(values)]
    tried += [values[-1] + width]
    right = [sum((score > t) == same for score, same in pairs) for t in tried]
    best = [t for t, count in zip(tried, right, strict=True) if count == max(right)]
    return sum(best) / len(best)


@quickly
@given(tied_scores)
def test_best_threshold_is_that_of_brute_force(pairs) -> None:
    scores, same = split(pairs)
    assert best_threshold(scores, same) == pytest.approx(brute_force(pairs), abs=1e-12)


def test_by_hand() -> None:
    scores = np.array([0.2, 0.4, 0.6, 0.8])
    same = np.array([False, True, False, True])
    # Above 0.3: 0.2 rejected (right), 0.4 right, 0.6 wrong, 0.8 right: 3.
    # Above 0.5: right, wrong, wrong, right: 2.  Above 0.7: right, wrong, right, right.
    # So 0.3 and 0.7 get 3; their mean is 0.5.
    assert best_threshold(scores, same) == pytest.approx(0.5)


def test_a_score_that_equals_the_threshold_is_rejected() -> None:
    accuracies = fold_accuracies(
        np.array([0.5, 0.5, 0.6, 0.5]),
        np.array([True, False, True, False]),
        np.array([0, 0, 1, 1]),
        np.array([0.5, 0.5]),
    )
    assert accuracies.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("kind", [True, False])
def test_one_class_only(kind: bool) -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    threshold = best_threshold(scores, np.full(4, kind))
    # The one threshold beyond the end: as far outside as the scores are wide.
    assert threshold == pytest.approx(-0.7 if kind else 1.7)


def test_all_scores_equal() -> None:
    scores = np.full(5, 0.25)
    mostly = np.array([True, True, True, False, False])
    assert best_threshold(scores, mostly) == 0.25 - 1
    assert best_threshold(scores, ~mostly) == 0.25 + 1


def test_missing_pairs_have_no_say() -> None:
    scores = np.array([-np.inf, 0.1, 0.2, -np.inf, 0.7])
    same = np.array([True, False, False, True, True])
    assert best_threshold(scores, same) == pytest.approx(0.45)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers(wrong: float) -> None:
    with pytest.raises(DataError, match="finite"):
        best_threshold(np.array([0.1, wrong, 0.3]), np.array([True, False, True]))


@pytest.mark.parametrize("scores", [[], [-np.inf, -np.inf]])
def test_no_score_at_all(scores: list[float]) -> None:
    with pytest.raises(DataError, match="at least one"):
        best_threshold(np.array(scores, dtype=float), np.ones(len(scores), dtype=bool))


@quickly
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=8, unique=True).map(
        lambda values: np.array(sorted(values))
    )
)
@example(np.array([1.0, np.nextafter(1, 2)]))
@example(np.array([np.nextafter(1, 0), 1.0]))
@example(np.array([-0.5, np.nextafter(-0.5, 0)]))
def test_candidates_part_all_scores(distinct: np.ndarray) -> None:
    """The i-th threshold rejects the i lowest scores, even between close floats."""
    thresholds = candidate_thresholds(distinct)
    rejected = [int(np.sum(~(distinct > threshold))) for threshold in thresholds]
    assert rejected == list(range(len(distinct) + 1))


@quickly
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 2)), max_size=20
    )
)
def test_fold_thresholds_are_those_of_the_other_folds(drawn) -> None:
    drawn += [(0, same, fold) for same in (True, False) for fold in (0, 1, 2)]
    scores = np.array([score / 4 for score, _, _ in drawn])
    same = np.array([same for _, same, _ in drawn])
    fold = np.array([fold for _, _, fold in drawn], dtype=np.int64)
    thresholds = fold_thresholds(sort_pairs(scores, same), fold)
    accuracies = fold_accuracies(scores, same, fold, thresholds)
    for tested in range(3):
        training = [(s / 4, k) for s, k, f in drawn if f != tested]
        threshold = brute_force(training)
        assert thresholds[tested] == pytest.approx(threshold, abs=1e-12)
        judged = [(s / 4 > thresholds[tested]) == k for s, k, f in drawn if f == tested]
        assert accuracies[tested] == pytest.approx(sum(judged) / len(judged))


@quickly
@given(tied_scores, st.sampled_from([0.5, 2.0, 8.0]), st.sampled_from([-3.0, 0.0, 1.0]))
def test_scaling_and_shifting_moves_the_threshold_along(pairs, scale, shift) -> None:
    """So cosine and minus squared distance of unit vectors are judged alike.

    Equal scores are left out: their ends are 1 away whatever the scale.
    """
    scores, same = split(pairs)
    assume(np.ptp(scores) > 0)
    moved = best_threshold(scale * scores + shift, same)
    assert moved == pytest.approx(scale * best_threshold(scores, same) + shift)
