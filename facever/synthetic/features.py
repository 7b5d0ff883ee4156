"""Painting the face: skin, eyes, brows, nose, mouth and marks."""

import cv2
import numpy as np

from facever.synthetic import brush
from facever.synthetic.brush import Canvas, Fixed
from facever.synthetic.conditions import Conditions
from facever.synthetic.identity import Colour, Identity, mix, shade

Shapes = dict[str, Fixed]
_SIDES = ("left", "right")
_DARK: Colour = (34.0, 22.0, 20.0)


def paint_behind(canvas: Canvas, shapes: Shapes, identity: Identity) -> None:
    """Neck and ears, which the face covers in part."""
    brush.fill(canvas, shapes["neck"], shade(identity.skin, 0.74))
    for side in _SIDES:
        brush.fill(canvas, shapes[f"{side}_ear"], shade(identity.skin, 0.94))
        brush.fill(canvas, shapes[f"{side}_ear_inside"], shade(identity.skin, 0.74))


def paint_skin(canvas: Canvas, shapes: Shapes, identity: Identity, width: int) -> None:
    """The face up to the hairline, over whatever hair is behind."""
    points = shapes["face"]
    hairline = shapes["hairline"]
    order = cv2.convexHull(points, returnPoints=False)[:, 0]
    hull = points[order]
    if identity.hair_style != "bald":
        hull = _below(hull, hairline)
    brush.fill(canvas, hull, identity.skin)
    brush.loop(canvas, hull, shade(identity.skin, 0.8), width)


def _below(hull: Fixed, hairline: Fixed) -> Fixed:
    """The outline with its part above the ends of the hairline cut along it."""
    start, end = hairline[-1].astype(float), hairline[0].astype(float)
    across = end - start
    from_start = hull - start
    beyond = across[0] * from_start[:, 1] - across[1] * from_start[:, 0]
    keep = beyond > 0.0
    if keep.all() or not keep.any():
        return hull
    # Turn the loop so that the points to keep are in one run.
    first = int(np.flatnonzero(keep & ~np.roll(keep, 1))[0])
    kept = np.roll(hull, -first, axis=0)[np.roll(keep, -first)]
    near_start = np.abs(kept[-1] - start).sum() < np.abs(kept[-1] - end).sum()
    line = hairline[::-1] if near_start else hairline
    return np.vstack([kept, line])


def paint_marks(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
) -> None:
    """Freckles, moles, wrinkles and the folds of laughter."""
    skin = identity.skin
    freckle = mix(skin, shade(skin, 0.62), 0.75)
    for row, mark in enumerate(identity.freckles):
        place = shapes["freckles"][row : row + 1]
        brush.dot(canvas, place, mark[2] * unit, freckle)
    fold = 0.35 * identity.wrinkles + 0.2 * max(0.0, conditions.smile)
    width = max(1, round(0.03 * unit))
    for side in _SIDES:
        colour = shade(skin, 1.0 - 0.45 * fold)
        brush.stroke(canvas, [shapes[f"{side}_fold"]], colour, width)
        if identity.bags > 0.5:
            colour = shade(skin, 1.0 - 0.22 * identity.bags)
            brush.stroke(canvas, [shapes[f"{side}_bag"]], colour, width)
    if identity.wrinkles > 0.3:
        colour = shade(skin, 1.0 - 0.25 * identity.wrinkles)
        brush.stroke(
            canvas, [shapes["forehead_0"], shapes["forehead_1"]], colour, width
        )
    for row, mark in enumerate(identity.moles):
        place = shapes["moles"][row : row + 1]
        brush.dot(canvas, place, mark[2] * unit, shade(skin, 0.45))


def paint_eyes(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
) -> None:
    """Eyeballs seen through the lids, then lids and lashes."""
    line = max(1, round(0.022 * unit))
    catch = np.array([[0.03, -0.035]]) * unit
    for side in _SIDES:
        upper, lower = shapes[f"{side}_upper"], shapes[f"{side}_lower"]
        lids = np.vstack([upper, lower[::-1]])
        found = brush.window(canvas, lids, 3)
        if found is None:
            continue
        part, corner = found
        ball = np.full_like(part, (226, 222, 218))
        brush.fill(ball, shapes[f"{side}_iris"] - corner, shade(identity.iris, 0.5))
        brush.fill(ball, shapes[f"{side}_iris_inside"] - corner, identity.iris)
        pupil = shapes[f"{side}_pupil"] - corner
        brush.fill(ball, pupil, (12.0, 10.0, 12.0))
        middle = pupil.mean(axis=0, keepdims=True) / 16.0 + catch
        brush.dot(ball, brush.fixed(middle), 0.018 * unit, (255.0, 255.0, 255.0))
        brush.stroke(ball, [upper - corner], (120.0, 100.0, 96.0), 2 * line)
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [lids - corner], 255, cv2.LINE_AA, 4)
        cv2.copyTo(ball, mask, part)
        crease = shade(identity.skin, 0.68)
        brush.stroke(canvas, [shapes[f"{side}_crease"]], crease, line)
        brush.stroke(canvas, [lower], shade(identity.skin, 0.66), line)
        lashes = mix(_DARK, shade(identity.skin, 0.4), 0.4 - 0.4 * conditions.make_up)
        thick = 1 + round((0.02 + 0.02 * conditions.make_up) * unit)
        brush.stroke(canvas, [upper], lashes, thick)


def paint_brows(canvas: Canvas, shapes: Shapes, identity: Identity) -> None:
    """The eyebrows."""
    for side in _SIDES:
        brush.fill(canvas, shapes[f"{side}_brow"], identity.brow)


def paint_nose(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
) -> None:
    """Nostrils, wings and the far edge of a turned nose."""
    skin = identity.skin
    width = max(1, round(0.026 * unit))
    brush.stroke(canvas, [shapes["nose_base"]], shade(skin, 0.8), width)
    turned = min(1.0, abs(conditions.yaw) / 0.4)
    far = "right" if conditions.yaw > 0 else "left"
    edge = shade(skin, 1.0 - 0.3 * turned)
    brush.stroke(canvas, [shapes[f"{far}_ridge"]], edge, width)
    for side in _SIDES:
        brush.stroke(canvas, [shapes[f"{side}_ala"]], shade(skin, 0.7), width)
        brush.fill(canvas, shapes[f"{side}_nostril"], mix(skin, _DARK, 0.72))


def paint_mouth(
    canvas: Canvas,
    shapes: Shapes,
    identity: Identity,
    conditions: Conditions,
    unit: float,
) -> None:
    """Lips, teeth and the line between the lips."""
    lips = mix(identity.lips, (176.0, 36.0, 52.0), 0.6 * conditions.make_up)
    top, bottom = shapes["mouth_top"], shapes["mouth_bottom"]
    inner_top, inner_bottom = shapes["mouth_inner_top"], shapes["mouth_inner_bottom"]
    brush.fill(canvas, np.vstack([top, inner_bottom[::-1]]), shade(lips, 0.86))
    brush.fill(canvas, np.vstack([inner_bottom, bottom[::-1]]), lips)
    if conditions.mouth_open > 0.02:
        brush.fill(
            canvas, np.vstack([inner_top, inner_bottom[::-1]]), (60.0, 20.0, 22.0)
        )
        teeth = np.vstack([inner_top, shapes["mouth_teeth"][::-1]])
        brush.fill(canvas, teeth, (228.0, 222.0, 210.0))
    width = max(1, round(0.024 * unit))
    brush.stroke(canvas, [inner_top], mix(shade(lips, 0.5), _DARK, 0.4), width)


def paint_beard(
    canvas: Canvas, shapes: Shapes, identity: Identity, conditions: Conditions
) -> None:
    """Moustache and beard, under the mouth so that the lips stay free."""
    kind = identity.beard
    if kind == "none":
        return
    hair = shade(identity.hair, 0.8)
    strength = 0.45 + 0.45 * conditions.stubble
    if kind == "stubble":
        strength *= 0.4
    if kind != "moustache":
        points = shapes["beard" if kind in ("stubble", "full") else "goatee"]
        brush.veil(canvas, points, hair, strength)
    brush.veil(canvas, shapes["moustache"], hair, strength)
