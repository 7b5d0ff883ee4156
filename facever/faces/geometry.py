"""The least-squares similarity of landmarks, and crops resampled by it."""

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.errors import DataError

_SMALLEST_SPREAD = 1e-6
_SMALLEST_SCALE = 1e-9


def similarity_transform(
    landmarks: Float64[np.ndarray, "faces points 2"],
    template: Float64[np.ndarray, "points 2"],
) -> Float64[np.ndarray, "faces 2 3"]:
    """The rotation, scale and shift that bring landmarks nearest to the template.

    In the plane a similarity without reflection is one complex product and sum,
    ``a z + b``, so the least-squares problem is linear and its solution needs no
    singular values: ``a`` is the correlation of the centred points with the centred
    template over the squared spread of the points.

    Args:
        landmarks: Points in the photo, pixels, x then y.
        template: The same points in the crop, pixels.

    Returns:
        For each face the matrix that maps a photo's ``(x, y, 1)`` to the crop's
        ``(x, y)``.

    Raises:
        DataError: If a face's landmarks are not finite, fall on one point, or fit the
            template only at a scale of zero (as a mirrored face may).

    References:
        Umeyama, Least-squares estimation of transformation parameters between two
        point patterns, 1991, eq. 40-43; here for two dimensions.
    """
    _refuse(~np.isfinite(landmarks).all(axis=(1, 2)), landmarks, "are not finite")
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    goals = template[:, 0] + 1j * template[:, 1]
    points_mean = points.mean(axis=1, keepdims=True)
    goals_mean = goals.mean()
    points_centred = points - points_mean
    squared_spread = (np.abs(points_centred) ** 2).sum(axis=1)
    _refuse(
        squared_spread <= len(goals) * _SMALLEST_SPREAD**2,
        landmarks,
        "all fall on one point",
    )
    turn = (points_centred.conj() * (goals - goals_mean)).sum(axis=1) / squared_spread
    _refuse(np.abs(turn) <= _SMALLEST_SCALE, landmarks, "do not fit at any scale")
    shift = goals_mean - turn * points_mean[:, 0]
    transforms = np.empty((len(landmarks), 2, 3))
    transforms[:, 0] = np.stack([turn.real, -turn.imag, shift.real], axis=1)
    transforms[:, 1] = np.stack([turn.imag, turn.real, shift.imag], axis=1)
    return transforms


def share_outside(
    photo_size: tuple[int, int],
    transforms: Float64[np.ndarray, "faces 2 3"],
    crop_height: int,
    crop_width: int,
) -> Float64[np.ndarray, " faces"]:
    """The part of each crop's area that lies outside the photo, in [0, 1].

    Args:
        photo_size: Height and width.
        transforms: From the photo's pixels to the crop's, as of
            ``similarity_transform``.
        crop_height: Pixels.
        crop_width: Pixels.
    """
    # A pixel reaches half its side beyond its centre.
    photo = _corners(*photo_size) - 0.5
    crop = _corners(crop_height, crop_width) - 0.5
    shares = np.empty(len(transforms))
    for face, transform in enumerate(transforms):
        seen = photo @ transform[:, :2].T + transform[:, 2]
        shared, _ = cv2.intersectConvexConvex(
            seen.astype(np.float32), crop.astype(np.float32)
        )
        shares[face] = 1 - shared / (crop_height * crop_width)
    return shares.clip(0, 1)


def _corners(height: int, width: int) -> Float64[np.ndarray, "4 2"]:
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def _refuse(
    bad: np.ndarray, landmarks: Float64[np.ndarray, "faces points 2"], why: str
) -> None:
    if bad.any():
        face = int(np.argmax(bad))
        values = " ".join(f"{value:g}" for value in landmarks[face].ravel())
        raise DataError(f"the landmarks of face {face} {why}: {values}")


def warp_crops(
    photo: UInt8[np.ndarray, "height width 3"],
    transforms: Float64[np.ndarray, "faces 2 3"],
    crop_height: int,
    crop_width: int,
) -> UInt8[np.ndarray, "faces high wide 3"]:
    """Resample a photo into crops, bilinear, black where the photo ends.

    Args:
        photo: RGB.
        transforms: From the photo's pixels to the crop's, as of
            ``similarity_transform``.
        crop_height: Pixels.
        crop_width: Pixels.
    """
    crops = np.empty((len(transforms), crop_height, crop_width, 3), dtype=np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        cv2.warpAffine(
            photo,
            transform,
            (crop_width, crop_height),
            dst=crop,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
    return crops
