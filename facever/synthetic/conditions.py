"""What changes from photo to photo: pose, expression, light, camera, obstacles."""

from dataclasses import dataclass

from facever.synthetic.identity import Colour, Identity, Sampler

OCCLUDERS = ("none", "strands", "hand", "bar", "microphone")
_OCCLUDER_SHARES = (0.78, 0.07, 0.05, 0.04, 0.06)
HATS = ("none", "beanie", "cap")
_HAT_SHARES = (0.92, 0.04, 0.04)


@dataclass(frozen=True)
class Conditions:
    """The circumstances of one photo; angles in radians, sizes in pixels."""

    height: int
    width: int
    unit: float
    center_x: float
    center_y: float
    yaw: float
    pitch: float
    roll: float
    camera_distance: float
    smile: float
    mouth_open: float
    brow_raise: float
    brow_slant: float
    eyelids: float
    gaze_x: float
    gaze_y: float
    light_x: float
    light_y: float
    ambient: float
    light: Colour
    cast: Colour
    exposure: float
    gamma: float
    saturation: float
    glasses: str
    hat: str
    hat_colour: Colour
    clothes: Colour
    occluder: str
    stubble: float
    make_up: float
    tousle: float
    blur: float
    small: float
    noise: float
    jpeg_quality: int
    texture_seed: int


def _cast(sampler: Sampler) -> Colour:
    warm = sampler.around(0.0, 0.13)
    green = sampler.around(0.0, 0.04)
    return (1.0 + warm, 1.0 + green, 1.0 - warm)


def _dye(sampler: Sampler) -> Colour:
    grey = sampler.between(25.0, 225.0)
    return sampler.tint((grey, grey, grey), 40.0)


def sample_conditions(
    identity: Identity, seed: int, number: int, picture: int
) -> Conditions:
    """Draw the circumstances of photo ``picture`` of person ``number``.

    Args:
        identity: The person, whose habits such as glasses matter.
        seed: Seed of the population, in [0, 2**32).
        number: Number of the person, in [0, 2**32).
        picture: Number of the photo of this person, in [0, 2**32).

    Returns:
        The same circumstances for the same numbers.
    """
    sampler = Sampler(2, seed, number, picture)
    around, between, happens = sampler.around, sampler.between, sampler.happens
    height, width = int(between(200.0, 261.0)), int(between(200.0, 261.0))
    glasses = "clear" if happens(identity.glasses_habit) else "none"
    if happens(0.035):
        glasses = "sun"
    return Conditions(
        height=height,
        width=width,
        unit=between(36.0, 56.0),
        center_x=width * (0.5 + around(0.0, 0.045)),
        center_y=height * (0.5 + around(0.0, 0.04)),
        yaw=around(0.0, 0.24),
        pitch=around(0.0, 0.13),
        roll=around(0.0, 0.16),
        camera_distance=between(5.0, 11.0),
        smile=max(-0.4, around(0.35, 0.5)),
        mouth_open=max(0.0, around(-0.03, 0.09)),
        brow_raise=around(0.0, 0.03),
        brow_slant=around(0.0, 0.06),
        eyelids=between(0.1, 0.3) if happens(0.05) else between(0.68, 1.12),
        gaze_x=around(0.0, 0.02),
        gaze_y=around(0.0, 0.01),
        light_x=around(0.0, 0.9),
        light_y=around(-0.45, 0.35),
        ambient=between(0.32, 0.8),
        light=_cast(sampler),
        cast=_cast(sampler),
        exposure=between(0.75, 1.35),
        gamma=between(0.7, 1.25),
        saturation=0.0 if happens(0.05) else between(0.65, 1.2),
        glasses=glasses,
        hat=HATS[sampler.pick(_HAT_SHARES)],
        hat_colour=_dye(sampler),
        clothes=_dye(sampler),
        occluder=OCCLUDERS[sampler.pick(_OCCLUDER_SHARES)],
        stubble=between(0.3, 1.0),
        make_up=max(0.0, between(-1.0, 1.0)),
        tousle=between(0.2, 1.0),
        blur=max(0.0, between(-0.5, 1.1)),
        small=between(0.4, 0.7) if happens(0.15) else 1.0,
        noise=between(1.0, 7.0),
        jpeg_quality=int(between(18.0, 60.0)) if happens(0.3) else 0,
        texture_seed=int(sampler.rng.integers(2**32)),
    )
