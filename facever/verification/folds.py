"""Exact thresholds, chosen on other folds than the one they test.

A pair is accepted, that is judged to show one person, when its score is greater than
the threshold. A score of ``-inf`` marks a pair that could not be scored because a
photo's embedding is missing: no threshold ever accepts it.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.verification.sorted_pairs import SortedPairs, sort_pairs


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
    return sort_pairs(scores, same).best_threshold(np.empty(0, np.int64))


def fold_thresholds(
    pairs: SortedPairs, fold: Int64[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " folds"]:
    """For each fold, the best threshold of all the other folds' pairs.

    Args:
        pairs: From ``sort_pairs``.
        fold: Fold of each pair before the sort, ``0 .. folds - 1``, at least two folds.

    Returns:
        One threshold a fold, chosen without that fold's pairs.

    Raises:
        DataError: If the pairs without some fold have no score.
    """
    # A byte or two a pair: each fold passes over this array.
    sorted_fold = fold.astype(np.min_scalar_type(int(fold.max())))[pairs.order]
    num_folds = int(fold.max()) + 1
    return np.array(
        [
            pairs.best_threshold(np.flatnonzero(sorted_fold == tested))
            for tested in range(num_folds)
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
