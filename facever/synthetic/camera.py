"""Behind and in front of the person: backdrop, light, colour, blur, noise, JPEG."""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.synthetic.brush import Canvas
from facever.synthetic.conditions import Conditions

_NOISE_SIZE = 512


def backdrop(height: int, width: int, rng: np.random.Generator) -> Canvas:
    """A background of soft patches, with a few hard shapes in half of the cases."""
    cells = int(rng.integers(2, 9))
    colourful = rng.uniform(0.1, 1.0)
    base = rng.uniform(25.0, 225.0) + 50.0 * colourful * rng.standard_normal(3)
    spread = rng.uniform(5.0, 55.0)
    patches = base + spread * rng.standard_normal((cells, cells, 1))
    patches = patches + spread * colourful * rng.standard_normal((cells, cells, 3))
    small = np.clip(patches, 0.0, 255.0).astype(np.uint8)
    kind = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
    canvas = cv2.resize(small, (width, height), interpolation=kind)
    for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.5 else 0):
        colour = base + 60.0 * rng.standard_normal(3)
        colour = np.clip(colour, 0.0, 255.0).tolist()
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        size = int(rng.integers(20, 140))
        if rng.random() < 0.5:
            far = (x + 2 * size, y + int(rng.integers(20, 320)))
            cv2.rectangle(canvas, (x, y), far, colour, cv2.FILLED)
        else:
            cv2.circle(canvas, (x, y), size, colour, cv2.FILLED, cv2.LINE_AA)
    return np.asarray(canvas, dtype=np.uint8)


def throw_light(
    canvas: Canvas,
    light: UInt8[np.ndarray, "size size 3"],
    grid_to_photo: Float64[np.ndarray, "2 3"],
) -> Canvas:
    """Multiply the canvas by a light map that lies in the plane of the head."""
    height, width = canvas.shape[:2]
    # Light is smooth: half the size is enough, and four times as fast.
    coarse = cv2.warpAffine(
        light,
        0.5 * grid_to_photo,
        (width // 2 + 1, height // 2 + 1),
        borderMode=cv2.BORDER_REPLICATE,
    )
    spread = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(canvas, spread, scale=1.0 / 128.0), dtype=np.uint8)


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(20))
    shape = (_NOISE_SIZE, _NOISE_SIZE, 3)
    grain = rng.standard_normal(shape) + rng.standard_normal((*shape[:2], 1))
    return np.asarray(np.clip(128.0 + 20.0 * grain, 0, 255).astype(np.uint8))


def _tones(conditions: Conditions) -> np.ndarray:
    """Exposure, colour cast and gamma as one table of [256, 1, 3]."""
    level = np.arange(256)[:, None] / 255.0
    gain = conditions.exposure * np.array(conditions.cast)
    curve = np.clip(level * gain, 0.0, 1.2) ** conditions.gamma
    return np.clip(255.0 * curve, 0.0, 255.0).astype(np.uint8)[:, None, :]


def take_photo(
    canvas: Canvas, conditions: Conditions, rng: np.random.Generator
) -> Canvas:
    """What a camera makes of the scene.

    Args:
        canvas: The scene.
        conditions: Exposure, colours, blur, noise and compression.
        rng: Random generator of the noise.

    Returns:
        A photo of the same size.
    """
    height, width = canvas.shape[:2]
    if conditions.saturation != 1.0:
        grey = cv2.cvtColor(
            cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB
        )
        share = conditions.saturation
        canvas = cv2.addWeighted(canvas, share, grey, 1.0 - share, 0.0)
    photo = cv2.LUT(canvas, _tones(conditions))
    if conditions.small < 1.0:
        size = (round(width * conditions.small), round(height * conditions.small))
        less = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        photo = cv2.resize(less, (width, height), interpolation=cv2.INTER_LINEAR)
    if conditions.blur > 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), conditions.blur)
    left, top = rng.integers(0, _NOISE_SIZE - 300, 2)
    grain = _noise()[top : top + height, left : left + width]
    share = conditions.noise / 28.0
    photo = cv2.addWeighted(photo, 1.0, grain, share, -128.0 * share)
    if conditions.jpeg_quality:
        quality = [cv2.IMWRITE_JPEG_QUALITY, conditions.jpeg_quality]
        bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
        _, code = cv2.imencode(".jpg", bgr, quality)
        photo = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(photo, dtype=np.uint8)
