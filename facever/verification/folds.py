"""Exact thresholds, chosen on other folds than the one they test.

A pair is accepted, that is judged to show one person, when its score is greater than
the threshold. A score of ``-inf`` marks a pair that could not be scored because a
photo's embedding is missing: no threshold ever accepts it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from facever.errors import DataError

_NO_SCORE = "a threshold needs at least one training pair with a score"


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
    middle = _between(distinct[:-1], distinct[1:])
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
    everything = np.full(scores.size, True)
    return _SortedPairs.of(scores[order], same[order]).best_threshold(everything)


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
    # A byte or two a pair: each fold passes over this array.
    fold = fold[order].astype(np.min_scalar_type(int(fold.max())))
    pairs = _SortedPairs.of(scores[order], same[order])
    num_folds = int(fold.max()) + 1
    return np.array(
        [pairs.best_threshold(fold != tested) for tested in range(num_folds)]
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


@dataclass(frozen=True)
class _SortedPairs:
    """Pairs by rising score, sorted once for the thresholds of many training sets.

    Attributes:
        scores: Ascending, ``-inf`` first.
        step: What rejecting a pair gains: 1 for an impostor, -1 for a genuine pair.
        is_last: Where the next score is greater.
        num_missing: Pairs of score ``-inf``, which have no say.
    """

    scores: Float64[np.ndarray, " pairs"]
    step: Int8[np.ndarray, " pairs"]
    is_last: Bool[np.ndarray, " pairs"]
    num_missing: int

    @classmethod
    def of(
        cls, scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
    ) -> "_SortedPairs":
        num_missing = int(np.searchsorted(scores, -np.inf, side="right"))
        if num_missing == scores.size:
            raise DataError(_NO_SCORE)
        step = np.where(same, np.int8(-1), np.int8(1))
        step[:num_missing] = 0
        is_last = np.append(scores[1:] != scores[:-1], True)
        return cls(scores, step, is_last, num_missing)

    def best_threshold(self, training: Bool[np.ndarray, " pairs"]) -> float:
        """The mean of the thresholds that judge the most training pairs right.

        A cut behind a pair rejects it and all before it. Cuts that part the training
        pairs alike are one, and a threshold lies midway between training scores.
        """
        training = training.copy()
        training[: self.num_missing] = False
        place = np.flatnonzero(training)
        if not place.size:
            raise DataError(_NO_SCORE)
        lowest, highest = self.scores[place[0]], self.scores[place[-1]]
        if not np.isfinite(highest):
            raise DataError(f"scores must be finite or -inf, got {highest}")
        gain = np.cumsum(self.step * training, dtype=np.int32)
        best = max(0, int(gain[self.is_last].max()))
        cuts = np.flatnonzero(self.is_last & (gain == best))
        rejected = np.unique(np.searchsorted(place, cuts, side="right"))
        if best == 0:  # As good as accepting all of them.
            rejected = np.union1d(rejected, [0])
        ends = candidate_thresholds(np.unique([lowest, highest]))[[0, -1]]
        inner = rejected[(rejected > 0) & (rejected < place.size)]
        thresholds = np.concatenate(
            [
                ends[:1][: int(0 in rejected)],
                _between(self.scores[place[inner - 1]], self.scores[place[inner]]),
                ends[1:][: int(place.size in rejected)],
            ]
        )
        return float(thresholds.mean())


def _between(
    lower: Float64[np.ndarray, " gaps"], upper: Float64[np.ndarray, " gaps"]
) -> Float64[np.ndarray, " gaps"]:
    """Midway; between neighbouring floats, where that rounds onto one, the lower.

    A pair that scores exactly the threshold is rejected, so it must not be the upper.
    """
    middle = (lower + upper) / 2
    return np.where(middle < upper, middle, lower)
