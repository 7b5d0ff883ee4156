"""How well a face is shown, and the least that is asked of it.

A quality is a number of a face that has been cut out of its photo; higher is better in
all of them. A photo whose face is below a cut-off is refused. So is one of whose face a
quality that is asked for is not known: nobody can say that it is good enough.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.errors import ParameterError
from facever.faces.detection import Face
from facever.faces.landmark_fit import measure_residuals

LOW_QUALITY = "quality too low"
"""Every reason of a refusal begins with it."""

_Landmarks = Float64[np.ndarray, "faces 5 2"]
_Values = Float64[np.ndarray, " faces"]
_Crop = UInt8[np.ndarray, "high wide 3"]


def _fits(landmarks: _Landmarks, scores: _Values, crops: Iterable[_Crop]) -> _Values:
    return -measure_residuals(landmarks)


def _scores(landmarks: _Landmarks, scores: _Values, crops: Iterable[_Crop]) -> _Values:
    return scores


def _eye_distances(
    landmarks: _Landmarks, scores: _Values, crops: Iterable[_Crop]
) -> _Values:
    distances: _Values = np.linalg.norm(landmarks[:, 0] - landmarks[:, 1], axis=1)
    return distances


def _sharpness(
    landmarks: _Landmarks, scores: _Values, crops: Iterable[_Crop]
) -> _Values:
    """Variance of the Laplacian of each crop's brightness (Pech-Pacheco et al., 2000).

    It is of the aligned crop, so a small face that was enlarged counts as blurred.
    """
    grey = (cv2.cvtColor(np.ascontiguousarray(c), cv2.COLOR_RGB2GRAY) for c in crops)
    return np.array([cv2.Laplacian(each, cv2.CV_64F).var() for each in grey])


FACE_QUALITIES: Mapping[
    str, Callable[[_Landmarks, _Values, Iterable[_Crop]], _Values]
] = MappingProxyType(
    {
        "landmark-fit": _fits,
        "detector-score": _scores,
        "eye-distance": _eye_distances,
        "sharpness": _sharpness,
    }
)
"""Each quality, from the landmarks of faces in their photos, the detector's scores and
the crops; NaN is not known. Only ``sharpness`` looks at the crops."""


def parse_min_quality(texts: Sequence[str]) -> dict[str, float]:
    """Read cut-offs as the command line has them.

    Args:
        texts: Each ``NAME=NUMBER``.

    Returns:
        The least of each quality, by its name.

    Raises:
        ParameterError: If one is not of that form, or a quality is named twice.

    Examples:
        >>> parse_min_quality(["sharpness=20", "landmark-fit=-0.3"])
        {'sharpness': 20.0, 'landmark-fit': -0.3}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            least = float(number)
        except ValueError:
            least = float("nan")
        if not name or not isfinite(least):
            raise ParameterError(
                f"min_quality must be NAME=NUMBER, such as sharpness=20, got {text!r}"
            )
        if name in found:
            raise ParameterError(f"min_quality names {name} twice: give one number")
        found[name] = least
    return found


def check_min_quality(min_quality: Mapping[str, float]) -> None:
    """Refuse cut-offs of what is no quality of a face, or that are no numbers.

    Raises:
        ParameterError: If there is such a one.
    """
    names = ", ".join(FACE_QUALITIES)
    for name, least in min_quality.items():
        if name not in FACE_QUALITIES:
            raise ParameterError(f"min_quality must name one of {names}; got {name!r}")
        check_least(name, least)


def check_least(name: str, least: float) -> None:
    """Refuse a cut-off that is no number.

    Raises:
        ParameterError: If it is NaN or infinite.
    """
    if not isfinite(least):
        raise ParameterError(
            f"min_quality of {name} must be a finite number, got {least:g}"
        )


def too_low(name: str, value: float, least: float) -> str | None:
    """Why a photo is refused; None if it is good enough.

    >>> too_low("sharpness", 12.345, 20.0)
    'quality too low: sharpness is 12.345, and at least 20 is asked for'
    >>> too_low("sharpness", 20.0, 20.0) is None
    True
    """
    if value >= least:
        return None
    found = "not known" if value != value else f"{value:.6g}"
    return f"{LOW_QUALITY}: {name} is {found}, and at least {least:g} is asked for"


def low_quality(
    face: Face, crop: _Crop, min_quality: Mapping[str, float]
) -> str | None:
    """Why a face is refused; None if it is good enough.

    Args:
        face: The face, in pixels of its photo.
        crop: The face as it was cut out.
        min_quality: The least of each of some ``FACE_QUALITIES``.

    Returns:
        The reason, fit for a ledger, of the first that is too low.
    """
    for name, least in min_quality.items():
        measure = FACE_QUALITIES[name]
        [value] = measure(face.landmarks[None], np.array([face.score]), [crop])
        if why := too_low(name, float(value), least):
            return why
    return None
