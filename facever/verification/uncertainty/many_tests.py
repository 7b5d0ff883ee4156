"""Correction of p-values where many hypotheses are tested."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: the chance of any false alarm stays at the level.

    A hypothesis may be rejected at a level if its corrected p-value is not above it,
    whatever the tests have in common.

    Args:
        p_values: P-values in [0, 1], of any number of tests.

    Returns:
        Corrected p-values in [0, 1], in the same order.

    References:
        Holm, A simple sequentially rejective multiple test procedure, 1979.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.asarray(p_values, dtype=np.float64)[order] * factors
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [float(each) for each in corrected]
