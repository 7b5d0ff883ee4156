"""The papers' pictures: features, curves, angles, similarities, margins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from facever.heads.angular import angular_logits
from facever.heads.arcface import add_angle
from facever.heads.parts.multiple_angle import psi
from facever.inference.vectors import unit_or_zero

_COLUMNS = 4
_COLOURS = "tab10"
_ARCFACE_MARGIN = 0.5
_ANGULAR_SCALE = 10.0
_NUM_THETAS = 721


@dataclass(frozen=True)
class Cloud:
    """Features in the plane.

    Attributes:
        features: The features, one point for each image.
        labels: The classes of the images, which give the colours.
        points: The points to which the head pulls each class; None where it knows
            directions only.
    """

    features: Float[np.ndarray, "images 2"]
    labels: Int64[np.ndarray, " images"]
    points: Float[np.ndarray, "classes 2"] | None


@dataclass(frozen=True)
class AccuracyCurve:
    """Accuracy on the way, shares in [0, 1], means over seeds.

    Attributes:
        steps: The steps after which it was measured.
        train: Error over the training batches since the last point.
        test: The accuracy over the whole test set.
    """

    steps: Sequence[int]
    train: Sequence[float]
    test: Sequence[float]


def draw_clouds(clouds: Mapping[str, Cloud]) -> Figure:
    """2-D features, a panel a cell; stars are anchors or centers."""
    figure, panels = _grid(len(clouds))
    for axes, (name, cloud) in zip(panels, clouds.items(), strict=True):
        axes.scatter(
            cloud.features[:, 0],
            cloud.features[:, 1],
            c=cloud.labels,
            cmap=_COLOURS,
            s=1.5,
            linewidths=0,
            # Tens of thousands of dots would make an SVG that no browser opens.
            rasterized=True,
        )
        if cloud.points is not None:
            axes.scatter(
                cloud.points[:, 0],
                cloud.points[:, 1],
                c=np.arange(len(cloud.points)),
                cmap=_COLOURS,
                marker="*",
                s=130,
                edgecolors="black",
                linewidths=0.8,
                zorder=3,
            )
        axes.set_title(name)
        axes.set_aspect("equal", adjustable="datalim")
        axes.tick_params(labelsize="small")
    return figure


def draw_curves(curves: Mapping[str, AccuracyCurve]) -> Figure:
    """Accuracy against iterations, test whole and training dotted."""
    figure = Figure(figsize=(8.5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        colour = f"C{number % 10}"
        dashes = "-" if number < 10 else "--"
        axes.plot(curve.steps, curve.test, dashes, color=colour, label=name)
        axes.plot(curve.steps, curve.train, ":", color=colour, linewidth=1)
    best = max(max(curve.test) for curve in curves.values())
    worst = min(curve.test[len(curve.test) // 3] for curve in curves.values())
    axes.set_ylim(max(0.0, worst - 2 * (best - worst) - 0.005), min(1.001, best + 0.02))
    axes.set_xlabel("Iteration")
    axes.set_ylabel("Accuracy (test; dotted: training batches)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right upper", fontsize="small")
    return figure


def draw_over_steps(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], title: str
) -> Figure:
    """A number over the run, a line a cell.

    Args:
        lines: The steps of each cell, and the number after each.
        title: The title of the upright axis.
    """
    figure = Figure(figsize=(8.5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (name, (steps, values)) in enumerate(lines.items()):
        dashes = "-" if number < 10 else "--"
        axes.plot(steps, values, dashes, color=f"C{number % 10}", label=name)
    axes.set_xlabel("Iteration")
    axes.set_ylabel(title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right upper", fontsize="small")
    return figure


def draw_angles(
    angles: Mapping[str, tuple[Sequence[int], Float[np.ndarray, "times images"]]],
) -> Figure:
    """Histograms, over the run, of the angle between features and class vector.

    Args:
        angles: The steps of each cell, and the angles in radians at each step.
    """
    figure, panels = _grid(len(angles))
    highest = max(float(values.max()) for _, values in angles.values())
    edges = np.linspace(0, max(highest, 1e-3), 61)
    for axes, (name, (steps, values)) in zip(panels, angles.items(), strict=True):
        counts = np.stack([np.histogram(row, edges)[0] for row in values], axis=1)
        times = np.concatenate([[0], np.asarray(steps)])
        axes.pcolormesh(times, edges, counts / values.shape[1], cmap="magma_r")
        axes.plot(steps, np.median(values, axis=1), color="#00708f", linewidth=1.5)
        axes.set_title(name)
        axes.tick_params(labelsize="small")
    figure.supxlabel("Iteration", fontsize="medium")
    figure.supylabel("Angle to the class vector, radians", fontsize="medium")
    return figure


def draw_similarities(
    features: Mapping[str, Float[np.ndarray, "images dim"]],
) -> Figure:
    """Cosine between features that are sorted by class, a matrix a cell."""
    figure, panels = _grid(len(features))
    shown = None
    for axes, (name, rows) in zip(panels, features.items(), strict=True):
        unit = unit_or_zero(rows)
        shown = axes.imshow(unit @ unit.T, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
    assert shown is not None
    figure.colorbar(shown, ax=figure.axes, shrink=0.6, label="Cosine")
    return figure


def draw_margins() -> Figure:
    """psi(theta), which takes the place of cos(theta), and its angular gradient.

    Drawn from the heads' own functions and their autograd. The angular loss is drawn
    with k = 1; k stretches it.
    """
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (theta, value, slope) in margin_curves().items():
        left.plot(theta, value, label=name)
        right.plot(theta, -slope, label=name)
    left.set_ylabel("ψ(θ)")
    right.set_ylabel("- dψ / dθ")
    for axes in (left, right):
        axes.set_xlabel("θ")
        axes.set_xticks([0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi])
        axes.set_xticklabels(["0", "π/4", "π/2", "3π/4", "π"])
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *left.get_legend_handles_labels(), frameon=False, loc="outside right upper"
    )
    return figure


def margin_curves() -> dict[
    str,
    tuple[
        Float[np.ndarray, " thetas"],
        Float[np.ndarray, " thetas"],
        Float[np.ndarray, " thetas"],
    ],
]:
    """theta, psi and dpsi/dtheta of each loss, theta within (0, pi)."""

    def angular(cosine: Tensor) -> Tensor:
        return angular_logits(cosine[:, None], _ANGULAR_SCALE)[:, 0] / _ANGULAR_SCALE

    losses = {
        "softmax": lambda cosine: psi(cosine, 1),
        "L-Softmax, m = 2": lambda cosine: psi(cosine, 2),
        "L-Softmax, m = 3": lambda cosine: psi(cosine, 3),
        "L-Softmax, m = 4": lambda cosine: psi(cosine, 4),
        f"ArcFace, m = {_ARCFACE_MARGIN}": lambda cosine: add_angle(
            cosine, _ARCFACE_MARGIN, "exact"
        ),
        "angular loss, k = 1": angular,
    }
    curves = {}
    for name, loss in losses.items():
        # The ends, where arccos has no slope, are left out.
        theta = torch.linspace(0, math.pi, _NUM_THETAS + 2, dtype=torch.float64)[1:-1]
        theta.requires_grad_()
        value = loss(theta.cos())
        (slope,) = torch.autograd.grad(value.sum(), theta)
        curves[name] = (
            theta.detach().numpy(),
            value.detach().numpy(),
            slope.numpy(),
        )
    return curves


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with this number of panels, at most four in a row."""
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    size = (3.1 * columns + 0.6, 3.2 * rows + 0.3)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]
