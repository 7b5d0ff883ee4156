"""Light on the face: a smooth map of brightness in the picture plane of the head.

The face is an ellipsoid with bumps (nose, brows, cheeks, lips, chin). Each bump is a
Gaussian, so its slopes are products of one function of x and one of y, and the slopes
of all bumps together are a single matrix product.
"""

import numpy as np
from jaxtyping import UInt8

from facever.synthetic.conditions import Conditions
from facever.synthetic.identity import Identity
from facever.synthetic.space import Points2

_REACH = 2.0
_SIZE = 80
_GRID = np.linspace(-_REACH, _REACH, _SIZE, dtype=np.float32)
PLANE_TO_GRID = (_SIZE - 1) / (2.0 * _REACH)
GRID_MIDDLE = (_SIZE - 1) / 2.0


def _below(place: np.ndarray, distance: float) -> tuple[float, float]:
    return float(place[0]), float(place[1]) + distance


def _bumps(identity: Identity, at: dict[str, Points2]) -> np.ndarray:
    """Height bumps as rows of x, y, width, height, rise."""
    tip, bridge = at["nose_tip"][0], at["bridge"][0]
    brows = [at[f"{name}_brow"].mean(axis=0) for name in ("left", "right")]
    eyes = [at[f"{name}_iris"].mean(axis=0) for name in ("left", "right")]
    alae = [at[f"{name}_ala"].mean(axis=0) for name in ("left", "right")]
    mouth = at["mouth_top"].mean(axis=0)
    low = at["mouth_bottom"][6]
    high, wide = identity.nose_height, identity.nose_width
    cheek = 0.07 + 0.1 * identity.cheekbones
    rows = [
        (*tip, 0.5 * wide, 0.13, 0.5 * high),
        (*bridge, identity.bridge_width, 0.24, 0.62 * high),
        *((*ala, 0.35 * wide, 0.08, 0.16 * high) for ala in alae),
        *((*brow, 0.24, 0.1, 0.05) for brow in brows),
        *((*eye, 0.2, 0.13, -0.07) for eye in eyes),
        *((*_below(eye, 0.42), 0.25, 0.22, cheek) for eye in eyes),
        (*_below(mouth, -0.02), 0.25, 0.09, 0.06),
        (*_below(low, 0.12), 0.2, 0.06, -0.05),
        (*_below(low, 0.36), 0.22, 0.14, 0.1),
    ]
    return np.array(rows, dtype=np.float32)


def _shadows(identity: Identity, at: dict[str, Points2]) -> np.ndarray:
    """Soft dark places as rows of x, y, width, height, strength."""
    eyes = [at[f"{name}_iris"].mean(axis=0) for name in ("left", "right")]
    base = at["nose_base"][5]
    low = at["mouth_bottom"][6]
    inward = 0.12 * (eyes[1] - eyes[0])
    rows = [
        *((*_below(eye, -0.1), 0.2, 0.09, 0.2) for eye in eyes),
        (*(eyes[0] + inward), 0.1, 0.14, 0.2),
        (*(eyes[1] - inward), 0.1, 0.14, 0.2),
        *((*_below(eye, 0.16), 0.17, 0.07, 0.16 * identity.bags) for eye in eyes),
        (*_below(base, 0.03), 0.8 * identity.nose_width, 0.05, 0.22),
        (*_below(low, 0.09), 0.2, 0.05, 0.16),
    ]
    return np.array(rows, dtype=np.float32)


def _gaussians(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    from_x = (_GRID - rows[:, 0:1]) / rows[:, 2:3]
    from_y = (_GRID - rows[:, 1:2]) / rows[:, 3:4]
    over_x, over_y = np.exp(-0.5 * from_x**2), np.exp(-0.5 * from_y**2)
    slope_x = over_x * from_x * (rows[:, 4:5] / rows[:, 2:3])
    slope_y = over_y * from_y * (rows[:, 4:5] / rows[:, 3:4])
    return over_x, over_y, slope_x, slope_y


def light_map(
    identity: Identity, conditions: Conditions, at: dict[str, Points2]
) -> UInt8[np.ndarray, "size size 3"]:
    """Brightness of the light on the head, 128 for full light.

    Args:
        identity: The person, whose nose and cheekbones decide the relief of the face.
        conditions: Direction, strength and colour of the light.
        at: Places of the features in the picture plane, in head units.

    Returns:
        A square of the picture plane around the middle of the face.
    """
    face = at["face"].astype(np.float32)
    low, high = face.min(axis=0), face.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    x, y = (
        ((_GRID - middle[0]) / half[0])[None],
        ((_GRID - middle[1]) / half[1])[:, None],
    )
    outside = np.maximum(x * x + y * y, 1e-9)
    # Beyond the outline the light goes on as at the outline, so no rim shows.
    inside = np.minimum(outside, 0.86)
    pull = np.sqrt(inside / outside) / np.sqrt(1.0 - inside)
    over_x, over_y, bump_x, bump_y = _gaussians(_bumps(identity, at))
    normal_x = 0.8 * x * pull + over_y.T @ bump_x
    normal_y = 0.55 * y * pull + bump_y.T @ over_x
    cos, sin = float(np.cos(conditions.roll)), float(np.sin(conditions.roll))
    light_x = conditions.light_x * cos + conditions.light_y * sin
    light_y = conditions.light_y * cos - conditions.light_x * sin
    length = float(np.sqrt(1.0 + light_x**2 + light_y**2))
    facing = (normal_x * light_x + normal_y * light_y + 1.0) / length
    facing = np.maximum(facing / np.sqrt(1.0 + normal_x**2 + normal_y**2), 0.0)
    dark_x, dark_y, *_ = _gaussians(rows := _shadows(identity, at))
    open_ = 1.0 - (dark_y * rows[:, 4:5]).T @ dark_x
    lit = facing * (1.25 * (1.0 - conditions.ambient))
    around = open_ * conditions.ambient
    lit *= np.sqrt(open_)
    # The sky fills the shadows with the colour that the light lacks.
    shades = [
        np.minimum(128.0 * (lit * sun + around * (2.0 - sun)), 255.0)
        for sun in conditions.light
    ]
    return np.stack(shades, axis=2).astype(np.uint8)
