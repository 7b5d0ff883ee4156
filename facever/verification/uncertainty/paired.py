"""Is one model better than another? Two models on the same pairs.

Two intervals that overlap say little: both models meet the same hard pairs, so most of
what varies is common to them. Here it cancels: McNemar's test looks only at the pairs
on which the models disagree, and the bootstrap measures both models in the same draws
of people, or of pairs where nobody says who is on the photos (see ``intervals``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binomtest

from facever.verification.roc import area_under_curve, roc_curve
from facever.verification.uncertainty.intervals import (
    Interval,
    check_level,
    percentiles,
)
from facever.verification.uncertainty.resampling import (
    RankedPairs,
    resample,
    what_to_draw,
)


@dataclass(frozen=True)
class Difference:
    """A measure of the first model less that of the second.

    Attributes:
        value: The difference on the pairs as they are; above 0 if the first model is
            better.
        interval: Percentile interval over the draws.
        p_value: Two-sided: twice the share of draws on the rarer side of 0, draws of
            exactly 0 on both sides, and one draw more on each (so never 0).
    """

    value: float
    interval: Interval
    p_value: float

    def turned(self) -> "Difference":
        """The second model less the first."""
        ends = self.interval
        # From 0.0, since -0.0 would be shown with its sign.
        turned = Interval(0.0 - ends.high, 0.0 - ends.low, ends.level)
        return Difference(0.0 - self.value, turned, self.p_value)


@dataclass(frozen=True)
class PairedComparison:
    """What the same pairs say about two models.

    Attributes:
        num_both_right: Number of pairs that both models judge right.
        num_only_first: Number of pairs that only the first model judges right.
        num_only_second: Number of pairs that only the second model judges right.
        num_both_wrong: Number of pairs that both models judge wrong.
        mcnemar_p_value: Two-sided p-value of McNemar's exact test, which takes pairs
            for independent; 1 where the models never disagree.
        accuracy: Difference of the shares of all pairs judged right.
        auc: Difference of the areas under the ROC curves.
        num_identities: Number of people that the pairs show, and that are drawn each
            time. None where they are not known and pairs are drawn.
        num_draws: Number of draws.
        seed: Seed of the draws.
    """

    num_both_right: int
    num_only_first: int
    num_only_second: int
    num_both_wrong: int
    mcnemar_p_value: float
    accuracy: Difference
    auc: Difference
    num_identities: int | None
    num_draws: int
    seed: int

    def turned(self) -> "PairedComparison":
        """The same of the second model and the first."""
        return replace(
            self,
            num_only_first=self.num_only_second,
            num_only_second=self.num_only_first,
            accuracy=self.accuracy.turned(),
            auc=self.auc.turned(),
        )


def mcnemar(num_only_first: int, num_only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test.

    If the models are equally good, each pair on which just one is right is a toss of a
    fair coin.

    Args:
        num_only_first: Pairs that only the first model judges right.
        num_only_second: Number of pairs that only the second model judges right.

    Returns:
        The p-value, 1 where the models never disagree.

    References:
        McNemar, Note on the sampling error of the difference between correlated
        proportions or percentages, 1947.

    Examples:
        At most one of six tosses, or at least five, are heads: 2 * (1 + 6) / 64.

        >>> round(mcnemar(5, 1), 5)
        0.21875
    """
    num_tosses = num_only_first + num_only_second
    if num_tosses == 0:
        return 1.0
    return float(binomtest(num_only_first, num_tosses).pvalue)


def compare_models(
    *,
    same: Bool[np.ndarray, " pairs"],
    left_identity: Int64[np.ndarray, " pairs"] | None = None,
    right_identity: Int64[np.ndarray, " pairs"] | None = None,
    first_scores: Float64[np.ndarray, " pairs"],
    first_right: Bool[np.ndarray, " pairs"],
    second_scores: Float64[np.ndarray, " pairs"],
    second_right: Bool[np.ndarray, " pairs"],
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedComparison:
    """Compare two models pair by pair; swapping them flips the signs and no more.

    Args:
        same: True for genuine pairs.
        left_identity: Who is on the first photo, any number that stands for them; None
            where that is not known, and pairs are drawn.
        right_identity: Who is on the second photo, or None as well.
        first_scores: The first model's scores; ``-inf`` for a pair that could not be
            scored.
        first_right: True for pairs that the first model judges right.
        second_scores: The second model's scores, on any other scale.
        second_right: True for pairs that the second model judges right.
        num_draws: Number of draws, at least 1.
        seed: Seed of the draws, 0 or more.
        level: Confidence, in (0, 1).

    Returns:
        Counts, McNemar's test and the differences.

    Raises:
        ParameterError: If ``level`` or ``num_draws`` is out of range.
        DataError: In the same cases as ``intervals.bootstrap``.

    References:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 4
        (p-values count the data as one draw more).
    """
    check_level(level)
    drawn = what_to_draw(same, left_identity, right_identity)
    auc = area_under_curve(roc_curve(first_scores, same)) - area_under_curve(
        roc_curve(second_scores, same)
    )
    rankings = [
        RankedPairs.of(first_scores, same, first_right),
        RankedPairs.of(second_scores, same, second_right),
    ]
    accuracies, areas = [], []
    for weights in resample(rankings, drawn, num_draws, seed):
        first, second = (
            ranking.measure(*of_model, targets=())
            for ranking, of_model in zip(rankings, weights, strict=True)
        )
        accuracies.append(float(first.accuracy - second.accuracy))
        areas.append(float(first.auc - second.auc))
    only_first = int(np.count_nonzero(first_right & ~second_right))
    only_second = int(np.count_nonzero(second_right & ~first_right))
    return PairedComparison(
        num_both_right=int(np.count_nonzero(first_right & second_right)),
        num_only_first=only_first,
        num_only_second=only_second,
        num_both_wrong=int(np.count_nonzero(~(first_right | second_right))),
        mcnemar_p_value=mcnemar(only_first, only_second),
        accuracy=_difference((only_first - only_second) / same.size, accuracies, level),
        auc=_difference(auc, areas, level),
        num_identities=drawn.num_identities,
        num_draws=num_draws,
        seed=seed,
    )


def _difference(value: float, drawn: Sequence[float], level: float) -> Difference:
    draws = np.array(drawn)
    rarer = int(min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0)))
    p_value = min(1.0, 2 * (rarer + 1) / (draws.size + 1))
    return Difference(value, percentiles(draws, level), p_value)
