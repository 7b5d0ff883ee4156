"""Drawing with sub-pixel points on an RGB canvas."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int32, UInt8

from facever.synthetic.identity import Colour

Canvas = UInt8[np.ndarray, "height width 3"]
Fixed = Int32[np.ndarray, "_ 2"]

_SHIFT = 4


def fixed(points: np.ndarray) -> Fixed:
    """Pixels as OpenCV's fixed point numbers, sixteen steps a pixel."""
    return np.rint(points * float(1 << _SHIFT)).astype(np.int32)


def fill(canvas: Canvas, points: Fixed, colour: Colour) -> None:
    """A filled polygon."""
    cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, _SHIFT)


def stroke(
    canvas: Canvas, lines: Sequence[Fixed], colour: Colour, width: int = 1
) -> None:
    """Open lines of one colour."""
    kind = cv2.LINE_AA if width > 2 else cv2.LINE_8
    cv2.polylines(canvas, lines, False, colour, width, kind, _SHIFT)


def loop(canvas: Canvas, points: Fixed, colour: Colour, width: int = 1) -> None:
    """A closed line."""
    cv2.polylines(canvas, [points], True, colour, width, cv2.LINE_AA, _SHIFT)


def dot(canvas: Canvas, center: Fixed, radius: float, colour: Colour) -> None:
    """A filled circle with its centre in ``center[0]`` and its radius in pixels."""
    size = round(radius * (1 << _SHIFT))
    place = (int(center[0, 0]), int(center[0, 1]))
    cv2.circle(canvas, place, size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def window(
    canvas: Canvas, points: Fixed, margin: int
) -> tuple[UInt8[np.ndarray, "low narrow 3"], Fixed] | None:
    """The part of the canvas around the points, and the points' offset in it.

    Returns:
        A view of the canvas and the corner to subtract, or None outside the canvas.
    """
    height, width = canvas.shape[:2]
    left, top = (points.min(axis=0) >> _SHIFT) - margin
    right, bottom = (points.max(axis=0) >> _SHIFT) + margin + 1
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return None
    corner = np.array([[left, top]], dtype=np.int32) << _SHIFT
    return canvas[top:bottom, left:right], corner


def veil(canvas: Canvas, points: Fixed, colour: Colour, strength: float) -> None:
    """A filled polygon through which the canvas shows."""
    found = window(canvas, points, 2)
    if found is None:
        return
    part, corner = found
    painted = part.copy()
    fill(painted, points - corner, colour)
    cv2.addWeighted(painted, strength, part, 1.0 - strength, 0.0, part)
