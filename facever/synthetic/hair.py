"""Painting hair, hats, glasses and whatever is between the camera and the face."""

import cv2
import numpy as np

from facever.synthetic import brush
from facever.synthetic.brush import Canvas, Fixed
from facever.synthetic.conditions import Conditions
from facever.synthetic.growth import FRINGE_STYLES, LONG_STYLES
from facever.synthetic.identity import Colour, Identity, shade

Shapes = dict[str, Fixed]
_SIDES = ("left", "right")


def paint_back_hair(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    unit: float,
    rng: np.random.Generator,
) -> None:
    """Hair behind neck and face."""
    if identity.hair_style in LONG_STYLES:
        brush.fill(canvas, shapes["back_hair"], shade(identity.hair, 0.7))
    if identity.hair_style == "bald":
        return
    hull = cv2.convexHull(shapes["cap"])[:, 0]
    brush.fill(canvas, hull, identity.hair)
    if identity.hair_style == "curly":
        for place in hull[:: max(1, len(hull) // 26)]:
            size = (0.08 + 0.1 * rng.random()) * unit
            tone = shade(identity.hair, 0.8 + 0.35 * rng.random())
            brush.dot(canvas, place[None], size, tone)


def paint_strands(
    canvas: Canvas, shapes: Shapes, identity: Identity, width: int
) -> None:
    """Lighter and darker lines of hair."""
    lines = list(shapes["strands"].reshape(-1, 5, 2))
    for row, factor in enumerate((0.72, 1.25, 0.86, 1.12)):
        brush.stroke(canvas, lines[row::4], shade(identity.hair, factor), width)


def paint_front_hair(
    canvas: Canvas, shapes: Shapes, identity: Identity, width: int
) -> None:
    """Fringe and side locks, in front of the face."""
    hair = identity.hair
    if identity.hair_style in FRINGE_STYLES:
        brush.fill(canvas, shapes["fringe"], shade(hair, 0.97))
        lines = shapes["fringe_lines"].reshape(-1, 3, 2)
        brush.stroke(canvas, list(lines[::2]), shade(hair, 0.8), width)
        brush.stroke(canvas, list(lines[1::2]), shade(hair, 1.15), width)
    if identity.hair_style in LONG_STYLES:
        for side in _SIDES:
            brush.fill(canvas, shapes[f"{side}_lock"], shade(hair, 0.9))
            lines = shapes[f"{side}_lock_lines"].reshape(-1, 8, 2)
            brush.stroke(canvas, list(lines[::2]), shade(hair, 0.72), width)
            brush.stroke(canvas, list(lines[1::2]), shade(hair, 1.15), width)


def paint_hat(canvas: Canvas, shapes: Shapes, conditions: Conditions) -> None:
    """A beanie, or a cap with a peak."""
    if conditions.hat == "none":
        return
    brush.fill(canvas, cv2.convexHull(shapes["hat"])[:, 0], conditions.hat_colour)
    if conditions.hat == "cap":
        brush.fill(canvas, shapes["peak"], shade(conditions.hat_colour, 0.7))
    else:
        band = shapes["band"]
        brush.fill(canvas, band, shade(conditions.hat_colour, 0.8))


def paint_glasses(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
) -> None:
    """Clear glasses or sunglasses."""
    if conditions.glasses == "none":
        return
    width = max(1, round(identity.glasses_thickness * unit))
    for side in _SIDES:
        rim = shapes[f"{side}_rim"]
        if conditions.glasses == "sun":
            brush.veil(canvas, rim, (22.0, 20.0, 24.0), 0.93)
        else:
            brush.veil(canvas, rim, (235.0, 240.0, 245.0), 0.08)
        brush.stroke(canvas, [shapes[f"{side}_temple"]], identity.glasses, width)
        brush.loop(canvas, rim, identity.glasses, width)
    brush.stroke(canvas, [shapes["glasses_bridge"]], identity.glasses, width)


def paint_occluder(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
    rng: np.random.Generator,
) -> None:
    """Loose hair, a hand, a bar or a microphone in front of the face."""
    kind = conditions.occluder
    if kind == "none":
        return
    middle = np.array([conditions.center_x, conditions.center_y])
    if kind == "strands":
        start = middle + unit * np.column_stack(
            [rng.uniform(-1.1, 1.1, 9), rng.uniform(-1.7, -1.3, 9)]
        )
        end = start + unit * np.column_stack(
            [rng.uniform(-0.5, 0.5, 9), rng.uniform(1.0, 2.4, 9)]
        )
        bend = (start + end) / 2 + unit * rng.uniform(-0.25, 0.25, (9, 2))
        lines = [brush.fixed(line) for line in np.stack([start, bend, end], axis=1)]
        brush.stroke(canvas, lines, shade(identity.hair, 0.9), 2)
    elif kind == "hand":
        side = 1.0 if rng.random() < 0.5 else -1.0
        palm = middle + unit * np.array([side * rng.uniform(0.6, 1.1), 1.2])
        skin = shade(identity.skin, 0.92)
        elbow = palm + unit * np.array([side * 0.6, 4.0])
        arm = brush.fixed(np.stack([palm, elbow]))
        brush.stroke(canvas, [arm], skin, round(0.5 * unit))
        brush.dot(canvas, brush.fixed(palm[None]), 0.42 * unit, skin)
        for finger in range(4):
            angle = -1.2 - side * (0.35 - 0.28 * finger)
            reach = 0.95 * unit * np.array([np.cos(angle), np.sin(angle)])
            line = brush.fixed(np.stack([palm, palm + reach]))
            brush.stroke(canvas, [line], shade(skin, 0.75), round(0.24 * unit))
            brush.stroke(canvas, [line], skin, round(0.19 * unit))
    elif kind == "bar":
        angle = rng.uniform(0.0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])
        place = middle + unit * rng.uniform(-0.8, 0.8, 2)
        line = brush.fixed(np.stack([place - 400.0 * along, place + 400.0 * along]))
        colour: Colour = tuple(rng.uniform(10.0, 240.0, 3).tolist())
        brush.stroke(canvas, [line], colour, round(rng.uniform(0.1, 0.3) * unit))
    else:
        head = middle + unit * np.array(
            [rng.uniform(-0.4, 0.4), rng.uniform(0.75, 1.1)]
        )
        foot = head + unit * np.array([rng.uniform(-1.0, 1.0), 4.0])
        stick = brush.fixed(np.stack([head, foot]))
        brush.stroke(canvas, [stick], (40.0, 40.0, 44.0), round(0.14 * unit))
        brush.dot(canvas, brush.fixed(head[None]), 0.2 * unit, (58.0, 58.0, 62.0))
