"""Cut aligned crops out of a photo."""

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.faces.geometry import CROP_HEIGHT, CROP_WIDTH, similarity_transform


def warp_crops(
    photo: UInt8[np.ndarray, "height width 3"],
    transforms: Float64[np.ndarray, "faces 2 3"],
) -> UInt8[np.ndarray, "faces 112 96 3"]:
    """Resample a photo into crops, bilinear, black where the photo ends.

    Args:
        photo: RGB.
        transforms: From the photo's pixels to the crop's, as of
            ``similarity_transform``.
    """
    crops = np.empty((len(transforms), CROP_HEIGHT, CROP_WIDTH, 3), dtype=np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        cv2.warpAffine(
            photo,
            transform,
            (CROP_WIDTH, CROP_HEIGHT),
            dst=crop,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
    return crops


def align_faces(
    photo: UInt8[np.ndarray, "height width 3"],
    landmarks: Float64[np.ndarray, "faces 5 2"],
) -> UInt8[np.ndarray, "faces 112 96 3"]:
    """Crops with each face's landmarks brought onto the template.

    Raises:
        DataError: If landmarks are not finite or fall on one point.
    """
    return warp_crops(photo, similarity_transform(landmarks))
