"""What grows or sits on the head, as 3-D curves: strands, locks, beard, hats."""

import numpy as np

from facever.synthetic.conditions import Conditions
from facever.synthetic.identity import Identity
from facever.synthetic.space import SIDES, Points3, curve, lift, mirrored, surface

FRINGE_STYLES = ("fringe", "parted")
LONG_STYLES = ("long", "wavy")
_STRANDS = 18


def _strands(
    identity: Identity, conditions: Conditions, rng: np.random.Generator
) -> dict[str, Points3]:
    """Lines from the parting to the edge of the hair."""
    count = 4 * _STRANDS
    top = identity.crown_y - 0.8 * identity.hair_volume
    reach = identity.face_width + 0.5 * identity.hair_volume
    parting = identity.parting if identity.hair_style == "parted" else 0.0
    along = np.linspace(0.0, 1.0, 5)
    angle = rng.uniform(-1.75, 1.75, (count, 1))
    end_x, end_y = reach * np.sin(angle), -0.35 + (top + 0.35) * np.cos(angle)
    start_x = parting + 0.15 * np.sin(angle) * rng.random((count, 1))
    start_y = top + 0.3
    x = start_x + (end_x - start_x) * along
    x = x + 0.1 * conditions.tousle * rng.standard_normal((count, 1)) * along
    y = start_y + (end_y - start_y) * along - 0.16 * np.sin(np.pi * along)
    z = np.broadcast_to(0.5 * (1.0 - along), x.shape)
    return {"strands": np.stack([x, y, z], axis=2).reshape(-1, 3)}


def _fringe(
    identity: Identity, conditions: Conditions, rng: np.random.Generator
) -> dict[str, Points3]:
    """Hair over the forehead: a straight fringe, or a sweep from the parting."""
    count = 23
    across = np.linspace(-1.0, 1.0, count)
    temple = 0.88 * identity.face_width
    uneven = 0.05 * conditions.tousle * rng.standard_normal(count)
    root_y = identity.hairline_y - 0.12 - 0.1 * np.cos(np.pi * across / 2.0)
    root_x = start_x = 0.95 * temple * across
    if identity.hair_style == "parted":
        away = np.abs(across - identity.parting)
        height = identity.hairline_y + 0.5 * (away / 1.2) ** 0.8 + 0.6 * uneven
        start_x = root_x + 0.5 * (identity.parting - root_x)
        root_y = root_y - 0.12
    else:
        notch = 0.03 * (-1.0) ** np.arange(count)
        height = -0.36 + 0.12 * across**2 - 0.5 * (identity.hair_volume - 0.15)
        height = height + notch + uneven
    low = lift(np.array([temple * across, height]).T, 0.05)
    root = lift(np.array([root_x, root_y]).T, 0.05)
    start = lift(np.array([start_x, root_y]).T, 0.05)
    middle = 0.5 * (low + start) + (0.0, -0.05, 0.05)
    lines = np.stack([start, middle, low], axis=1)[rng.random(count) < 0.7]
    return {
        "fringe": np.vstack([root, low[::-1]]),
        "fringe_lines": lines.reshape(-1, 3),
    }


def _locks(
    identity: Identity, conditions: Conditions, rng: np.random.Generator
) -> dict[str, Points3]:
    """Long hair that falls in front of the ears."""
    y = np.linspace(-0.75, identity.hair_length, 8)
    wave = 0.05 if identity.hair_style == "wavy" else 0.008
    swing = wave * np.sin(6.0 * y + rng.uniform(0.0, 6.0))
    bell = np.clip((y + 0.75) / 0.6, 0.0, 1.0) ** 0.6
    outer = (identity.face_width + 0.6 * identity.hair_volume) * (0.75 + 0.25 * bell)
    inner = identity.face_width * (0.62 + 0.3 * bell)
    inner = inner - 0.06 * conditions.tousle * rng.random()
    tips = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.25, 0.8])
    inner = inner + 0.6 * tips * (outer - inner)
    outer = outer * (1.0 - 0.1 * tips)
    shapes = {}
    for name, side in SIDES:
        edges = [
            np.column_stack([x + swing, y, np.full(8, 0.42)]) for x in (inner, outer)
        ]
        shapes[f"{name}_lock"] = mirrored(np.vstack([edges[0], edges[1][::-1]]), side)
        share = rng.random((9, 1, 1))
        lines = edges[0] + share * (edges[1] - edges[0])
        shapes[f"{name}_lock_lines"] = mirrored(lines.reshape(-1, 3), side)
    return shapes


def _beard(identity: Identity, drop: float) -> dict[str, Points3]:
    mouth, chin = identity.mouth_y, identity.chin_y + drop
    wide = identity.face_width
    jaw = identity.jaw_width * wide
    half = np.array(
        [
            (0.0, mouth + 0.12),
            (0.25, mouth - 0.02),
            (0.45, mouth - 0.14),
            (0.68 * wide, mouth - 0.3),
            (0.93 * wide, 0.2),
            (0.99 * wide, 0.35),
            (jaw + 0.03, identity.jaw_y),
            (identity.chin_width + 0.16, chin - 0.13),
            (0.0, chin + 0.05),
        ]
    )
    full = np.vstack([half, half[-2:0:-1] * (-1.0, 1.0)])
    tuft = np.array(
        [
            (0.0, mouth + 0.14),
            (0.2, mouth + 0.18),
            (0.24, chin - 0.1),
            (0.0, chin + 0.05),
        ]
    )
    tuft = np.vstack([tuft, tuft[-2:0:-1] * (-1.0, 1.0)])
    lip = mouth - identity.upper_lip
    hair = np.array(
        [
            (0.0, identity.nose_y + 0.17),
            (0.2, lip - 0.12),
            (identity.mouth_width + 0.05, mouth + 0.02),
            (0.18, lip - 0.01),
            (0.0, lip + 0.02),
        ]
    )
    hair = np.vstack([hair, hair[-2:0:-1] * (-1.0, 1.0)])
    return {
        "beard": lift(full),
        "goatee": lift(curve(tuft, closed=True), 0.02),
        "moustache": lift(curve(hair, 3, closed=True), 0.05),
    }


def _hats(identity: Identity) -> dict[str, Points3]:
    width = identity.face_width + 0.5 * identity.hair_volume
    top = identity.crown_y - identity.hair_volume - 0.05
    angle = np.linspace(0.0, np.pi, 15)
    rim = -0.5
    rings = []
    for z, share in ((-0.4, 0.95), (0.0, 1.03), (0.5, 0.86)):
        x = width * share * np.cos(angle)
        y = rim + share * (top - rim) * np.sin(angle)
        rings.append(np.array([x, y, np.full(15, z)]).T)
    x = np.linspace(-0.93, 0.93, 11)
    low = lift(np.column_stack([x, np.full(11, rim)]), 0.06)
    high = low - (0.0, 0.2, 0.03)
    front = np.column_stack(
        [
            0.9 * x,
            rim - 0.02 + 0.16 * (1.0 - x * x),
            surface(x, np.full(11, rim)) + 0.45,
        ]
    )
    return {
        "hat": np.vstack([*rings, low, high]),
        "band": np.vstack([low, high[::-1]]),
        "peak": np.vstack([low - (0.0, 0.06, 0.0), front[::-1]]),
    }


def growth_shapes(
    identity: Identity, conditions: Conditions, rng: np.random.Generator
) -> dict[str, Points3]:
    """Curves of hair, beard and hat in the head's own frame, those that are there."""
    shapes: dict[str, Points3] = {}
    if identity.hair_style != "bald":
        shapes |= _strands(identity, conditions, rng)
    if identity.hair_style in FRINGE_STYLES:
        shapes |= _fringe(identity, conditions, rng)
    if identity.hair_style in LONG_STYLES:
        shapes |= _locks(identity, conditions, rng)
    if identity.beard != "none":
        shapes |= _beard(identity, 0.45 * conditions.mouth_open)
    if conditions.hat != "none":
        shapes |= _hats(identity)
    return shapes
