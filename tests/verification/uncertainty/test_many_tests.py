from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.verification.uncertainty.many_tests import holm


def rejected_step_by_step(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure as he wrote it: the smallest against level / n, and so on."""
    left = list(range(len(p_values)))
    rejected: set[int] = set()
    while left:
        smallest = min(left, key=lambda place: p_values[place])
        if p_values[smallest] > level / len(left):
            break
        rejected.add(smallest)
        left.remove(smallest)
    return rejected


@given(
    st.lists(st.integers(0, 200).map(lambda n: n / 200), max_size=8),
    st.integers(1, 99).map(lambda n: n / 100 + 1e-4),
)
def test_corrected_values_reject_what_the_procedure_rejects(
    p_values: list[float], level: float
) -> None:
    corrected = holm(p_values)
    found = {place for place, p_value in enumerate(corrected) if p_value <= level}
    assert found == rejected_step_by_step(p_values, level)
    assert all(
        before <= after <= 1 for before, after in zip(p_values, corrected, strict=True)
    )


def test_order_makes_no_difference() -> None:
    p_values = [0.2, 0.01, 0.01, 0.5]
    expected = dict(zip(p_values, holm(p_values), strict=True))
    for order in permutations(p_values):
        assert holm(order) == pytest.approx([expected[p_value] for p_value in order])
