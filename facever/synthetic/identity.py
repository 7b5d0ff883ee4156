"""Who a synthetic face is: geometry, colours and marks that stay from photo to photo.

Lengths are in head units: half the width of an average face. The head's own frame has x
to the right of the picture, y down and z towards the viewer; the eyes lie on y = 0 and
the head turns about its origin, which is between the ears.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

Colour = tuple[float, float, float]

_SKIN: tuple[Colour, ...] = (
    (244.0, 212.0, 190.0),
    (232.0, 190.0, 158.0),
    (208.0, 160.0, 122.0),
    (164.0, 116.0, 82.0),
    (112.0, 74.0, 52.0),
)
_HAIR: tuple[Colour, ...] = (
    (30.0, 26.0, 26.0),
    (58.0, 40.0, 30.0),
    (96.0, 66.0, 44.0),
    (122.0, 64.0, 40.0),
    (178.0, 98.0, 50.0),
    (204.0, 168.0, 110.0),
    (146.0, 144.0, 142.0),
    (220.0, 216.0, 208.0),
)
_HAIR_SHARES = (0.24, 0.2, 0.18, 0.08, 0.06, 0.12, 0.08, 0.04)
_IRIS: tuple[Colour, ...] = (
    (50.0, 32.0, 22.0),
    (92.0, 58.0, 32.0),
    (128.0, 100.0, 54.0),
    (88.0, 116.0, 74.0),
    (84.0, 126.0, 170.0),
    (122.0, 136.0, 146.0),
)
_FRAMES: tuple[Colour, ...] = (
    (30.0, 26.0, 26.0),
    (92.0, 52.0, 34.0),
    (150.0, 146.0, 140.0),
)
HAIR_STYLES = ("bald", "short", "parted", "fringe", "curly", "long", "wavy")
_STYLE_SHARES = (0.08, 0.24, 0.18, 0.14, 0.12, 0.14, 0.1)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
_BEARD_SHARES = (0.7, 0.1, 0.06, 0.06, 0.08)


@dataclass(frozen=True, eq=False)
class Identity:
    """The lasting parameters of one drawn person, in head units and RGB colours."""

    face_width: float
    forehead_width: float
    crown_y: float
    jaw_width: float
    jaw_y: float
    chin_width: float
    chin_y: float
    ear_size: float
    ear_offset: float
    eye_distance: float
    eye_width: float
    eye_opening: float
    eye_tilt: float
    eye_skew: float
    crease: float
    iris_radius: float
    iris: Colour
    bags: float
    brow_y: float
    brow_gap: float
    brow_length: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow: Colour
    nose_y: float
    nose_width: float
    nose_height: float
    bridge_width: float
    nostril: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    cupid: float
    mouth_corner: float
    lips: Colour
    skin: Colour
    wrinkles: float
    cheekbones: float
    hair: Colour
    hair_style: str
    hair_volume: float
    hair_length: float
    hairline_y: float
    hairline_recession: float
    parting: float
    beard: str
    freckles: Float64[np.ndarray, "freckles 3"]
    moles: Float64[np.ndarray, "moles 3"]
    glasses_habit: float
    glasses_width: float
    glasses_height: float
    glasses_roundness: float
    glasses_thickness: float
    glasses: Colour


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies at ``share`` of the way from the first to the second."""
    a, b, c = (p + (q - p) * share for p, q in zip(first, second, strict=True))
    return (a, b, c)


def shade(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour, each channel times ``factor`` and at most 255."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return (red, green, blue)


class Sampler:
    """Draws from one random stream, in the words that the parameters need."""

    def __init__(self, *key: int) -> None:
        # One word of 32 bits for each number, so that no two keys share a stream.
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def around(self, mean: float, spread: float) -> float:
        """A normal number, cut at two standard deviations."""
        return mean + spread * max(-2.0, min(2.0, float(self.rng.standard_normal())))

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return low + (high - low) * float(self.rng.random())

    def happens(self, probability: float) -> bool:
        """True with the given probability."""
        return float(self.rng.random()) < probability

    def pick(self, shares: tuple[float, ...]) -> int:
        """An index, as likely as its share of the total."""
        left = sum(shares) * float(self.rng.random())
        for index, share in enumerate(shares):
            left -= share
            if left < 0.0:
                return index
        return len(shares) - 1

    def tint(self, colour: Colour, spread: float) -> Colour:
        """The colour with each channel a little off."""
        red, green, blue = (
            max(0.0, min(255.0, channel + self.around(0.0, spread)))
            for channel in colour
        )
        return (red, green, blue)


def _skin(sampler: Sampler) -> Colour:
    place = sampler.between(0.0, len(_SKIN) - 1.001)
    below = int(place)
    return sampler.tint(mix(_SKIN[below], _SKIN[below + 1], place - below), 6.0)


def _marks(sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """Freckles and moles as x, y and radius; freckles are mirrored in part."""
    count = int(sampler.between(14.0, 46.0)) if sampler.happens(0.25) else 0
    half = np.column_stack(
        [
            sampler.rng.uniform(0.08, 0.72, count),
            0.42 + 0.16 * sampler.rng.standard_normal(count),
            sampler.rng.uniform(0.014, 0.026, count),
        ]
    )
    half[::2, 0] *= -1.0
    spots = sampler.pick((0.45, 0.3, 0.15, 0.1))
    moles = np.column_stack(
        [
            sampler.rng.uniform(-0.75, 0.75, spots),
            sampler.rng.uniform(-0.5, 1.25, spots),
            sampler.rng.uniform(0.024, 0.042, spots),
        ]
    )
    return half, moles


@lru_cache(maxsize=64)
def sample_identity(seed: int, number: int) -> Identity:
    """Draw the lasting parameters of person ``number`` of the population ``seed``.

    Args:
        seed: Seed of the population, in [0, 2**32).
        number: Number of the person, in [0, 2**32).

    Returns:
        The same person for the same two numbers.
    """
    sampler = Sampler(1, seed, number)
    around = sampler.around
    skin = _skin(sampler)
    hair = sampler.tint(_HAIR[sampler.pick(_HAIR_SHARES)], 8.0)
    iris = sampler.tint(_IRIS[sampler.pick((0.26, 0.24, 0.12, 0.12, 0.16, 0.1))], 8.0)
    freckles, moles = _marks(sampler)
    style = HAIR_STYLES[sampler.pick(_STYLE_SHARES)]
    beardless = style in ("long", "wavy", "fringe")
    beard = "none" if beardless else BEARDS[sampler.pick(_BEARD_SHARES)]
    return Identity(
        face_width=around(1.0, 0.07),
        forehead_width=around(0.86, 0.05),
        crown_y=around(-1.36, 0.07),
        jaw_width=around(0.83, 0.091),
        jaw_y=around(0.86, 0.098),
        chin_width=around(0.36, 0.098),
        chin_y=around(1.48, 0.11),
        ear_size=around(0.27, 0.049),
        ear_offset=around(0.07, 0.04),
        eye_distance=around(0.44, 0.043),
        eye_width=around(0.195, 0.024),
        eye_opening=around(0.092, 0.024),
        eye_tilt=around(0.05, 0.098),
        eye_skew=around(0.0, 0.244),
        crease=around(0.05, 0.024),
        iris_radius=around(0.088, 0.007),
        iris=iris,
        bags=sampler.between(0.0, 1.0),
        brow_y=around(-0.25, 0.049),
        brow_gap=around(0.17, 0.043),
        brow_length=around(0.5, 0.061),
        brow_thickness=around(0.05, 0.022),
        brow_arch=around(0.06, 0.037),
        brow_tilt=around(0.02, 0.122),
        brow=mix(shade(hair, 0.7), (50.0, 36.0, 28.0), sampler.between(0.1, 0.6)),
        nose_y=around(0.5, 0.061),
        nose_width=around(0.175, 0.039),
        nose_height=around(0.3, 0.073),
        bridge_width=around(0.095, 0.024),
        nostril=around(0.042, 0.01),
        mouth_y=around(0.93, 0.061),
        mouth_width=around(0.345, 0.055),
        upper_lip=around(0.068, 0.029),
        lower_lip=around(0.092, 0.032),
        cupid=sampler.between(0.0, 0.45),
        mouth_corner=around(0.0, 0.03),
        lips=mix(shade(skin, 0.85), (170.0, 60.0, 64.0), sampler.between(0.15, 0.65)),
        skin=skin,
        wrinkles=max(0.0, sampler.between(-0.5, 1.0)),
        cheekbones=sampler.between(0.2, 1.0),
        hair=hair,
        hair_style=style,
        hair_volume=sampler.between(0.06, 0.24),
        hair_length=sampler.between(1.2, 2.3),
        hairline_y=around(-0.8, 0.11),
        hairline_recession=sampler.between(-0.1, 0.0 if beardless else 0.25),
        parting=sampler.between(-0.5, 0.5),
        beard=beard,
        freckles=freckles,
        moles=moles,
        glasses_habit=(0.03, 0.5, 0.9)[sampler.pick((0.74, 0.08, 0.18))],
        glasses_width=around(0.31, 0.025),
        glasses_height=around(0.22, 0.03),
        glasses_roundness=sampler.between(2.0, 5.0),
        glasses_thickness=sampler.between(0.015, 0.045),
        glasses=sampler.tint(_FRAMES[sampler.pick((0.55, 0.25, 0.2))], 8.0),
    )
