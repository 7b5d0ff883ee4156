"""Exact thresholds, chosen on other folds than the one they test.

A pair is accepted, that is judged to show one person, when its score is greater than
the threshold. A score of ``-inf`` marks a pair that could not be scored because a
photo's embedding is missing: no threshold ever accepts it.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.errors import DataError


def candidate_thresholds(
    distinct: Float64[np.ndarray, " values"],
) -> Float64[np.ndarray, " values+1"]:
    """All thresholds that part the scores differently, ascending.

    The first accepts every score, the last none, and the others are the midpoints
    between neighbours. The two ends lie as far outside as the scores are wide (1 where
    all are equal), so that scaling or shifting the scores scales and shifts the
    thresholds.

    Args:
        distinct: Finite scores, ascending, each once, at least one.

    Returns:
        One threshold below each score, and one above the last.
    """
    lower, upper = distinct[:-1], distinct[1:]
    middle = (lower + upper) / 2
    # Between neighbouring floats the midpoint rounds onto one of them, and a pair that
    # scores exactly the threshold is rejected: it must not be the upper one.
    middle = np.where(middle < upper, middle, lower)
    width = distinct[-1] - distinct[0] or 1.0
    below = min(distinct[0] - width, np.nextafter(distinct[0], -np.inf))
    return np.concatenate([[below], middle, [distinct[-1] + width]])


def best_threshold(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> float:
    """The threshold that judges the most pairs right, when greater scores are accepted.

    Every threshold that makes a difference is tried (``candidate_thresholds``), no
    grid. Where several are equally good, the mean of all of them is returned.

    Args:
        scores: Larger is more similar. Pairs of score ``-inf`` are rejected by every
            threshold and have no say.
        same: True for genuine pairs.

    Returns:
        The threshold.

    Raises:
        DataError: If no pair has a score, or a score is NaN or ``+inf``.
    """
    order = np.argsort(scores)
    return _best_threshold_of_sorted(scores[order], same[order])


def fold_thresholds(
    scores: Float64[np.ndarray, " pairs"],
    same: Bool[np.ndarray, " pairs"],
    fold: Int64[np.ndarray, " pairs"],
) -> Float64[np.ndarray, " folds"]:
    """For each fold, the best threshold of all the other folds' pairs.

    Args:
        scores: One score a pair, as for ``best_threshold``.
        same: True for genuine pairs.
        fold: Fold of each pair, ``0 .. folds - 1``, at least two folds.

    Returns:
        One threshold a fold, chosen without that fold's pairs.

    Raises:
        DataError: As ``best_threshold``.
    """
    order = np.argsort(scores)
    scores, same, fold = scores[order], same[order], fold[order]
    num_folds = int(fold.max()) + 1
    return np.array(
        [
            _best_threshold_of_sorted(scores[training], same[training])
            for training in (fold != tested for tested in range(num_folds))
        ]
    )


def fold_accuracies(
    scores: Float64[np.ndarray, " pairs"],
    same: Bool[np.ndarray, " pairs"],
    fold: Int64[np.ndarray, " pairs"],
    thresholds: Float64[np.ndarray, " folds"],
) -> Float64[np.ndarray, " folds"]:
    """Share of each fold's pairs that the fold's threshold judges right.

    Args:
        scores: One score a pair.
        same: True for genuine pairs.
        fold: Fold of each pair; no fold is empty.
        thresholds: One a fold, as from ``fold_thresholds``.

    Returns:
        Accuracies in [0, 1].
    """
    right = (scores > thresholds[fold]) == same
    return np.bincount(fold, weights=right) / np.bincount(fold)


def _best_threshold_of_sorted(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> float:
    scored = slice(np.searchsorted(scores, -np.inf, side="right"), None)
    scores, same = scores[scored], same[scored]
    if not scores.size:
        raise DataError("a threshold needs at least one training pair with a score")
    if not np.isfinite(scores[-1]):
        raise DataError(f"scores must be finite or -inf, got {scores[-1]}")
    last_of_value = np.append(scores[1:] != scores[:-1], True)
    genuine_up_to = np.cumsum(same)[last_of_value]
    pairs_up_to = np.flatnonzero(last_of_value) + 1
    # A threshold above the i-th value rejects the pairs up to it: right for their
    # impostors, and wrong for their genuine pairs, which were right below.
    gain = np.concatenate([[0], pairs_up_to - 2 * genuine_up_to])
    thresholds = candidate_thresholds(scores[last_of_value])
    return float(thresholds[gain == gain.max()].mean())
