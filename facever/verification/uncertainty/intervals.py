"""Error bars of one model: Wilson's interval and a bootstrap that draws people.

Where nobody says who is on the photos, it draws pairs; see the end.

Pairs that share a person are not independent: who is hard to tell from others is so in
all of his pairs. The bootstrap therefore draws identities, not pairs, which is the
vertex bootstrap of Snijders and Borgatti (1999), here for verification as in Fogliato
et al. (2024): of ``n`` identities ``n`` are drawn with replacement, a genuine pair
counts as often as its identity was drawn, and an impostor pair as often as the product
of how often each of its two identities was. Two copies of one identity make no pair.
The interval is that between two percentiles of the measure over the draws.

What it leaves out, and where it errs:

- The model, the PCA and the folds' thresholds stay as they are: the interval is about
  other people in the test, not another training. The threshold of TAR at FAR is chosen
  again in each draw.
- It is too wide where impostor pairs hardly share people, as in LFW's View 2. The
  variance of a product of two counts is 3, not 1, so the spread of the false accept
  rate comes out up to ``sqrt(3)`` times too large (Owen, 2007), and TAR at a FAR of a
  handful of impostor pairs wider still. That of TAR at a set threshold does not.
  Where a person is in many impostor pairs this part vanishes.
- It shrinks to a point where nothing varies: if all pairs are judged right, so they are
  in each draw. Wilson's interval, which takes pairs for independent, does not.
- A few people make it unreliable, whatever the number of pairs.

Where the people are not known, pairs of each kind are drawn with replacement, the
numbers of both as in the list. That takes pairs for independent, as Wilson's interval
does, and is too narrow where they share people.

References:
    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    Snijders and Borgatti, Non-parametric standard errors and tests for network
    statistics, 1999 (they fill pairs of one identity's copies with others at random).
    Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems: the
    subsets bootstrap, 2004 (draws one side of impostor pairs; too narrow there).
    Owen, The pigeonhole bootstrap, 2007.
    Fogliato, Patil and Perona, Confidence intervals for error rates in 1:1 matching
    tasks, 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binomtest

from facever.errors import ParameterError
from facever.verification.roc import roc_curve, tar_at_far
from facever.verification.uncertainty.resampling import (
    RankedPairs,
    resample,
    what_to_draw,
)


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Confidence, such as 0.95.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of all measures, from the same draws.

    Attributes:
        accuracy: Interval of the share of all pairs judged right, which is the mean of
            the folds' accuracies where folds are of one size.
        auc: Interval of the area under the ROC curve.
        tar: Interval of the TAR at each target FAR, in the order of the targets; None
            where ``roc.tar_at_far`` has no number either.
        num_identities: Number of people that the pairs show, and that are drawn each
            time. None where they are not known and pairs are drawn.
        num_draws: Number of draws.
        seed: Seed of the draws. The same pairs and seed give the same draws to any
            model.
    """

    accuracy: Interval
    auc: Interval
    tar: list[Interval | None]
    num_identities: int | None
    num_draws: int
    seed: int


def wilson(num_right: int, num_pairs: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share, for independent pairs.

    Args:
        num_right: Number of pairs that are judged right.
        num_pairs: Number of all pairs, at least 1.
        level: Confidence, in (0, 1).

    Returns:
        The interval, within [0, 1] even where all pairs are right or none is.

    Raises:
        ParameterError: If ``level`` or a count is out of range.

    Examples:
        >>> interval = wilson(90, 100)
        >>> f"{interval.low:.4f} to {interval.high:.4f}"
        '0.8256 to 0.9448'
    """
    check_level(level)
    if not 0 <= num_right <= num_pairs or num_pairs == 0:
        raise ParameterError(
            "an interval needs at least 1 pair, and no more right than there are; got "
            f"{num_right} right of {num_pairs} pairs"
        )
    found = binomtest(num_right, num_pairs).proportion_ci(level, "wilson")
    return Interval(float(found.low), float(found.high), level)


def bootstrap(
    *,
    scores: Float64[np.ndarray, " pairs"],
    same: Bool[np.ndarray, " pairs"],
    right: Bool[np.ndarray, " pairs"],
    left_identity: Int64[np.ndarray, " pairs"] | None = None,
    right_identity: Int64[np.ndarray, " pairs"] | None = None,
    targets: Sequence[float],
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> BootstrapIntervals:
    """Percentile intervals over draws of people or pairs; see the head of this file.

    In each draw genuine and impostor pairs keep the shares that the protocol gave
    them. Ties are exact. Time grows with ``num_draws * pairs``, memory with ``pairs``:
    1,000 draws take about a quarter of a second for 6,000 pairs, and some 15 seconds
    and 100 MB for a million.

    Args:
        scores: Larger is more similar; ``-inf`` for a pair that could not be scored,
            which stays in and is never accepted.
        same: True for genuine pairs.
        right: True for pairs that their fold's threshold judges right.
        left_identity: Who is on the first photo, any number that stands for them; None
            where that is not known, and pairs are drawn.
        right_identity: Who is on the second photo, or None as well.
        targets: False accept rates in (0, 1]; FAR and TAR are those of a draw's pairs.
        num_draws: Number of draws, at least 1. A draw that leaves no genuine or no
            impostor pair is drawn again.
        seed: Seed of the draws, 0 or more.
        level: Confidence, in (0, 1).

    Returns:
        The intervals.

    Raises:
        ParameterError: If ``level``, ``num_draws`` or a target is out of range.
        DataError: In the same cases as ``roc_curve``, or if a genuine pair shows two
            identities or an impostor pair one.
    """
    check_level(level)
    answers = tar_at_far(roc_curve(scores, same), targets)
    drawn = what_to_draw(same, left_identity, right_identity)
    ranked = RankedPairs.of(scores, same, right)
    measured = [
        ranked.measure(*weights, targets)
        for (weights,) in resample([ranked], drawn, num_draws, seed)
    ]
    tar = np.array([measures.tar for measures in measured]).T
    return BootstrapIntervals(
        accuracy=percentiles(
            [float(measures.accuracy) for measures in measured], level
        ),
        auc=percentiles([float(measures.auc) for measures in measured], level),
        tar=[
            None if answer.tar is None else percentiles(of_target, level)
            for answer, of_target in zip(answers, tar, strict=True)
        ],
        num_identities=drawn.num_identities,
        num_draws=num_draws,
        seed=seed,
    )


def check_level(level: float) -> None:
    """Refuse a confidence that is out of range.

    Raises:
        ParameterError: If ``level`` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ParameterError(f"level must be in (0, 1), got {level}")


def percentiles(
    drawn: Sequence[float] | Float64[np.ndarray, " draws"], level: float
) -> Interval:
    """The interval that leaves out the same share of the draws on both sides."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
