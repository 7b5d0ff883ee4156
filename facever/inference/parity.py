"""Whether a backend gives the features that the network gives in float32."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from facever.choices import Backend, Precision
from facever.errors import DataError, ModelFileError
from facever.faces.detection import Face
from facever.faces.templates import Template
from facever.hardware import has_bf16_units
from facever.inference.backends.runtime_network import RuntimeNetwork
from facever.inference.header import ModelHeader, Numbers, Parity
from facever.inference.network import StartedNetwork
from facever.inference.vectors import unit_or_zero
from facever.runtimes import is_installed
from facever.synthetic.drawing import draw_face

BATCH_SIZES = (1, 2, 7, 64)
"""Crops at a time at which backends are compared: kernels differ with it."""

_SEED = 20181
_CROPS_PROVEN = 16


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


def ways_to_compute(precision: Numbers = "fp32") -> list[tuple[Backend, Precision]]:
    """The backends that are installed, each with the numbers to prove on this machine.

    Args:
        precision: The numbers of the file; a network in whole numbers stays in them.
    """
    ways: list[tuple[Backend, Precision]] = []
    if is_installed("onnxruntime"):
        ways.append(("onnxruntime", "auto"))
    if is_installed("openvino"):
        ways.append(("openvino", "fp32"))
        if has_bf16_units("cpu") and precision != "int8":
            ways.append(("openvino", "bf16"))
    return ways


def prove(network: RuntimeNetwork, header: ModelHeader) -> list[Parity]:
    """Compare the backends that can compute a network, on drawn crops.

    Args:
        network: The network; the backend that its format is made for is right.
        header: Says how it takes its crops.

    Raises:
        ModelFileError: If that backend cannot compute it.
    """
    template = header.find_template()
    assert template is not None
    crops = drawn_crops(template, _CROPS_PROVEN)
    expected = features_of(network.start(header, "cpu", "fp32", "auto"), crops)
    parity = []
    for backend, precision in ways_to_compute():
        if backend not in network.starts:
            continue
        try:
            started = network.start(header, "cpu", precision, backend)
            parity += measure_parity(
                backend,
                started.precision,
                partial(features_of, started, crops),
                expected,
                [len(crops)],
            )
        except (ModelFileError, DataError):
            continue  # It cannot compute this network, so it is not proven.
    return parity
