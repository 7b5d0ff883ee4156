"""The ways in which faces are found in photos, by name.

A new one is a file with a class whose ``detect`` is a ``Detect``, a row in
``DETECTORS``, and its name in ``facever.choices.Detector``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from facever.choices import Backend, Detector
from facever.errors import ParameterError
from facever.faces.detection import Face

Detect = Callable[[Sequence[UInt8[np.ndarray, "_ _ 3"]]], list[list[Face]]]
"""From RGB photos of any sizes to the faces in each, largest first."""


class DetectorKind(NamedTuple):
    """A way to find faces.

    Attributes:
        make: Loads it, for a device by torch's name.
        runs_on_torch: Whether it runs on that device; others run on the CPU, and torch
            is not imported for them.
    """

    make: Callable[[str], Detect | None]
    runs_on_torch: bool


DEFAULT_DETECTOR: Detector = "mtcnn"


def make_detector(
    name: Detector, device: str = "cpu", backend: Backend = "auto"
) -> Detect | None:
    """Load a detector.

    Args:
        name: A name in ``DETECTORS``.
        device: Where its networks run, by torch's name; ``yunet`` runs on the CPU
            whatever the device.
        backend: What computes them; ``auto`` takes the fastest that finds the same.

    Returns:
        What finds faces; None for ``crops``, where there is nothing to find.

    Raises:
        ParameterError: If there is no detector of that name.
        ModelFileError: If a package that it needs is not installed.
    """
    check_detector(name)
    return DETECTORS[name].make(device)


def check_detector(name: str) -> None:
    """Refuse an unknown detector.

    Raises:
        ParameterError: If there is no detector of that name; the message lists them.
    """
    if name not in DETECTORS:
        raise ParameterError(
            f"detector must be one of {', '.join(DETECTORS)}, got {name!r}"
        )


# The networks are imported when they are asked for: torch alone takes seconds.
def _mtcnn(device: str) -> Detect:
    from facever.faces.mtcnn import MtcnnDetector

    return MtcnnDetector(device=device).detect


def _mtcnn_sphereface(device: str) -> Detect:
    from facever.faces.mtcnn import SPHEREFACE, MtcnnDetector

    return MtcnnDetector(SPHEREFACE, device).detect


def _yunet(device: str) -> Detect:
    from facever.faces.yunet import YunetDetector

    return YunetDetector().detect


def _crops(device: str) -> None:
    """The photos are aligned crops already: nothing is searched."""


DETECTORS: dict[Detector, DetectorKind] = {
    "mtcnn": DetectorKind(_mtcnn, runs_on_torch=True),
    "mtcnn-sphereface": DetectorKind(_mtcnn_sphereface, runs_on_torch=True),
    "yunet": DetectorKind(_yunet, runs_on_torch=False),
    "crops": DetectorKind(_crops, runs_on_torch=False),
}
