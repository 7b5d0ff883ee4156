from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.verification.groups.differentials import differentials, garbe, gini

NONE = float("nan")


def slow_gini(rates: list[float]) -> float:
    n, mean = len(rates), sum(rates) / len(rates)
    gaps = sum(abs(one - other) for one, other in product(rates, repeat=2))
    return n / (n - 1) * gaps / (2 * n**2 * mean)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 2))
def test_gini_by_its_definition(rates: list[float], absent: int) -> None:
    found = float(gini(np.array([NONE] * absent + rates)))
    if sum(rates) < 1e-6:
        return
    assert found == pytest.approx(slow_gini(rates), abs=1e-9)
    assert -1e-9 <= found <= 1 + 1e-9
    # Sets of rates along the other axes are measured one by one.
    both = gini(np.array([rates, rates[::-1]])).tolist()
    assert both == pytest.approx([found, found])


def test_by_hand() -> None:
    # Rates 1, 2 and 9 of 12: gaps of 1, 7 and 8 in both orders, over 2 * 2 * 12.
    found = differentials(np.array([0.01, NONE, 0.09, 0.02]))
    assert (found.num_groups, found.largest_over_smallest) == (3, pytest.approx(9))
    assert found.largest_over_mean == pytest.approx(9 / 18 ** (1 / 3))
    assert found.gini == pytest.approx(32 / 48)


def test_where_there_is_no_number() -> None:
    zero = differentials(np.array([0.0, 0.5]))
    assert (zero.largest_over_smallest, zero.largest_over_mean) == (None, None)
    assert zero.gini == 1
    for rates in ([0.0, 0.0], [0.5, NONE], [NONE, NONE]):
        assert differentials(np.array(rates)).gini is None
    assert np.isnan(garbe(np.array([0.5]), np.array([NONE])))


def test_garbe_is_the_mean() -> None:
    found = garbe(np.array([0.2, 1.0]), np.array([0.6, 0.0]))
    assert found == pytest.approx([0.4, 0.5])
