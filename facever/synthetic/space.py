"""Curves on the head in three dimensions, and where a camera sees them.

The head's own frame has x to the right of the picture, y down and z towards the viewer.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from facever.synthetic.conditions import Conditions

Points2 = Float64[np.ndarray, "_ 2"]
Points3 = Float64[np.ndarray, "_ 3"]
SIDES = (("left", -1.0), ("right", 1.0))

_DEPTH = 0.95
_ANCHOR = np.array([[0.0, 0.4, 0.8]])


@lru_cache(maxsize=32)
def _spline(controls: int, steps: int, closed: bool) -> np.ndarray:
    """Weights [samples, controls] of a Catmull-Rom curve."""
    segments = controls if closed else controls - 1
    at = np.arange(segments * steps + (0 if closed else 1)) / steps
    start = np.minimum(at.astype(int), segments - 1)
    t = at - start
    parts = (
        (-1, -0.5 * t + t**2 - 0.5 * t**3),
        (0, 1 - 2.5 * t**2 + 1.5 * t**3),
        (1, 0.5 * t + 2 * t**2 - 1.5 * t**3),
        (2, -0.5 * t**2 + 0.5 * t**3),
    )
    weights = np.zeros((len(at), controls))
    for offset, weight in parts:
        index = start + offset
        index = index % controls if closed else np.clip(index, 0, controls - 1)
        np.add.at(weights, (np.arange(len(at)), index), weight)
    return weights


def curve(controls: np.ndarray, steps: int = 5, closed: bool = False) -> np.ndarray:
    """A smooth curve through the control points [controls, dimensions]."""
    return np.asarray(_spline(len(controls), steps, closed) @ controls)


def surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the face's skin at a place of its front, without nose and lips."""
    inside = 1.0 - 0.8 * x * x - 0.2 * (y - 0.05) ** 2
    return np.asarray(_DEPTH * np.sqrt(np.maximum(inside, 0.06)))


def lift(points: np.ndarray, above: np.ndarray | float = 0.0) -> Points3:
    """Points of the face's front, put on its surface or a little above it."""
    x, y = points[:, 0], points[:, 1]
    return np.array([x, y, surface(x, y) + above]).T


def mirrored(points: Points3, side: float) -> Points3:
    """The points of the right side, or their mirror image where ``side`` is -1."""
    return points * (side, 1.0, 1.0)


def _turn(points: Points3, conditions: Conditions) -> Points2:
    cos, sin = np.cos(conditions.yaw), np.sin(conditions.yaw)
    x = points[:, 0] * cos + points[:, 2] * sin
    z = points[:, 2] * cos - points[:, 0] * sin
    cos, sin = np.cos(conditions.pitch), np.sin(conditions.pitch)
    y = points[:, 1] * cos + z * sin
    z = z * cos - points[:, 1] * sin
    distance = conditions.camera_distance
    return np.asarray(np.array([x, y]).T * (distance / (distance - z))[:, None])


def to_plane(points: Points3, conditions: Conditions) -> Points2:
    """Turn the head by yaw and pitch and look at it from the camera.

    Returns:
        Head units in the picture plane, before the in-plane rotation, with the middle
        of the face at the origin.
    """
    return np.asarray(_turn(points, conditions) - _turn(_ANCHOR, conditions))


def plane_to_photo(conditions: Conditions) -> Float64[np.ndarray, "2 3"]:
    """The similarity from the picture plane (head units) to pixels of the photo."""
    cos = conditions.unit * np.cos(conditions.roll)
    sin = conditions.unit * np.sin(conditions.roll)
    return np.array([[cos, -sin, conditions.center_x], [sin, cos, conditions.center_y]])


def apply(matrix: Float64[np.ndarray, "2 3"], points: Points2) -> Points2:
    """The points after an affine map."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])
