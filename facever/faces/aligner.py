"""From photos to crops, a batch at a time; what fails says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    Backend,
    Detector,
    FaceRule,
    OneFace,
    TemplateName,
)
from facever.errors import DataError, ParameterError, PhotoError
from facever.faces.detection import Face, choose_faces, face_at, rules_taking
from facever.faces.detectors import DETECTORS, Detect, make_detector
from facever.faces.landmark_fit import is_outside
from facever.faces.mtcnn_backends import settle
from facever.faces.photo_source import PhotoSource
from facever.faces.quality import FACE_QUALITIES, check_min_quality, low_quality
from facever.faces.templates import (
    DEFAULT_TEMPLATE,
    TEMPLATES,
    Template,
    take_crop,
    widen_crop,
)
from facever.results import plain

NO_FACE = "no face found"
NO_LANDMARKS = "no landmarks are listed"
_NO_BOX = "landmarks alone do not say where the face's box is"

_HELD_PIXELS = 16_000_000


@dataclass(frozen=True, repr=False)
class AlignedPhoto:
    """What became of a photo.

    Attributes:
        source: The photo's name.
        height: The photo's height, upright, in pixels; 0 where it cannot be read.
        width: The photo's width.
        faces: The faces that were chosen, in the photo's pixels; none when it failed.
        crops: The aligned crop of each face.
        reason: Why there is no crop; None when there is.
        num_found: How many faces there are to choose from.
        outside: The part of each crop that lies outside the photo, in [0, 1].
        taken_by: The rules for one face that take each of the faces; None where it is
            not known whether there are others.
    """

    source: str
    height: int
    width: int
    faces: Sequence[Face]
    crops: UInt8[np.ndarray, "faces high wide 3"]
    reason: str | None
    num_found: int
    outside: Float64[np.ndarray, " faces"]
    taken_by: Sequence[Sequence[OneFace]] | None

    def __repr__(self) -> str:
        size = f"{self.width}x{self.height}"
        what = self.reason or f"{len(self.faces)} of {self.num_found} faces"
        return f"{type(self).__name__}({self.source!r}, {size}, {what})"

    def to_dict(self) -> dict[str, Any]:
        """All but the crops' pixels, as plain values that JSON can hold."""
        return {
            "source": self.source,
            "height": self.height,
            "width": self.width,
            "num_found": self.num_found,
            "reason": self.reason,
            "faces": plain(self.faces),
            "outside": plain(self.outside),
            "taken_by": plain(self.taken_by),
        }

    @property
    def landmarks(self) -> Float64[np.ndarray, "faces 5 2"]:
        """The landmarks of each face in the photo, pixels; NaN where unknown."""
        return np.array([face.landmarks for face in self.faces]).reshape(-1, 5, 2)

    @property
    def scores(self) -> Float64[np.ndarray, " faces"]:
        """The detector's score of each face; NaN where unknown."""
        return np.array([face.score for face in self.faces], np.float64)

    def without_faces(self, reason: str) -> "AlignedPhoto":
        """The photo as one that gave no crop."""
        return replace(
            self,
            faces=[],
            crops=self.crops[:0],
            reason=reason,
            outside=self.outside[:0],
            taken_by=None,
        )

    def check(self) -> None:
        """Raise the reason, if there is one.

        Raises:
            PhotoError: If the photo cannot be read; the message names it.
            DataError: If it gives no crop, as when no face is found in it.
        """
        if self.reason is None:
            return
        if not self.height:
            raise PhotoError(f"cannot read {self.source}: {self.reason}")
        if self.reason == NO_FACE:
            raise DataError(
                f"{NO_FACE} in {self.source}; is it upright, and is the face at least "
                "20 pixels high and turned towards the camera?"
            )
        raise DataError(f"{self.source}: {self.reason}")


@dataclass(frozen=True)
class AlignRecipe:
    """How photos become crops: all that it takes to make a ``PhotoAligner``.

    Attributes:
        detector: How faces are found; see ``DETECTORS``.
        face: Which face to take when a photo has several.
        by_landmarks: Use the landmarks that the photos' sources list, not a detector.
        max_pixels: See ``read_photo``.
        template: What the crops look like; see ``TEMPLATES``.
        device: Where the detector's networks run, by torch's name, or ``auto``.
        backend: What computes them; see ``make_detector``.
        min_quality: The least of some ``FACE_QUALITIES``; photos of which a face that
            is taken is below one of them are refused.
    """

    detector: Detector = "mtcnn"
    face: FaceRule = DEFAULT_FACE
    by_landmarks: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    template: TemplateName = "112x96"
    device: str = "cpu"
    backend: Backend = "auto"
    min_quality: Mapping[str, float] = field(default_factory=dict)

    @property
    def uses_network(self) -> bool:
        """Whether faces are searched."""
        return not self.by_landmarks and self.detector != "crops"

    @property
    def uses_torch(self) -> bool:
        """Whether faces are searched by torch, in a recipe that is settled."""
        return self._has_backends and self.backend == "torch"

    @property
    def _has_backends(self) -> bool:
        return not self.by_landmarks and DETECTORS[self.detector].has_backends

    def check_min_quality(self) -> None:
        """Refuse cut-offs that are none, or of what is not known of such faces.

        Raises:
            ParameterError: If there is such a one.
        """
        check_min_quality(self.min_quality)
        if self.uses_network:
            return
        way, unknown = "known landmarks", {"detector-score"}
        if not self.by_landmarks:
            way, unknown = "detector crops", {*FACE_QUALITIES} - {"sharpness"}
        for name in self.min_quality:
            if name in unknown:
                known = " or ".join(
                    each for each in FACE_QUALITIES if each not in unknown
                )
                raise ParameterError(
                    f"min_quality cannot name {name} with {way}, where it is not "
                    f"known: name {known}"
                )

    def settle(self) -> "AlignRecipe":
        """The recipe with what ``auto`` means on this machine, for several processes.

        Raises:
            ParameterError: If there is no such backend or device.
            ModelFileError: If the backend's package is not installed.
        """
        if not self._has_backends:
            return self
        backend, device = settle(self.backend, self.device)
        return replace(self, backend=backend, device=device)

    def make_aligner(self) -> "PhotoAligner":
        """The aligner; loads the detector if there is one."""
        return PhotoAligner(
            detect=make_detector(self.detector, self.device, self.backend)
            if self.uses_network
            else None,
            by_landmarks=self.by_landmarks,
            face=self.face,
            max_pixels=self.max_pixels,
            template=TEMPLATES[self.template],
            min_quality=self.min_quality,
        )


class PhotoAligner:
    """Turns photos into crops in one of three ways.

    With a detector, by landmarks that are known already, or, with neither, by taking
    photos that are crops of the template, or of one that contains it, already.
    """

    def __init__(
        self,
        *,
        detect: Detect | None = None,
        by_landmarks: bool = False,
        face: FaceRule = DEFAULT_FACE,
        max_pixels: int,
        template: Template = DEFAULT_TEMPLATE,
        min_quality: Mapping[str, float] | None = None,
    ) -> None:
        """Choose the way.

        Args:
            detect: Finds the faces; see ``make_detector``.
            by_landmarks: Use the landmarks that the photos' sources list.
            face: Which face to take when a detector finds several.
            max_pixels: See ``read_photo``.
            template: What the crops look like.
            min_quality: Photos of which a face that is taken is below are refused.
        """
        self._detect = detect
        self._by_landmarks = by_landmarks
        self._face = face
        self._max_pixels = max_pixels
        self._template = template
        self._min_quality = min_quality or {}

    def align(self, photos: Sequence[PhotoSource]) -> list[AlignedPhoto]:
        """Align photos, in their order; none raises, none is left out.

        Photos are held in memory up to a limit of pixels at a time.
        """
        aligned: list[AlignedPhoto] = []
        held: list[tuple[PhotoSource, UInt8[np.ndarray, "_ _ 3"] | PhotoError]] = []
        num_pixels = 0
        for photo in photos:
            try:
                image = photo.read(self._max_pixels)
            except PhotoError as error:
                held.append((photo, error))
                continue
            held.append((photo, image))
            num_pixels += image.shape[0] * image.shape[1]
            if num_pixels >= _HELD_PIXELS:
                aligned += self._align_held(held)
                held.clear()
                num_pixels = 0
        return aligned + self._align_held(held)

    def _align_held(
        self,
        held: Sequence[tuple[PhotoSource, UInt8[np.ndarray, "_ _ 3"] | PhotoError]],
    ) -> list[AlignedPhoto]:
        images = [image for _, image in held if not isinstance(image, PhotoError)]
        found = iter(self._detect(images) if self._detect else [])
        aligned = []
        for photo, image in held:
            if isinstance(image, PhotoError):
                aligned.append(self._failed(photo.source, str(image)))
            elif self._detect:
                faces = next(found)
                size = image.shape[:2]
                chosen = choose_faces(faces, size, self._face)
                cut = self._cut(photo.source, image, chosen, NO_FACE)
                taken_by = rules_taking(cut.faces, faces, size)
                cut = replace(cut, num_found=len(faces), taken_by=taken_by)
                aligned.append(cut)
            elif self._by_landmarks:
                aligned.append(self._cut_known(photo, image))
            else:
                aligned.append(self._take(photo.source, image))
        return [self._judge(photo) for photo in aligned]

    def _judge(self, photo: AlignedPhoto) -> AlignedPhoto:
        """The photo, refused where a face of it is of too low quality."""
        for face, crop in zip(photo.faces, photo.crops, strict=True):
            if why := low_quality(face, crop, self._min_quality):
                return photo.without_faces(why)
        return photo

    def _cut(
        self,
        source: str,
        image: UInt8[np.ndarray, "height width 3"],
        faces: Sequence[Face],
        reason_for_none: str,
    ) -> AlignedPhoto:
        if not faces:
            return self._failed(source, reason_for_none, image)
        if self._by_landmarks and self._template.needs_box:
            return self._failed(source, _NO_BOX, image)
        try:
            crops = self._template.cut(image, faces)
        except DataError as error:
            return self._failed(source, str(error), image)
        height, width, _ = image.shape
        outside = self._template.share_outside((height, width), faces)
        return AlignedPhoto(
            source, height, width, faces, crops, None, len(faces), outside, None
        )

    def _cut_known(
        self, photo: PhotoSource, image: UInt8[np.ndarray, "height width 3"]
    ) -> AlignedPhoto:
        """A face by the landmarks that the source lists."""
        if photo.landmarks is None:
            return self._failed(photo.source, NO_LANDMARKS, image)
        height, width, _ = image.shape
        if is_outside(photo.landmarks, height, width):
            reason = f"landmarks lie outside the photo of {width}x{height} pixels"
            return self._failed(photo.source, reason, image)
        return self._cut(photo.source, image, [face_at(photo.landmarks)], NO_LANDMARKS)

    def _take(
        self, source: str, image: UInt8[np.ndarray, "height width 3"]
    ) -> AlignedPhoto:
        """A photo that is a crop already; where its landmarks are is not known."""
        crop = widen_crop(image, self._template)
        if crop is None:
            try:
                crop = take_crop(image, self._template)
            except DataError as error:
                return self._failed(source, str(error), image)
        height, width, _ = image.shape
        outside = np.full(1, max(0.0, 1 - height * width / (crop.size / 3)))
        box = np.array([0.0, 0.0, width - 1, height - 1])
        face = Face(np.full((5, 2), np.nan), box, float("nan"))
        return AlignedPhoto(
            source, height, width, [face], crop[None], None, 1, outside, None
        )

    def _failed(
        self,
        source: str,
        reason: str,
        image: UInt8[np.ndarray, "height width 3"] | None = None,
    ) -> AlignedPhoto:
        height, width = (0, 0) if image is None else image.shape[:2]
        none = np.empty((0, *self._template.shape), dtype=np.uint8)
        return AlignedPhoto(
            source, height, width, [], none, reason, 0, np.empty(0), None
        )
