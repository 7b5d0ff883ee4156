"""Where a face is on a photo, by its landmarks alone."""

import numpy as np
from jaxtyping import Float64

from facever.faces.geometry import similarity_transform
from facever.faces.templates import CARD_POINTS

# The mean box that MTCNN and YuNet draw around faces of LFW, in pixels of the 112x96
# crop; the two differ by less than 4 pixels.
_LEFT, _TOP, _RIGHT, _BOTTOM = 9.4, 12.2, 87.6, 118.2


def boxes_around(
    landmarks: Float64[np.ndarray, "faces 5 2"],
) -> Float64[np.ndarray, "faces 4"]:
    """The boxes that a detector would draw around faces, about.

    Args:
        landmarks: Five points of each face, pixels; NaN where they are not known.

    Returns:
        Left, top, right and bottom, pixels; upright, and so also around tilted faces,
        and perhaps beyond the photo's border. NaN where landmarks are.

    Raises:
        DataError: If the landmarks of a face all fall on one point.

    Examples:
        A face as large as in a crop of 112x96 pixels, 100 pixels further right:

        >>> boxes_around(CARD_POINTS[None] + [100, 0]).round(1)
        array([[109.4,  12.2, 187.6, 118.2]])
    """
    boxes = np.full((len(landmarks), 4), np.nan)
    known = np.isfinite(landmarks).all(axis=(1, 2))
    transforms = similarity_transform(landmarks[known], CARD_POINTS)
    middle = np.array([_LEFT + _RIGHT, _TOP + _BOTTOM]) / 2
    half = np.array([_RIGHT - _LEFT, _BOTTOM - _TOP]) / 2
    turns = transforms[:, :, :2]
    scales = np.sqrt(np.linalg.det(turns))[:, None]
    centers = np.linalg.solve(turns, (middle - transforms[:, :, 2])[..., None])[..., 0]
    boxes[known] = np.hstack([centers - half / scales, centers + half / scales])
    return boxes
