"""The shape of a head: curves of face, skull, eyes, brows, nose, mouth and glasses."""

from functools import lru_cache

import numpy as np

from facever.synthetic.conditions import Conditions
from facever.synthetic.identity import Identity
from facever.synthetic.space import SIDES, Points2, Points3, curve, lift, mirrored

_ACROSS = np.linspace(-1.0, 1.0, 13)
_CIRCLE = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
_COS, _SIN = np.cos(_CIRCLE), np.sin(_CIRCLE)
_ROUND = np.array([_COS, _SIN]).T


def _outline(identity: Identity, drop: float) -> Points2:
    width, chin = identity.face_width, identity.chin_y + drop
    half = np.array(
        [
            (0.0, identity.crown_y),
            (0.62 * width * identity.forehead_width, identity.crown_y + 0.13),
            (width * identity.forehead_width, -0.75),
            (width * 0.985, -0.25),
            (width * (0.95 + 0.03 * identity.cheekbones), 0.25),
            (width * identity.jaw_width, identity.jaw_y + 0.6 * drop),
            (identity.chin_width + 0.14, chin - 0.17),
            (identity.chin_width * 0.6, chin - 0.02),
            (0.0, chin + 0.01),
        ]
    )
    return curve(np.vstack([half, half[-2:0:-1] * (-1.0, 1.0)]), 3, closed=True)


def _face(identity: Identity, drop: float) -> dict[str, Points3]:
    ring = _outline(identity, drop)
    x, y = ring[:, 0], ring[:, 1]
    side = np.array([x, y, 0.08 + 0.5 * np.clip((y - 0.4) / 1.1, 0.0, 1.0)]).T
    inner = [lift(ring * share + (0.0, 0.02)) for share in (0.9, 0.7)]
    return {"face": np.vstack([side, *inner])}


def _skull(identity: Identity) -> dict[str, Points3]:
    width, crown = identity.face_width, identity.crown_y
    top, reach = crown - identity.hair_volume, width + 0.55 * identity.hair_volume
    angle = np.linspace(-0.18, np.pi + 0.18, 25)
    flat = np.column_stack(
        [reach * np.cos(angle), -0.35 + (top + 0.35) * np.sin(angle)]
    )
    cap = [
        np.column_stack([flat * share - (0.0, (1.0 - share) * 0.35), np.full(25, z)])
        for z, share in ((-0.5, 0.96), (-0.05, 1.0), (0.35, 0.93))
    ]
    recession, middle = identity.hairline_recession, identity.hairline_y
    temple = width * 0.93
    edge = np.array(
        [
            (temple, 0.12),
            (temple * 0.97, -0.2),
            (temple * (0.86 - 0.1 * recession), -0.45 - 0.4 * recession),
            (temple * (0.6 - 0.1 * recession), middle - 0.02 - 0.5 * recession),
            (temple * 0.3, middle + 0.02 * recession - 0.05),
            (0.0, middle + 0.2 * recession - 0.05),
        ]
    )
    hairline = curve(np.vstack([edge, edge[-2::-1] * (-1.0, 1.0)]), 4)
    long = identity.hair_length
    half = np.array(
        [
            (0.3, top),
            (reach, -0.7),
            (reach + 0.1, 0.2),
            (reach + 0.04, 0.75 * long),
            (0.6 * reach, long + 0.1),
        ]
    )
    back = curve(np.vstack([half, half[::-1] * (-1.0, 1.0)]), 5)
    return {
        "cap": np.vstack(cap),
        "hairline": lift(hairline, 0.02),
        "back_hair": np.column_stack([back, np.full(len(back), -0.35)]),
        "neck": np.array(
            [
                (-0.56, 0.8, -0.1),
                (0.56, 0.8, -0.1),
                (0.62, 2.3, -0.2),
                (-0.62, 2.3, -0.2),
            ]
        ),
        "clothes": np.array(
            [
                (-5.0, 6.0, -0.3),
                (-1.9, 2.42, -0.3),
                (-0.66, 1.98, -0.3),
                (0.0, 2.3, 0.2),
                (0.66, 1.98, -0.3),
                (1.9, 2.42, -0.3),
                (5.0, 6.0, -0.3),
            ]
        ),
    }


def _ears(identity: Identity) -> dict[str, Points3]:
    size, x = identity.ear_size, identity.face_width * 0.96
    shapes = {}
    for name, side in SIDES:
        for part, scale in (("ear", 1.0), ("ear_inside", 0.6)):
            out = 0.5 * scale * size * _COS + identity.ear_offset
            high = 0.2 + scale * size * _SIN - 0.12 * scale * size * _COS
            points = np.column_stack([x + out, high, -0.05 - 0.5 * out])
            shapes[f"{name}_{part}"] = mirrored(points, side)
    return shapes


def _eye(identity: Identity, conditions: Conditions) -> dict[str, Points3]:
    t, width = _ACROSS, identity.eye_width
    opening = identity.eye_opening * conditions.eyelids
    round_ = np.sqrt(1.0 - t * t)
    upper = -opening * round_ * (1.0 + identity.eye_skew * t)
    lower = 0.5 * min(opening, identity.eye_opening) * round_ * (1.0 - 0.3 * t)
    crease = -(opening + identity.crease) * round_**0.8 - 0.012
    bag = 0.5 * identity.eye_opening + 0.1 * round_**0.7
    tilt = -np.tan(identity.eye_tilt) * t * width
    x = identity.eye_distance + t * width
    lids = np.array([upper, lower, crease, bag]) + tilt
    flat = np.array([np.tile(x, 4), lids.ravel()]).T
    right = lift(flat, np.tile(-0.03 + 0.05 * round_**2, 4))
    shapes = {}
    for name, side in SIDES:
        parts = np.split(mirrored(right, side), 4)
        for part, points in zip(
            ("upper", "lower", "crease", "bag"), parts, strict=True
        ):
            shapes[f"{name}_{part}"] = points
        iris_x = side * identity.eye_distance + conditions.gaze_x
        center = np.array([iris_x, conditions.gaze_y - 0.12 * opening])
        rings = np.concatenate(
            [
                center + share * identity.iris_radius * _ROUND
                for share in (1.0, 0.82, 0.45)
            ]
        )
        parts = np.split(lift(rings, 0.015), 3)
        for part, points in zip(("iris", "iris_inside", "pupil"), parts, strict=True):
            shapes[f"{name}_{part}"] = points
    return shapes


def _brow(identity: Identity, conditions: Conditions) -> dict[str, Points3]:
    t = np.linspace(0.0, 1.0, 9)
    x = identity.brow_gap + t * identity.brow_length
    arch = identity.brow_arch * np.sin(np.pi * t**1.3)
    slope = (identity.brow_tilt + conditions.brow_slant) * (t - 0.35) * 0.5
    middle = identity.brow_y - conditions.brow_raise - arch - slope
    half = 0.5 * identity.brow_thickness * np.sqrt(1.02 - t) * (0.7 + 0.6 * t * (1 - t))
    flat = np.vstack(
        [np.column_stack([x, middle - half]), np.column_stack([x, middle + half])[::-1]]
    )
    return {f"{name}_brow": mirrored(lift(flat, 0.03), side) for name, side in SIDES}


def _nose(identity: Identity) -> dict[str, Points3]:
    tip, wide, high = identity.nose_y, identity.nose_width, identity.nose_height
    nostril = identity.nostril
    ala = curve(
        np.array(
            [
                (0.72 * wide, tip - 0.13),
                (0.98 * wide, tip - 0.02),
                (0.94 * wide, tip + 0.07),
                (0.66 * wide, tip + 0.1),
            ]
        )
    )
    base = curve(
        np.array([(-0.5 * wide, tip + 0.1), (0.0, tip + 0.14), (0.5 * wide, tip + 0.1)])
    )
    ridge_y = np.linspace(-0.18, tip, 7)
    rise = np.clip((ridge_y + 0.18) / (tip + 0.18), 0.0, 1.0)
    ridge = np.column_stack(
        [np.full(7, identity.bridge_width) * (0.8 + 0.5 * rise), ridge_y]
    )
    shapes = {
        "nose_tip": lift(np.array([[0.0, tip]]), high),
        "nose_base": lift(base, 0.5 * high),
        "bridge": lift(np.array([[0.0, 0.5 * tip]]), 0.5 * high),
    }
    for name, side in SIDES:
        shapes[f"{name}_ala"] = mirrored(lift(ala, 0.35 * high), side)
        shapes[f"{name}_ridge"] = mirrored(lift(ridge, 0.55 * high * rise), side)
        hole = np.column_stack(
            [0.5 * wide + 1.25 * nostril * _COS, tip + 0.085 + 0.6 * nostril * _SIN]
        )
        shapes[f"{name}_nostril"] = mirrored(lift(hole, 0.45 * high), side)
    return shapes


def _mouth(identity: Identity, conditions: Conditions) -> dict[str, Points3]:
    t = _ACROSS
    smile, gap = conditions.smile, conditions.mouth_open
    half = identity.mouth_width * (1.0 + 0.16 * smile - 0.5 * gap)
    round_ = 1.0 - t * t
    corner = identity.mouth_corner + 0.07 * smile
    line = identity.mouth_y + 0.3 * corner - corner * t * t
    thin = 1.0 - 0.2 * max(0.0, smile)
    dip = 1.0 - identity.cupid * np.exp(-((t / 0.16) ** 2))
    top = line - identity.upper_lip * thin * dip * round_**0.8
    inner_top = line - 0.15 * gap * round_
    inner_bottom = line + 0.85 * gap * round_
    bottom = inner_bottom + identity.lower_lip * thin * round_**0.7
    teeth = inner_top + np.minimum(0.6 * gap, 0.07) * round_
    above = 0.02 + 0.05 * round_
    edges = np.concatenate([top, inner_top, teeth, inner_bottom, bottom])
    flat = np.array([np.tile(half * t, 5), edges]).T
    parts = np.split(lift(flat, np.tile(above, 5)), 5)
    names = ("top", "inner_top", "teeth", "inner_bottom", "bottom")
    return {f"mouth_{name}": part for name, part in zip(names, parts, strict=True)}


def _folds(identity: Identity, conditions: Conditions) -> dict[str, Points3]:
    """Lines of age and laughter."""
    out = 0.06 * max(0.0, conditions.smile)
    cheek = np.array(
        [
            (identity.nose_width + 0.04, identity.nose_y - 0.02),
            (identity.nose_width + 0.16 + out, identity.nose_y + 0.2),
            (identity.mouth_width + 0.09 + out, identity.mouth_y + 0.02),
        ]
    )
    shapes = {
        f"{name}_fold": mirrored(lift(curve(cheek), 0.02), side) for name, side in SIDES
    }
    x = np.linspace(-0.42, 0.42, 9)
    for row, y in enumerate((-0.5, -0.62)):
        wave = y - conditions.brow_raise + 0.03 * np.cos(4.0 * x)
        shapes[f"forehead_{row}"] = lift(np.column_stack([x, wave]))
    return shapes


def _glasses(identity: Identity) -> dict[str, Points3]:
    power = 2.0 / identity.glasses_roundness
    x = np.sign(_COS) * np.abs(_COS) ** power * identity.glasses_width
    y = np.sign(_SIN) * np.abs(_SIN) ** power * identity.glasses_height + 0.05
    middle = identity.eye_distance + 0.02
    inner = middle - identity.glasses_width
    arch = curve(np.array([(-inner, 0.0), (0.0, -0.05), (inner, 0.0)]))
    shapes = {"glasses_bridge": lift(arch, 0.2)}
    for name, side in SIDES:
        rim = np.column_stack([middle + x, y, np.full(len(x), 0.98) - 0.15 * middle])
        shapes[f"{name}_rim"] = mirrored(rim, side)
        outer = middle + identity.glasses_width
        temple = np.array([(outer, -0.03, 0.9), (identity.face_width, -0.02, 0.05)])
        shapes[f"{name}_temple"] = mirrored(temple, side)
    return shapes


@lru_cache(maxsize=8)
def _lasting(identity: Identity) -> dict[str, Points3]:
    """What no expression moves: the same for all photos of a person."""
    marks = {
        "freckles": lift(identity.freckles[:, :2]),
        "moles": lift(identity.moles[:, :2]),
    }
    ears, nose = _ears(identity), _nose(identity)
    return _skull(identity) | ears | nose | _glasses(identity) | marks


def head_shapes(identity: Identity, conditions: Conditions) -> dict[str, Points3]:
    """Curves and places of every feature in the head's own frame."""
    return (
        _lasting(identity)
        | _face(identity, 0.45 * conditions.mouth_open)
        | _eye(identity, conditions)
        | _brow(identity, conditions)
        | _mouth(identity, conditions)
        | _folds(identity, conditions)
    )


def landmark_points(identity: Identity, shapes: dict[str, Points3]) -> Points3:
    """The five landmarks on the head: eyes, tip of the nose, corners of the mouth."""
    x = identity.eye_distance
    eyes = lift(np.array([[-x, 0.0], [x, 0.0]]), 0.02)
    corners = shapes["mouth_top"][[0, -1]]
    return np.vstack([eyes, shapes["nose_tip"], corners])
