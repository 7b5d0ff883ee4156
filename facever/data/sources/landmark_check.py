"""Landmarks that a source lists, checked before hours are spent on them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import DataError, PhotoError
from facever.faces.landmark_fit import (
    FITTING_RESIDUAL,
    find_misfit,
    find_outliers,
    is_outside,
    residuals,
)
from facever.faces.photo_source import NoPhoto, PhotoSource

_LARGEST_SHARE = 0.25
_NUM_JUDGED = 500
_NUM_READ = 64
_MIN_FOR_QUARTER = 20


def check_landmarks(photos: Sequence[PhotoSource]) -> list[PhotoSource]:
    """Refuse landmarks that are wrong throughout, and leave out single wrong ones.

    A sample of the photos is read, to see whether the points lie inside them.

    Args:
        photos: In order; those without landmarks are left as they are.

    Returns:
        The photos, of which those whose landmarks cannot be right give the reason when
        they are read.

    Raises:
        DataError: If the landmarks of all or many photos are wrong; the message says
            what is wrong and in how many photos.
    """
    places = [n for n, photo in enumerate(photos) if photo.landmarks is not None]
    if not places:
        return list(photos)
    landmarks = np.array([photos[place].landmarks for place in places])
    misfit = find_misfit(landmarks[:: max(1, len(landmarks) // _NUM_JUDGED)])
    if misfit is not None:
        num_wrong = int((residuals(landmarks) > FITTING_RESIDUAL).sum())
        raise _refusal(misfit.reason, num_wrong, len(landmarks))
    outliers = find_outliers(landmarks)
    if len(outliers) > _LARGEST_SHARE * len(landmarks) and len(landmarks) > 1:
        first = next(iter(outliers.values()))
        raise _refusal(first, len(outliers), len(landmarks))
    _check_inside([photos[place] for place in places[:: len(places) // _NUM_READ + 1]])
    checked = list(photos)
    for face, reason in outliers.items():
        checked[places[face]] = replace(photos[places[face]], part=NoPhoto(reason))
    return checked


def _check_inside(photos: Sequence[PhotoSource]) -> None:
    outside, reaches = [], []
    for photo in photos:
        try:
            height, width, _ = photo.read(DEFAULT_MAX_PIXELS).shape
        except PhotoError:
            continue
        assert photo.landmarks is not None
        reaches.append(photo.landmarks.max(axis=0) / (width, height))
        if is_outside(photo.landmarks, height, width):
            outside.append((photo, height, width))
    num_read = len(reaches)
    if len(outside) > _LARGEST_SHARE * num_read and num_read > 1:
        photo, height, width = outside[0]
        raise _refusal(
            f"points lie outside the photo, such as {photo.source} of {width}x{height} "
            "pixels, as if they were of a larger copy,",
            len(outside),
            num_read,
        )
    if num_read >= _MIN_FOR_QUARTER and np.max(reaches) < 0.5:
        raise _refusal(
            "all points lie in the upper left quarter of the photo, as if they were of "
            "a smaller copy,",
            num_read,
            num_read,
        )


def _refusal(reason: str, num_wrong: int, num_faces: int) -> DataError:
    return DataError(
        f"landmarks: {reason} in {num_wrong} of {num_faces} photos; expected are x and "
        "y of left eye, right eye, nose, left and right mouth corner, as seen in the "
        "picture, in pixels of the photo"
    )
