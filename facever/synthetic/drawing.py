"""One photo: shapes to the picture plane, paint from back to front, light, camera."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.errors import ParameterError
from facever.synthetic import brush, features, hair
from facever.synthetic.camera import backdrop, take_photo, throw_light
from facever.synthetic.conditions import Conditions, sample_conditions
from facever.synthetic.growth import growth_shapes
from facever.synthetic.head import head_shapes, landmark_points
from facever.synthetic.identity import Identity, sample_identity
from facever.synthetic.light import GRID_MIDDLE, PLANE_TO_GRID, light_map
from facever.synthetic.space import apply, plane_to_photo, to_plane

SUPERSAMPLING = 2


@dataclass(frozen=True)
class SyntheticPhoto:
    """A drawn photo and the truth about it.

    Attributes:
        photo: The photo, in RGB.
        landmarks: x, y in pixels (0-based centres): left eye, right eye, nose, left and
            right corner of the mouth, as seen in the picture.
    """

    photo: UInt8[np.ndarray, "height width 3"]
    landmarks: Float64[np.ndarray, "5 2"]


def draw_face(seed: int, identity: int, picture: int) -> SyntheticPhoto:
    """Draw photo ``picture`` of person ``identity`` of the population ``seed``.

    The same three numbers give the same photo.

    Args:
        seed: Seed of the population, in [0, 2**32).
        identity: Number of the person, in [0, 2**32).
        picture: Number of the photo of this person, in [0, 2**32).

    Returns:
        A photo of 200 to 260 pixels a side and its five landmarks.

    Raises:
        ParameterError: If a number is out of its range.
    """
    for name, value in (("seed", seed), ("identity", identity), ("picture", picture)):
        if not 0 <= value < 2**32:
            raise ParameterError(f"{name} must be in [0, 2**32), got {value}")
    person = sample_identity(seed, identity)
    return draw(person, sample_conditions(person, seed, identity, picture))


def draw(identity: Identity, conditions: Conditions) -> SyntheticPhoto:
    """Draw a person under given circumstances."""
    rng = np.random.Generator(np.random.PCG64(conditions.texture_seed))
    solid = head_shapes(identity, conditions)
    marks = landmark_points(identity, solid)
    solid |= growth_shapes(identity, conditions, rng)
    solid["landmarks"] = marks
    plane = to_plane(np.concatenate(list(solid.values())), conditions)
    flat = _split(plane, solid)
    matrix = plane_to_photo(conditions)
    landmarks = apply(matrix, flat["landmarks"])

    # The centre of pixel (0, 0) lies at (scale - 1) / 2 of the finer canvas.
    scale = SUPERSAMPLING
    fine = matrix * scale
    fine[:, 2] += (scale - 1) / 2.0
    shapes = _split(brush.fixed(apply(fine, plane)), solid)
    canvas = backdrop(conditions.height * scale, conditions.width * scale, rng)
    _paint(canvas, shapes, identity, conditions, rng)
    scene = cv2.resize(
        canvas, (conditions.width, conditions.height), interpolation=cv2.INTER_AREA
    )
    light = light_map(identity, conditions, flat)
    grid = matrix.copy()
    grid[:, :2] /= PLANE_TO_GRID
    grid[:, 2] -= grid[:, :2].sum(axis=1) * GRID_MIDDLE
    scene = throw_light(np.asarray(scene, dtype=np.uint8), light, grid)
    return SyntheticPhoto(take_photo(scene, conditions, rng), landmarks)


def _split(points: np.ndarray, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut the rows of ``points`` into named parts, as long as those of ``like``."""
    parts, start = {}, 0
    for name, shape in like.items():
        parts[name] = points[start : start + len(shape)]
        start += len(shape)
    return parts


def _paint(
    canvas: brush.Canvas,
    shapes: features.Shapes,
    identity: Identity,
    conditions: Conditions,
    rng: np.random.Generator,
) -> None:
    unit = conditions.unit * SUPERSAMPLING
    thin = SUPERSAMPLING
    hair.paint_back_hair(canvas, shapes, identity, unit, rng)
    features.paint_behind(canvas, shapes, identity)
    brush.fill(canvas, shapes["clothes"], conditions.clothes)
    if identity.hair_style != "bald":
        hair.paint_strands(canvas, shapes, identity, thin)
    features.paint_skin(canvas, shapes, identity, thin)
    features.paint_marks(canvas, shapes, identity, conditions, unit)
    features.paint_beard(canvas, shapes, identity, conditions)
    features.paint_nose(canvas, shapes, identity, conditions, unit)
    features.paint_mouth(canvas, shapes, identity, conditions, unit)
    features.paint_eyes(canvas, shapes, identity, conditions, unit)
    features.paint_brows(canvas, shapes, identity)
    hair.paint_front_hair(canvas, shapes, identity, thin)
    hair.paint_glasses(canvas, shapes, identity, conditions, unit)
    hair.paint_hat(canvas, shapes, conditions)
    hair.paint_occluder(canvas, shapes, identity, conditions, unit, rng)
