"""Whether a backend gives the features that the network gives in float32."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from facever.choices import Backend
from facever.faces.detection import Face
from facever.faces.templates import Template
from facever.inference.header import Numbers, Parity
from facever.inference.network import StartedNetwork
from facever.inference.vectors import unit_or_zero
from facever.synthetic.drawing import draw_face

BATCH_SIZES = (1, 2, 7, 64)
"""Crops at a time at which backends are compared: kernels differ with it."""

_SEED = 20181


def drawn_crops(
    template: Template, num_crops: int
) -> UInt8[np.ndarray, "crops high wide 3"]:
    """Crops of drawn people, always the same ones, each of another person."""
    crops = []
    for person in range(num_crops):
        drawn = draw_face(_SEED, person, 1)
        middle = drawn.landmarks.mean(axis=0)
        half = 1.5 * np.ptp(drawn.landmarks, axis=0).max()
        box = np.concatenate([middle - half, middle + half])
        crops += list(template.cut(drawn.photo, [Face(drawn.landmarks, box, 1.0)]))
    return np.stack(crops)


def features_of(
    started: StartedNetwork,
    crops: UInt8[np.ndarray, "crops high wide 3"],
    batch_size: int = 32,
) -> Float32[np.ndarray, "crops dim"]:
    """The network's features of crops, without mirror images."""
    parts = [
        started.compute(crops[start : start + batch_size], False)[0]
        for start in range(0, len(crops), batch_size)
    ]
    return np.concatenate(parts)


def cosines(
    found: Float32[np.ndarray, "crops dim"], expected: Float32[np.ndarray, "crops dim"]
) -> Float64[np.ndarray, " crops"]:
    """The cosine of each row of the one to that of the other; -1 if not finite."""
    units = [
        unit_or_zero(np.nan_to_num(each), dtype=np.float64)
        for each in (found, expected)
    ]
    alike = np.clip((units[0] * units[1]).sum(axis=1), -1, 1)
    return np.where(np.isfinite(found).all(axis=1), alike, -1.0)


def measure_parity(
    backend: Backend,
    precision: str,
    features_at: Callable[[int], Float32[np.ndarray, "crops dim"]],
    expected: Float32[np.ndarray, "crops dim"],
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> list[Parity]:
    """How like a backend's features are to those that are expected.

    Args:
        backend: What computes.
        precision: The numbers it computes with.
        features_at: Gets a number of crops at a time; gives the features of the crops.
        expected: The features of the same crops in float32.
        batch_sizes: Crops at a time.

    Returns:
        A row for each size of a batch.
    """
    rows = []
    for size in batch_sizes:
        alike = cosines(features_at(size), expected)
        lowest, mean = float(alike.min()), float(alike.mean())
        rows.append(Parity(backend, cast(Numbers, precision), size, lowest, mean))
    return rows
