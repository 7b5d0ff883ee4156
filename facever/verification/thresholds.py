"""Exact thresholds: all that make a difference, the best, and the best for each fold.

A pair is accepted, that is judged to show one person, when its score is greater than
the threshold. A score of ``-inf`` marks a pair that could not be scored because a
photo's embedding is missing: no threshold ever accepts it.

Pairs are sorted by rising score once, for the thresholds of many training sets. A *cut*
is a number of pairs: those with the lowest scores, which it rejects. Tied scores are
never parted, so not every number of pairs is a cut. Each cut has its threshold, midway
between the scores on its two sides.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from facever.errors import DataError

# Below what any cut can gain, and far enough from the ends of int32 to be added to.
_NO_CUT = np.int32(-(2**30))


@dataclass(frozen=True)
class SortedPairs:
    """Pairs by rising score, sorted once for the thresholds of many training sets.

    Attributes:
        order: The place that each pair had before the sort.
        scores: Ascending; first come ``num_missing`` times ``-inf``, which no threshold
            accepts, then finite scores.
        same: True for genuine pairs.
        num_missing: Number of pairs without a score.
        gain: How many more pairs each cut of the scored pairs judges right than no cut
            at all: the impostor pairs less the genuine pairs that it rejects. Very low
            where tied scores allow no cut.
    """

    order: Int64[np.ndarray, " pairs"]
    scores: Float64[np.ndarray, " pairs"]
    same: Bool[np.ndarray, " pairs"]
    num_missing: int
    gain: Int32[np.ndarray, " cuts"]

    def best_threshold(self, left_out: Int64[np.ndarray, " some"]) -> float:
        """The mean of the thresholds that judge the most training pairs right.

        Args:
            left_out: Places of the pairs that are not used for training, ascending.

        Raises:
            DataError: If no training pair has a score.
        """
        scores, same = self.scores[self.num_missing :], self.same[self.num_missing :]
        left_out = left_out[left_out >= self.num_missing] - self.num_missing
        num_training = scores.size - left_out.size
        if num_training == 0:
            raise DataError("a threshold needs at least one training pair with a score")
        # Between one pair that is left out and the next, all cuts gain the same too
        # much, so the best of them are those with the highest gain over all pairs.
        starts = np.concatenate([[0], left_out + 1])
        undue = np.concatenate([[0], np.cumsum(np.where(same[left_out], -1, 1))])
        highest = np.maximum.reduceat(self.gain, starts)
        best = np.flatnonzero(highest - undue == (highest - undue).max())
        ends = np.append(starts[1:], self.gain.size)
        cuts = _ranges(starts[best], ends[best])
        wanted = np.repeat(highest[best], ends[best] - starts[best])
        cuts = cuts[self.gain[cuts] == wanted]

        # Cuts that part the training pairs alike are one.
        rejected = np.unique(cuts - np.searchsorted(left_out, cuts))
        before = left_out - np.arange(left_out.size)

        def training_score(
            number: Int64[np.ndarray, " some"],
        ) -> Float64[np.ndarray, " some"]:
            found: Float64[np.ndarray, " some"] = scores[
                number + np.searchsorted(before, number, side="right")
            ]
            return found

        ends_of_training = training_score(np.array([0, num_training - 1]))
        outside = candidate_thresholds(np.unique(ends_of_training))[[0, -1]]
        inner = rejected[(rejected > 0) & (rejected < num_training)]
        thresholds = np.concatenate(
            [
                outside[:1][: int(0 in rejected)],
                _between(training_score(inner - 1), training_score(inner)),
                outside[1:][: int(num_training in rejected)],
            ]
        )
        return float(thresholds.mean())


def sort_pairs(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> SortedPairs:
    """Sort pairs by score.

    Args:
        scores: Score of each pair, larger is more similar; ``-inf`` for a pair that
            could not be scored.
        same: True for genuine pairs.

    Raises:
        DataError: If a score is NaN or ``+inf``.
    """
    order = np.argsort(scores)
    scores, same = scores[order], same[order]
    num_missing = int(np.searchsorted(scores, -np.inf, side="right"))
    scored = scores[num_missing:]
    gain = np.zeros(scored.size + 1, np.int32)
    if scored.size:
        if not np.isfinite(scored[-1]):
            raise DataError(f"scores must be finite or -inf, got {scored[-1]}")
        step = np.where(same[num_missing:], np.int8(-1), np.int8(1))
        np.cumsum(step, out=gain[1:])
        gain[1:-1][scored[1:] == scored[:-1]] = _NO_CUT
    return SortedPairs(order, scores, same, num_missing, gain)


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
    width = distinct[-1] - distinct[0] or 1.0
    thresholds = np.empty(distinct.size + 1)
    thresholds[0] = min(distinct[0] - width, np.nextafter(distinct[0], -np.inf))
    thresholds[1:-1] = _between(distinct[:-1], distinct[1:])
    thresholds[-1] = distinct[-1] + width
    return thresholds


def _between(
    lower: Float64[np.ndarray, " gaps"], upper: Float64[np.ndarray, " gaps"]
) -> Float64[np.ndarray, " gaps"]:
    """Midway; between neighbouring floats, where that rounds onto one, the lower.

    A pair that scores exactly the threshold is rejected, so it must not be the upper.
    """
    middle: Float64[np.ndarray, " gaps"] = lower + upper
    middle /= 2
    np.copyto(middle, lower, where=middle >= upper)
    return middle


def _ranges(
    starts: Int64[np.ndarray, " ranges"], ends: Int64[np.ndarray, " ranges"]
) -> Int64[np.ndarray, " numbers"]:
    """All whole numbers ``starts[i] .. ends[i] - 1``, one range after another."""
    lengths = ends - starts
    skipped = starts - np.concatenate([[0], np.cumsum(lengths)[:-1]])
    numbers: Int64[np.ndarray, " numbers"] = np.repeat(skipped, lengths)
    numbers += np.arange(numbers.size)
    return numbers


def best_threshold(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> float:
    """The threshold that judges the most pairs right.

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

    Examples:
        Midway between the highest impostor pair and the lowest genuine pair:

        >>> scores = np.array([0.9, 0.7, 0.3, 0.1])
        >>> best_threshold(scores, np.array([True, True, False, False]))
        0.5
    """
    return sort_pairs(scores, same).best_threshold(np.empty(0, np.int64))


def fold_thresholds(
    pairs: SortedPairs, fold: Int64[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " folds"]:
    """For each fold, the best threshold of all the other folds' pairs.

    Args:
        pairs: The pairs, as ``sort_pairs`` gives them.
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
        scores: Score of each pair.
        same: True for genuine pairs.
        fold: Fold of each pair; no fold is empty.
        thresholds: Threshold of each fold, as ``fold_thresholds`` gives them.

    Returns:
        Accuracies in [0, 1].
    """
    right = (scores > thresholds[fold]) == same
    return np.bincount(fold, weights=right) / np.bincount(fold)
