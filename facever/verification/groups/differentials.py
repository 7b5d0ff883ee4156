"""How far apart the error rates of groups are, in one number.

All of them grow by chance alone when groups are small; ``deals`` says by how much.

References:
    Grother, Demographic differentials in face recognition algorithms (FRVT part 8:
    Summarizing demographic differentials), NIST IR 8429, 2022.
    Howard, Laird, Sirotin, Rubin, Tipton and Vemury, Evaluating proposed fairness
    models for face recognition algorithms, 2022 (GARBE).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

GARBE_WEIGHT = 0.5
"""How much the false match rate counts in GARBE; the rest is the other rate's."""


@dataclass(frozen=True)
class Differentials:
    """How far apart one error rate is, over the groups that have pairs for it.

    Attributes:
        num_groups: Number of these groups.
        largest_over_smallest: The largest rate over the smallest; None where the
            smallest is 0.
        largest_over_mean: The largest rate over the geometric mean; None where a rate
            is 0.
        gini: The Gini coefficient, see ``gini``; None with fewer than two groups, or if
            all rates are 0.
    """

    num_groups: int
    largest_over_smallest: float | None
    largest_over_mean: float | None
    gini: float | None


def differentials(rates: Float64[np.ndarray, " groups"]) -> Differentials:
    """Measure how far apart rates are.

    Args:
        rates: The rate of each group, in [0, 1]; NaN where it has no pairs.

    Examples:
        >>> found = differentials(np.array([0.01, 0.04]))
        >>> round(found.largest_over_smallest, 6), round(found.largest_over_mean, 6)
        (4.0, 2.0)
        >>> round(found.gini, 6)
        0.6
    """
    there = rates[np.isfinite(rates)]
    ratio = mean = None
    if there.size and there.min() > 0:
        ratio = float(there.max() / there.min())
        mean = float(there.max() / np.exp(np.log(there).mean()))
    coefficient = float(gini(rates))
    return Differentials(
        there.size, ratio, mean, None if np.isnan(coefficient) else coefficient
    )


def gini(rates: Float64[np.ndarray, "*sets groups"]) -> Float64[np.ndarray, "*sets"]:
    """The Gini coefficient of rates: 0 if all are equal, 1 if all but one are 0.

    It is half of the mean difference of any two of n groups over the mean rate, times
    n / (n - 1), which lets it reach 1 however few groups there are.

    Args:
        rates: Rates along the last axis; NaN where there is none.

    Returns:
        In [0, 1]; NaN with fewer than two groups, or if all rates are 0.
    """
    there = np.isfinite(rates)
    number = there.sum(axis=-1)
    gaps = np.nansum(np.abs(rates[..., :, None] - rates[..., None, :]), axis=(-2, -1))
    # The sum over n * n couples, over 2 * n * n means, times n / (n - 1).
    whole = 2 * (number - 1) * np.nansum(rates, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((number > 1) & (whole > 0), gaps / whole, np.nan)


def garbe(
    fmr_gini: Float64[np.ndarray, " sets"], fnmr_gini: Float64[np.ndarray, " sets"]
) -> Float64[np.ndarray, " sets"]:
    """The Gini aggregation rate for biometric equitability: a weighted mean of both."""
    mean: Float64[np.ndarray, " sets"] = (
        GARBE_WEIGHT * fmr_gini + (1 - GARBE_WEIGHT) * fnmr_gini
    )
    return mean
