"""From photos on the disk to crops, a batch at a time; what fails says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float64, UInt8

from facever.choices import Detector, FaceRule
from facever.errors import DataError, PhotoError
from facever.faces.detection import Face, choose_faces, face_at
from facever.faces.geometry import CROP_HEIGHT, CROP_WIDTH, WIDE_CROP_WIDTH, align_faces
from facever.faces.photo_source import PhotoSource

DETECTORS: tuple[Detector, ...] = get_args(Detector)
Detect = Callable[[Sequence[UInt8[np.ndarray, "_ _ 3"]]], list[list[Face]]]
NO_FACE = "no face found"
NO_LANDMARKS = "no landmarks are listed"

_HELD_PIXELS = 16_000_000


@dataclass(frozen=True)
class AlignedPhoto:
    """What became of a photo.

    Attributes:
        source: The photo.
        crops: One or more, or none when it failed.
        landmarks: In the photo, pixels; NaN where unknown.
        scores: The detector's; NaN where unknown.
        reason: Why there is no crop; None when there is.
    """

    source: str
    crops: UInt8[np.ndarray, "faces 112 96 3"]
    landmarks: Float64[np.ndarray, "faces 5 2"]
    scores: Float64[np.ndarray, " faces"]
    reason: str | None


class PhotoAligner:
    """Turns photos into crops in one of three ways.

    With a detector, by landmarks that are known already, or, with neither, by taking
    photos that are crops of the template as they are, or without eight columns on
    either side where they are square.
    """

    def __init__(
        self,
        *,
        detect: Detect | None = None,
        by_landmarks: bool = False,
        face: FaceRule = "largest",
        max_pixels: int,
    ) -> None:
        """Choose the way.

        Args:
            detect: Gives the faces of each photo, as ``MtcnnDetector.detect`` does.
            by_landmarks: Use those that the photos' sources list.
            face: Which face to take when a detector finds several.
            max_pixels: See ``read_photo``.
        """
        self._detect = detect
        self._by_landmarks = by_landmarks
        self._face = face
        self._max_pixels = max_pixels

    def align(self, photos: Sequence[PhotoSource]) -> list[AlignedPhoto]:
        """Align photos, in their order; none raises, none is left out.

        Photos are held in memory up to a limit of pixels at a time.
        """
        aligned: dict[str, AlignedPhoto] = {}
        held: list[tuple[PhotoSource, UInt8[np.ndarray, "_ _ 3"]]] = []
        num_pixels = 0
        for photo in photos:
            try:
                image = photo.read(self._max_pixels)
            except PhotoError as error:
                aligned[photo.source] = _failed(photo.source, str(error))
                continue
            held.append((photo, image))
            num_pixels += image.shape[0] * image.shape[1]
            if num_pixels >= _HELD_PIXELS:
                aligned.update(self._align_held(held))
                held.clear()
                num_pixels = 0
        aligned.update(self._align_held(held))
        return [aligned[photo.source] for photo in photos]

    def _align_held(
        self, held: Sequence[tuple[PhotoSource, UInt8[np.ndarray, "_ _ 3"]]]
    ) -> dict[str, AlignedPhoto]:
        if self._detect:
            found = self._detect([image for _, image in held])
            return {
                photo.source: self._cut(
                    photo.source,
                    image,
                    choose_faces(faces, image.shape[:2], self._face),
                    NO_FACE,
                )
                for (photo, image), faces in zip(held, found, strict=True)
            }
        if not self._by_landmarks:
            return {photo.source: _take(photo.source, image) for photo, image in held}
        return {
            photo.source: self._cut(
                photo.source,
                image,
                [] if photo.landmarks is None else [face_at(photo.landmarks)],
                NO_LANDMARKS,
            )
            for photo, image in held
        }

    def _cut(
        self,
        source: str,
        image: UInt8[np.ndarray, "height width 3"],
        faces: Sequence[Face],
        reason: str,
    ) -> AlignedPhoto:
        if not faces:
            return _failed(source, reason)
        landmarks = np.stack([face.landmarks for face in faces])
        scores = np.array([face.score for face in faces])
        try:
            crops = align_faces(image, landmarks)
        except DataError as error:
            return _failed(source, str(error))
        return AlignedPhoto(source, crops, landmarks, scores, None)


def _take(source: str, image: UInt8[np.ndarray, "height width 3"]) -> AlignedPhoto:
    height, width, _ = image.shape
    if height != CROP_HEIGHT or width not in (CROP_WIDTH, WIDE_CROP_WIDTH):
        return _failed(
            source,
            f"not a {CROP_WIDTH}x{CROP_HEIGHT} crop: {width}x{height} (width x height; "
            f"{WIDE_CROP_WIDTH}x{CROP_HEIGHT} would do too)",
        )
    if width == WIDE_CROP_WIDTH:
        margin = (WIDE_CROP_WIDTH - CROP_WIDTH) // 2
        image = np.ascontiguousarray(image[:, margin : margin + CROP_WIDTH])
    unknown = np.full((1, 5, 2), np.nan)
    return AlignedPhoto(source, image[None], unknown, np.array([np.nan]), None)


def _failed(source: str, reason: str) -> AlignedPhoto:
    return AlignedPhoto(
        source,
        np.empty((0, CROP_HEIGHT, CROP_WIDTH, 3), dtype=np.uint8),
        np.empty((0, 5, 2)),
        np.empty(0),
        reason,
    )
