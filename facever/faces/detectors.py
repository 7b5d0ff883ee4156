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
        make: Loads it, for a device by torch's name and a backend.
        has_backends: Whether these two are asked for; others run in OpenCV, on the CPU.
    """

    make: Callable[[str, Backend], Detect | None]
    has_backends: bool


DEFAULT_DETECTOR: Detector = "mtcnn"


def make_detector(
    name: Detector, device: str = "cpu", backend: Backend = "auto"
) -> Detect | None:
    """Load a detector.

    Args:
        name: A name in ``DETECTORS``.
        device: Where its networks run, by torch's name.
        backend: What computes them. ``auto`` is torch on other devices than the CPU;
            there it is the fastest that is installed of OpenVINO, onnxruntime and
            torch, which find the same faces. Backends but torch run on the CPU, and
            ``yunet`` in OpenCV on the CPU, whatever the device.

    Returns:
        What finds faces; None for ``crops``, where there is nothing to find.

    Raises:
        ParameterError: If there is no detector, backend or device of that name.
        ModelFileError: If a package that it needs is not installed.
    """
    check_detector(name)
    return DETECTORS[name].make(device, backend)


def check_detector(name: str) -> None:
    """Refuse an unknown detector.

    Raises:
        ParameterError: If there is no detector of that name; the message lists them.
    """
    if name not in DETECTORS:
        raise ParameterError(
            f"detector must be one of {', '.join(DETECTORS)}, got {name!r}"
        )


# The networks are imported when they are asked for.
def _mtcnn(device: str, backend: Backend) -> Detect:
    from facever.faces.mtcnn import MtcnnDetector

    return MtcnnDetector(device=device, backend=backend).detect


def _mtcnn_sphereface(device: str, backend: Backend) -> Detect:
    from facever.faces.mtcnn import SPHEREFACE, MtcnnDetector

    return MtcnnDetector(SPHEREFACE, device, backend).detect


def _yunet(device: str, backend: Backend) -> Detect:
    from facever.faces.yunet import YunetDetector

    return YunetDetector().detect


def _crops(device: str, backend: Backend) -> None:
    """The photos are aligned crops already: nothing is searched."""


DETECTORS: dict[Detector, DetectorKind] = {
    "mtcnn": DetectorKind(_mtcnn, has_backends=True),
    "mtcnn-sphereface": DetectorKind(_mtcnn_sphereface, has_backends=True),
    "yunet": DetectorKind(_yunet, has_backends=False),
    "crops": DetectorKind(_crops, has_backends=False),
}
