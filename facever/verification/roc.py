"""ROC curve, AUC, EER and TAR at FAR, exact where scores are tied.

The true accept rate (TAR) is the share of genuine pairs that are accepted, the false
accept rate (FAR) the share of impostor pairs. A pair is accepted when its score is
greater than the threshold; one of score ``-inf`` (a photo's embedding is missing) is
accepted by no finite threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.errors import DataError, ParameterError
from facever.verification.thresholds import (
    SortedPairs,
    candidate_thresholds,
    sort_pairs,
)


@dataclass(frozen=True)
class Roc:
    """What every threshold does, from rejecting all pairs to accepting all.

    Attributes:
        thresholds: Descending, one for each way to separate the scores. If there are
            pairs without a score, one more end point accepts those too, at ``-inf``.
        false_accepts: Number of impostor pairs above each threshold.
        true_accepts: Number of genuine pairs above each threshold.
    """

    thresholds: Float64[np.ndarray, " points"]
    false_accepts: Int64[np.ndarray, " points"]
    true_accepts: Int64[np.ndarray, " points"]

    @property
    def num_impostor(self) -> int:
        """Number of impostor pairs."""
        return int(self.false_accepts[-1])

    @property
    def num_genuine(self) -> int:
        """Number of genuine pairs."""
        return int(self.true_accepts[-1])

    @property
    def far(self) -> Float64[np.ndarray, " points"]:
        """False accept rate of each threshold."""
        return self.false_accepts / self.num_impostor

    @property
    def tar(self) -> Float64[np.ndarray, " points"]:
        """True accept rate of each threshold."""
        return self.true_accepts / self.num_genuine

    def corners(self) -> "Roc":
        """The same curve without the points that lie on a straight line between two."""
        steps = np.diff(self.false_accepts), np.diff(self.true_accepts)
        turns = steps[0][1:] * steps[1][:-1] != steps[0][:-1] * steps[1][1:]
        kept = np.concatenate([[True], turns, [True]])
        return Roc(
            self.thresholds[kept], self.false_accepts[kept], self.true_accepts[kept]
        )


@dataclass(frozen=True)
class TarAtFar:
    """True accept rate at a false accept rate that is never above the target.

    Attributes:
        target_far: The false accept rate asked for.
        far: False accept rate of the threshold on these pairs, at most ``target_far``.
        tar: True accept rate at the threshold; None where there are too few pairs to
            say.
        threshold: The score above which a pair is accepted; None where there are too
            few pairs to say.
        note: The reason why there is no number; empty where there is one.
    """

    target_far: float
    far: float | None
    tar: float | None
    threshold: float | None
    note: str


def roc_curve(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> Roc:
    """Every point of the ROC curve; tied scores are accepted together.

    Args:
        scores: Score of each pair, larger is more similar; ``-inf`` for a pair that
            could not be scored.
        same: True for genuine pairs.

    Returns:
        The curve, from the threshold that rejects all pairs to accepting all.

    Raises:
        DataError: If a kind of pair is missing, no pair has a score, or a score is NaN
            or ``+inf``.

    Examples:
        >>> scores = np.array([0.9, 0.4, 0.6, 0.1])
        >>> roc = roc_curve(scores, np.array([True, True, False, False]))
        >>> roc.far.tolist()
        [0.0, 0.0, 0.5, 0.5, 1.0]
        >>> roc.tar.tolist()
        [0.0, 0.5, 0.5, 1.0, 1.0]
        >>> area_under_curve(roc)
        0.75
    """
    return sorted_roc_curve(sort_pairs(scores, same))


def sorted_roc_curve(pairs: SortedPairs) -> Roc:
    """``roc_curve`` of pairs that are sorted already."""
    num_pairs = pairs.same.size
    num_genuine = int(np.count_nonzero(pairs.same))
    if num_genuine in (0, num_pairs):
        raise DataError(
            "a ROC curve needs genuine and impostor pairs, got "
            f"{num_genuine} genuine and {num_pairs - num_genuine} impostor pairs"
        )
    if pairs.num_missing == num_pairs:
        raise DataError("a ROC curve needs at least one pair with a score")
    is_last = np.append(pairs.scores[1:] != pairs.scores[:-1], True)
    distinct = pairs.scores[is_last]
    missing = distinct[: int(pairs.num_missing > 0)]
    rejected = np.concatenate([[0], np.flatnonzero(is_last) + 1])
    genuine_rejected = np.concatenate([[0], np.cumsum(pairs.same)[is_last]])
    thresholds = candidate_thresholds(distinct[missing.size :])
    true_accepts = num_genuine - genuine_rejected[::-1]
    return Roc(
        thresholds=np.concatenate([missing, thresholds])[::-1],
        false_accepts=num_pairs - rejected[::-1] - true_accepts,
        true_accepts=true_accepts,
    )


def num_allowed(num_impostor: int, target: float) -> int:
    """The most impostor pairs that may be accepted: the quotient is not above it.

    Args:
        num_impostor: Impostor pairs, at least one.
        target: False accept rate in (0, 1].
    """
    allowed = int(target * num_impostor)
    # The product is rounded: the quotient decides.
    allowed += int((allowed + 1) / num_impostor <= target)
    allowed -= int(allowed / num_impostor > target)
    return allowed


def too_few_impostors(num_impostor: int, target: float) -> str:
    """Why impostor pairs cannot speak of a false accept rate; empty where they can."""
    if num_impostor and 1 / num_impostor <= target:
        return ""
    return (
        f"FAR {target:g} needs at least {int(np.ceil(1 / target)):,} impostor pairs, "
        f"there are {num_impostor:,}"
    )


def area_under_curve(roc: Roc) -> float:
    """Chance that a genuine pair scores above an impostor pair, a tie counting half.

    It is the Mann-Whitney statistic over the number of such couples of pairs, counted
    in whole numbers, and equals the area under the straight-lined ROC curve.
    """
    impostors = np.diff(roc.false_accepts)
    genuine_sums = roc.true_accepts[1:] + roc.true_accepts[:-1]
    twice_wins = int(np.dot(impostors, genuine_sums))
    return twice_wins / (2 * roc.num_impostor * roc.num_genuine)


def equal_error_rate(roc: Roc) -> float:
    """The error rate where the ROC curve has FAR = 1 - TAR.

    Between two thresholds the curve is the straight line that joins them, so the
    rate is exact for tied scores too.
    """
    excess = (
        roc.false_accepts * roc.num_genuine + roc.true_accepts * roc.num_impostor
    ) - roc.num_genuine * roc.num_impostor
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = excess[before] / (excess[before] - excess[after])
    far = roc.far
    return float(far[before] + share * (far[after] - far[before]))


def tar_at_far(roc: Roc, targets: Sequence[float]) -> list[TarAtFar]:
    """True accept rate at the loosest threshold whose FAR is not above each target.

    Args:
        roc: The curve.
        targets: False accept rates in (0, 1].

    Returns:
        One answer a target. With fewer than ``1 / target`` impostor pairs a single
        false accept is already too much, and any number would speak of no more than
        the highest impostor score: ``tar`` is None then and ``note`` says so.

    Raises:
        ParameterError: If a target is outside (0, 1].

    Examples:
        One of the two impostor pairs may be accepted at a FAR of 50 %:

        >>> scores = np.array([0.9, 0.4, 0.6, 0.1])
        >>> roc = roc_curve(scores, np.array([True, True, False, False]))
        >>> [answer] = tar_at_far(roc, [0.5])
        >>> answer.tar, answer.threshold
        (1.0, 0.25)
    """
    return [_tar_at_far(roc, target) for target in targets]


def _tar_at_far(roc: Roc, target: float) -> TarAtFar:
    if not 0 < target <= 1:
        raise ParameterError(f"a false accept rate must be in (0, 1], got {target}")
    note = too_few_impostors(roc.num_impostor, target)
    if note:
        return TarAtFar(target, None, None, None, note)
    allowed = num_allowed(roc.num_impostor, target)
    # The end point that accepts pairs without a score is no threshold to use.
    finite = roc.false_accepts[: len(roc.thresholds) - np.isneginf(roc.thresholds[-1])]
    point = int(np.searchsorted(finite, allowed, side="right")) - 1
    return TarAtFar(
        target_far=target,
        far=int(roc.false_accepts[point]) / roc.num_impostor,
        tar=int(roc.true_accepts[point]) / roc.num_genuine,
        threshold=float(roc.thresholds[point]),
        note="",
    )
