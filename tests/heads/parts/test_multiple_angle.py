import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facever.heads.parts.multiple_angle import psi

MARGINS = [1, 2, 3, 4]
angles = st.floats(0, math.pi)


def definition(theta: float, margin: int) -> float:
    """(-1)^k cos(m theta) - 2k on [k pi/m, (k+1) pi/m]."""
    for k in range(margin):
        if k * math.pi / margin <= theta <= (k + 1) * math.pi / margin:
            return (-1) ** k * math.cos(margin * theta) - 2 * k
    raise AssertionError(f"{theta} lies outside [0, pi]")


def measure(margin: int, *thetas: float) -> list[float]:
    cosine = torch.tensor([math.cos(theta) for theta in thetas], dtype=torch.float64)
    values: list[float] = psi(cosine, margin).tolist()
    return values


def test_some_values_by_hand() -> None:
    # cos 120 = -1/2. For m = 3 past 120 degrees, k = 2: cos 450 - 4 = -4. For m = 2 at
    # 120 degrees, k = 1: -cos 240 - 2 = -3/2. For m = 4 at 60 degrees, k = 1: the same.
    # At 180 degrees k = m - 1 and (-1)^k cos(m pi) = -1: 1 - 2m.
    assert measure(1, 2 * math.pi / 3) == pytest.approx([-0.5])
    assert measure(3, 5 * math.pi / 6) == pytest.approx([-4.0])
    assert measure(2, 2 * math.pi / 3) == pytest.approx([-1.5])
    assert measure(4, math.pi / 3) == pytest.approx([-1.5])
    for margin in MARGINS:
        ends = [1.0, 1.0 - 2 * margin]
        assert measure(margin, 0.0, math.pi) == pytest.approx(ends)


@given(st.sampled_from(MARGINS), angles)
def test_psi_is_its_definition_with_real_angles(margin: int, theta: float) -> None:
    assert measure(margin, theta) == pytest.approx([definition(theta, margin)])


@pytest.mark.parametrize("margin", MARGINS)
def test_the_pieces_meet(margin: int) -> None:
    for k in range(1, margin):
        knot = k * math.pi / margin
        before, at, after = measure(margin, knot - 1e-7, knot, knot + 1e-7)
        # There (-1)^k cos(k pi) - 2k = 1 - 2k; the slope is 0.
        assert [before, at, after] == pytest.approx([1 - 2 * k] * 3, abs=1e-9)


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_the_pieces_meet_in_float32_where_the_cosine_is_exact(margin: int) -> None:
    knots = {2: {0.0: -1.0}, 3: {0.5: -1.0, -0.5: -3.0}, 4: {0.0: -3.0}}[margin]
    for knot, expected in knots.items():
        cosine = torch.tensor([knot - 1e-6, knot, knot + 1e-6])
        np.testing.assert_allclose(psi(cosine, margin), [expected] * 3, atol=1e-4)


@given(st.sampled_from(MARGINS), angles, st.floats(1e-3, math.pi))
def test_psi_falls_with_the_angle_and_is_never_above_the_cosine(
    margin: int, theta: float, gap: float
) -> None:
    near, far = measure(margin, theta, min(math.pi, theta + gap))
    assert far <= near + 1e-12
    if gap > 0.01 and theta + gap <= math.pi:
        assert far < near
    assert near <= math.cos(theta) + 1e-12


@pytest.mark.parametrize("margin", MARGINS)
def test_the_gradient_is_that_of_the_definition(margin: int) -> None:
    # d psi / d cos = (-1)^k m sin(m theta) / sin(theta), its limit at both ends m^2.
    cosine = torch.linspace(-1, 1, 41, dtype=torch.float64).requires_grad_()
    psi(cosine, margin).sum().backward()
    expected = []
    for theta in np.arccos(cosine.detach().numpy()):
        if math.sin(theta) < 1e-9:
            expected.append(float(margin**2))
        else:
            k = min(margin - 1, math.floor(margin * theta / math.pi))
            slope = (-1) ** k * margin * math.sin(margin * theta) / math.sin(theta)
            expected.append(slope)
    assert cosine.grad is not None
    np.testing.assert_allclose(cosine.grad, expected, atol=1e-6)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_the_gradient_at_the_ends_is_the_square_of_the_margin(
    cosine: float, margin: int
) -> None:
    values = torch.tensor([cosine], requires_grad=True)
    psi(values, margin).sum().backward()
    assert float(values.grad) == pytest.approx(margin**2, rel=1e-5)
