"""Error rates of groups, with intervals that know people.

Pairs that share a person are not independent: who is hard to tell from others is so in
all of his pairs. The *design effect* says by how much that raises the variance of a
rate; the pairs are worth as many independent ones as there are, divided by it. An
interval is Wilson's for that number of pairs, as Fogliato et al. (2024) recommend: a
bootstrap of few people, or of errors that are rare, gives intervals that are too narrow
or mere points.

The design effect is the larger of two:

- that of the group's own people, from the sums of each person's residuals (for pairs of
  two people the variance of Fafchamps and Gubert, 2007);
- that which a common *correlation* gives: as if every score were normally distributed,
  and any two pairs that share a person were correlated to the same degree. The degree
  is the one at which the pairs of all groups together would err together as often as
  they do. Few people say little about their own dependence, and rare errors nothing.

For three errors or fewer the lower end is that of a Poisson count (Brown, Cai and
DasGupta, 2001, who call it the modified Wilson interval), since Wilson's is too high
there; where nearly all pairs are errors the upper end is treated alike.

How often such intervals hold the truth is measured by ``eval/group_coverage.py``.

References:
    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    Kish, Survey Sampling, 1965 (the design effect).
    Brown, Cai and DasGupta, Interval estimation for a binomial proportion, 2001.
    Fafchamps and Gubert, The formation of risk sharing networks, 2007.
    Fogliato, Patil and Perona, Confidence intervals for error rates in 1:1 matching
    tasks, 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import brentq
from scipy.special import ndtri, owens_t
from scipy.stats import gamma

from facever.verification.uncertainty.intervals import Interval, check_level

_FEW_ERRORS = 3.0
_FEW_PEOPLE = 10


@dataclass(frozen=True)
class ClusteredRate:
    """The share of pairs that are errors.

    Attributes:
        num_errors: Number of errors.
        num_pairs: Number of pairs.
        num_people: Number of people whom the pairs show.
        design_effect: By how much people raise the variance over that of independent
            pairs, at least 1; None without a pair.
        interval: The rate's interval; None without a pair.
        is_small: Whether this is too little to say anything: fewer than ten people, or
            so few pairs that fewer than three errors are expected at the rate of all
            groups together. Then even no error at all would leave that rate possible,
            by the rule of three.
    """

    num_errors: int
    num_pairs: int
    num_people: int
    design_effect: float | None
    interval: Interval | None
    is_small: bool

    @property
    def rate(self) -> float | None:
        """Errors over pairs, in [0, 1]; None without a pair."""
        return self.num_errors / self.num_pairs if self.num_pairs else None


@dataclass(frozen=True)
class PairSums:
    """What the variance of a share needs to know about pairs and their people.

    Attributes:
        num_errors: Number of errors.
        num_pairs: Number of pairs.
        num_people: Number of people whom the pairs show.
        num_together: Number of ordered couples of two pairs that share a person.
        together: Sum of the product of both residuals over these couples, where a
            pair's residual is 1 for an error, or else 0, less the share of errors.
    """

    num_errors: int
    num_pairs: int
    num_people: int
    num_together: int
    together: float

    @classmethod
    def of(
        cls,
        wrong: Bool[np.ndarray, " pairs"],
        left: Int64[np.ndarray, " pairs"],
        right: Int64[np.ndarray, " pairs"],
    ) -> "PairSums":
        """Count.

        Args:
            wrong: True for errors.
            left: A number for the person on each pair's first photo.
            right: The same for the second, equal in a genuine pair.
        """
        if not wrong.size:
            return cls(0, 0, 0, 0, 0.0)
        people, places = np.unique([left, right], return_inverse=True)
        first, second = np.sort(places.reshape(2, -1), axis=0)
        two = first != second
        # Couples that share both people were counted for each of them.
        both = np.unique(first[two] * len(people) + second[two], return_inverse=True)[1]

        def couples(value: Float64[np.ndarray, " pairs"]) -> float:
            of_person = np.bincount(first, value, len(people))
            of_person += np.bincount(second[two], value[two], len(people))
            of_both = np.bincount(both, value[two])
            own = value @ value
            return float(of_person @ of_person - of_both @ of_both - own)

        return cls(
            num_errors=int(np.count_nonzero(wrong)),
            num_pairs=wrong.size,
            num_people=len(people),
            num_together=round(couples(np.ones(wrong.size))),
            together=couples(wrong - wrong.mean()),
        )

    @property
    def rate(self) -> float:
        """The share of errors; at least one pair."""
        return self.num_errors / self.num_pairs

    @property
    def varies(self) -> bool:
        """Whether there are both errors and other pairs."""
        return 0 < self.num_errors < self.num_pairs


def clustered_rates(
    groups: Sequence[PairSums], level: float = 0.95
) -> list[ClusteredRate]:
    """Rates of groups, with intervals; see the head of this file.

    Args:
        groups: The pairs of each group. The common correlation comes from all of them.
        level: Confidence, in (0, 1).

    Raises:
        ParameterError: If ``level`` is out of range.

    Examples:
        Two people with four genuine pairs each, of which one has three errors:

        >>> wrong = np.array([True, True, True, False, False, False, False, False])
        >>> people = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        >>> [found] = clustered_rates([PairSums.of(wrong, people, people)])
        >>> found.rate, round(found.design_effect, 2)
        (0.375, 4.8)
        >>> f"{found.interval.low:.3f} to {found.interval.high:.3f}"
        '0.004 to 0.965'
    """
    check_level(level)
    correlation = common_correlation(groups)
    num_pairs = sum(group.num_pairs for group in groups)
    num_errors = sum(group.num_errors for group in groups)
    overall = num_errors / num_pairs if num_pairs else 0.0
    found = []
    for group in groups:
        if not group.num_pairs:
            found.append(ClusteredRate(0, 0, 0, None, None, True))
            continue
        effect = _design_effect(group, correlation, level)
        num_independent = group.num_pairs / effect
        found.append(
            ClusteredRate(
                group.num_errors,
                group.num_pairs,
                group.num_people,
                effect,
                effective_wilson(group.rate, num_independent, level),
                group.num_people < _FEW_PEOPLE
                or overall * num_independent < _FEW_ERRORS,
            )
        )
    return found


def common_correlation(groups: Sequence[PairSums]) -> float:
    """The correlation of normal scores under which pairs err together as they do.

    Of two pairs with a person in common, both are errors in as many couples as there
    are, over all groups, each with its own rate. Where pairs err together no more often
    than independent ones it is 0.
    """
    groups = [group for group in groups if group.varies]

    def excess(correlation: float) -> float:
        return sum(
            (
                group.num_together * _covariance(group.rate, correlation)
                - group.together
                for group in groups
            ),
            0.0,
        )

    if excess(0.0) >= 0:
        return 0.0
    return 1.0 if excess(1.0) <= 0 else float(brentq(excess, 0.0, 1.0))


def effective_wilson(rate: float, num_pairs: float, level: float) -> Interval:
    """The modified Wilson interval, for a number of pairs that need not be whole.

    Args:
        rate: The share of errors.
        num_pairs: The number of independent pairs that say as much as those there are.
        level: Confidence, in (0, 1).

    Examples:
        >>> interval = effective_wilson(0.9, 100.0, 0.95)
        >>> f"{interval.low:.4f} to {interval.high:.4f}"
        '0.8256 to 0.9448'
    """
    low = _lower_end(rate, num_pairs, level)
    return Interval(low, 1 - _lower_end(1 - rate, num_pairs, level), level)


def _lower_end(rate: float, num_pairs: float, level: float) -> float:
    if rate == 0:
        return 0.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = rate + z**2 / (2 * num_pairs)
    half = z * np.sqrt(rate * (1 - rate) / num_pairs + z**2 / (4 * num_pairs**2))
    low = (middle - half) / (1 + z**2 / num_pairs)
    num_errors = rate * num_pairs
    if num_errors <= _FEW_ERRORS:
        low = min(low, gamma.ppf(1 - level, num_errors) / num_pairs)
    return float(low)


def _design_effect(group: PairSums, correlation: float, level: float) -> float:
    # Where no pair is an error, or all are, the middle of Wilson's interval stands in.
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (group.num_errors + z**2 / 2) / (group.num_pairs + z**2)
    rate = group.rate if group.varies else middle
    together = group.num_together / group.num_pairs
    variance = rate * (1 - rate)
    common = 1 + together * _covariance(rate, correlation) / variance
    if not group.varies or group.num_people < 2:
        return common
    own = 1 + group.together / (group.num_pairs * variance)
    return max(1.0, common, own * group.num_people / (group.num_people - 1))


def _covariance(rate: float, correlation: float) -> float:
    """The covariance of two errors of one rate when normal scores are correlated.

    Both scores are beyond a threshold with a chance that Owen's T function gives.
    """
    slope = np.sqrt((1 - correlation) / (1 + correlation))
    return float(rate - 2 * owens_t(ndtri(rate), slope) - rate**2)
