import math

import numpy as np
import pytest

from facever.small_images.figures import (
    AccuracyCurve,
    Cloud,
    draw_angles,
    draw_clouds,
    draw_curves,
    draw_over_steps,
    draw_similarities,
    margin_curves,
)


def psi_by_definition(theta: float, m: int) -> float:
    k = min(int(theta / (math.pi / m)), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def test_margins_against_their_definitions() -> None:
    curves = margin_curves()
    for m in (1, 2, 3, 4):
        name = "softmax" if m == 1 else f"L-Softmax, m = {m}"
        theta, value, _ = curves[name]
        wanted = [psi_by_definition(each, m) for each in theta]
        np.testing.assert_allclose(value, wanted, atol=1e-9)
    theta, value, slope = curves["ArcFace, m = 0.5"]
    below = theta < math.pi - 0.51
    np.testing.assert_allclose(value[below], np.cos(theta + 0.5)[below], atol=1e-9)
    inside = below & (theta > 0.01)
    np.testing.assert_allclose(slope[inside], -np.sin(theta + 0.5)[inside], atol=1e-6)
    theta, value, slope = curves["angular loss, k = 1"]
    np.testing.assert_allclose(value, -theta, atol=1e-9)
    np.testing.assert_allclose(slope, -1, atol=1e-9)


@pytest.mark.parametrize("name", list(margin_curves()))
def test_slopes_are_those_of_the_curves(name: str) -> None:
    theta, value, slope = margin_curves()[name]
    # Away from the corners of psi, where its slope jumps.
    numeric = np.gradient(value, theta)
    close = np.abs(numeric - slope) < 0.02
    assert close.mean() > 0.98


@pytest.mark.parametrize("count", [1, 3, 11])
def test_a_panel_a_cell(count: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 10
    clouds = {
        f"cell {n}": Cloud(
            rng.normal(size=(30, 2)),
            labels,
            rng.normal(size=(10, 2)) if n % 2 else None,
        )
        for n in range(count)
    }
    shown = [axes for axes in draw_clouds(clouds).axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list(clouds)
    assert [len(axes.collections) for axes in shown] == [
        1 + n % 2 for n in range(count)
    ]
    matrices = draw_similarities({name: each.features for name, each in clouds.items()})
    titles = [axes.get_title() for axes in matrices.axes if axes.images]
    assert titles == list(clouds)


def test_similarities_are_cosines() -> None:
    rows = np.array([[3.0, 0], [0, 2], [-1, 0], [0, 0]])
    shown = draw_similarities({"a": rows}).axes[0].images[0].get_array()
    assert shown is not None
    wanted = [[1, 0, -1, 0], [0, 1, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(shown, wanted, atol=1e-12)


def test_angles_are_shares_of_the_images() -> None:
    values = np.array([[0.0, 1.0, 1.0, 2.0], [0.5, 0.5, 0.5, 0.5]])
    mesh = draw_angles({"a": ([10, 30], values)}).axes[0].collections[0]
    shares = np.asarray(mesh.get_array())
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert sorted(shares[:, 0][shares[:, 0] > 0]) == [0.25, 0.25, 0.5]


def test_curves_show_test_and_training() -> None:
    curve = AccuracyCurve([1, 2, 3], [0.5, 0.8, 0.9], [0.6, 0.7, 0.95])
    axes = draw_curves({"a": curve, "b": curve}).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [
        curve.test,
        curve.train,
    ] * 2


def test_a_number_over_the_steps() -> None:
    lines = {f"k={k}": ([1, 2], [0.5 * k, 2.0 * k]) for k in range(12)}
    axes = draw_over_steps(lines, "WCIntra").axes[0]
    assert [line.get_label() for line in axes.lines] == list(lines)
    for line, (_, values) in zip(axes.lines, lines.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 12
    assert axes.get_ylabel() == "WCIntra"
