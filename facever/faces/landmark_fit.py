"""Whether five landmarks lie as those of a face do, and if not, what is wrong.

A face's landmarks are near the template after a turn, a scale and a shift. What is left
between them, the residual, is small for a frontal face, larger for a profile, and large
for points that are not what they are taken for.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float64

from facever.faces.templates import CARD_POINTS

FITTING_RESIDUAL = 0.3
"""Frontal faces are below; see ``residuals``."""

LARGEST_RESIDUAL = 0.5
"""Above it no five points are taken for a face; full profiles reach 0.46."""

_STEEPEST_TURN = np.pi / 3
_POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
_EXCHANGED = "x and y are exchanged"
_AXES = {
    "": (1.0, 1.0),
    _EXCHANGED: (1.0, 1.0),
    "y is counted from the photo's bottom": (1.0, -1.0),
}
# What each place of the order holds, for the orders that have a shorter name.
_NAMED_ORDERS = {
    (0, 1, 2, 3, 4): "",
    (1, 0, 2, 4, 3): "the left eye lies right of the right eye and the left corner of "
    "the mouth right of the right one",
    (1, 0, 2, 3, 4): "the left eye lies right of the right eye",
    (0, 1, 2, 4, 3): "the left corner of the mouth lies right of the right one",
}
_ORDERS = [
    *_NAMED_ORDERS,
    *(o for o in permutations(range(5)) if o not in _NAMED_ORDERS),
]


_MIN_EXTENT = 3.0  # Pixels.
_KEPT_DIGITS = 4


class Misfit(NamedTuple):
    """What is wrong with landmarks.

    Attributes:
        reason: In words, such as ``x and y are exchanged``.
        residual: The median residual after it is put right.
    """

    reason: str
    residual: float


def residuals(
    landmarks: Float64[np.ndarray, "faces 5 2"],
) -> Float64[np.ndarray, " faces"]:
    """How far landmarks are from the template, fitted to it by a similarity.

    Args:
        landmarks: Left eye, right eye, nose, left and right mouth corner; any unit.

    Returns:
        The root of the mean squared distance over the five points, in distances of the
        template's eyes: 0 to 0.66; NaN for points that all fall on one.

    Examples:
        >>> from facever.faces.templates import CARD_POINTS
        >>> turned = CARD_POINTS[:, ::-1] * (3.0, -3.0) + 100
        >>> residuals(np.stack([turned, CARD_POINTS[[1, 0, 2, 4, 3]]])).round(2) + 0
        array([0.  , 0.64])
    """
    return _fit(landmarks, _GOALS[None])[0][:, 0]


def measure_residuals(
    landmarks: Float64[np.ndarray, "faces 5 2"],
) -> Float64[np.ndarray, " faces"]:
    """``residuals`` with as many digits as are kept of them."""
    return residuals(landmarks).round(_KEPT_DIGITS)


def find_misfit(landmarks: Float64[np.ndarray, "faces 5 2"]) -> Misfit | None:
    """What is wrong with landmarks in all these faces alike.

    Every order of the points and every meaning of x and y is tried. One is taken for
    what was meant if it leaves less than half the residual and the faces upright.

    Args:
        landmarks: As they were given; of at least one face.

    Returns:
        None where they are right, or nothing known would put them right.
    """
    as_given = residuals(landmarks)
    known = landmarks[np.isfinite(as_given)]
    if not len(known) or np.median(as_given[np.isfinite(as_given)]) <= FITTING_RESIDUAL:
        return None
    largest = min(float(np.nanmedian(as_given)) / 2, FITTING_RESIDUAL)
    best: Misfit | None = None
    for axes, factors in _AXES.items():
        exchanged = known[..., ::-1] if axes == _EXCHANGED else known
        left, turns = _fit(exchanged * factors, _GOALS[np.array(_ORDERS)])
        left = np.median(left, axis=0)
        # Of their sizes: upside down is a half turn to either side.
        left[np.median(np.abs(turns), axis=0) > _STEEPEST_TURN] = np.inf
        order = int(left.argmin())
        if left[order] < (largest if best is None else best.residual):
            reasons = [reason for reason in (axes, _name(_ORDERS[order])) if reason]
            best = Misfit(", and ".join(reasons), float(left[order]))
    return best


def find_outliers(landmarks: Float64[np.ndarray, "faces 5 2"]) -> dict[int, str]:
    """Faces whose landmarks cannot be meant as they are.

    Args:
        landmarks: Pixels of the photo.

    Returns:
        The reason, fit for a ledger, by the number of the face.
    """
    as_given = residuals(landmarks)
    outliers = {
        face: f"the landmarks do not lie like a face's: {as_given[face]:.2f} distances "
        "of the eyes from the template"
        for face in np.flatnonzero(as_given > LARGEST_RESIDUAL).tolist()
    }
    for order, reason in _NAMED_ORDERS.items():
        swapped = residuals(landmarks[:, list(order)])
        is_better = (as_given > FITTING_RESIDUAL) & (swapped < as_given / 2)
        outliers |= {face: reason for face in np.flatnonzero(is_better).tolist()}
    extents = np.ptp(landmarks, axis=1).max(axis=1)
    is_small = (extents < _MIN_EXTENT) & np.isfinite(as_given)
    for face in np.flatnonzero(is_small).tolist():
        outliers[face] = (
            f"the landmarks lie within {extents[face]:.2g} pixels, as in "
            "units of the photo's size (0..1)"
        )
    return outliers


def is_outside(landmarks: Float64[np.ndarray, "5 2"], height: int, width: int) -> bool:
    """Whether a point lies outside the photo by more than half a distance of the eyes.

    A face that the photo's border cuts may have points somewhat outside.

    Args:
        landmarks: Pixels of the photo.
        height: The photo's height, pixels.
        width: The photo's width, pixels.
    """
    centred = np.abs(_centred(landmarks))
    eyes = np.sqrt(np.square(centred).mean() / np.square(np.abs(_GOALS)).mean()) * _EYES
    beyond = np.maximum(-landmarks, landmarks - (width - 1, height - 1))
    return bool(beyond.max() > eyes / 2)


def _name(order: tuple[int, ...]) -> str:
    if order in _NAMED_ORDERS:
        return _NAMED_ORDERS[order]
    return "the points come in the order " + ", ".join(
        _POINTS[place] for place in order
    )


def _fit(
    landmarks: Float64[np.ndarray, "faces 5 2"],
    goals: Complex128[np.ndarray, "goals 5"],
) -> tuple[Float64[np.ndarray, "faces goals"], Float64[np.ndarray, "faces goals"]]:
    """Residuals, and how far each face is turned against the goals; radians."""
    points = _centred(landmarks)
    spread, goal_spread = (np.square(np.abs(p)).sum(-1) for p in (points, goals))
    product = points.conj() @ goals.T
    with np.errstate(invalid="ignore", divide="ignore"):
        left = goal_spread - np.square(np.abs(product)) / spread[:, None]
    return np.sqrt(left.clip(0) / 5) / _EYES, np.angle(product)


def _centred(
    points: Float64[np.ndarray, "*faces 5 2"],
) -> Complex128[np.ndarray, "*faces 5"]:
    plane = points[..., 0] + 1j * points[..., 1]
    centred: Complex128[np.ndarray, "*faces 5"] = plane - plane.mean(-1, keepdims=True)
    return centred


_GOALS = _centred(CARD_POINTS)
_EYES = float(np.hypot(*(CARD_POINTS[1] - CARD_POINTS[0])))
