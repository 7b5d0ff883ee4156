"""Find faces and their five landmarks, or read the landmarks from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.errors import DataError, FileError, ParameterError

FaceRule = Literal["largest", "center", "best", "all"]
FACE_RULES: tuple[FaceRule, ...] = get_args(FaceRule)


@dataclass(frozen=True)
class Face:
    """A face in a photo.

    Attributes:
        landmarks: Left eye, right eye, nose, left and right mouth corner as seen in the
            picture; pixels, x then y.
        box: Left, top, right, bottom, pixels; may reach beyond the photo.
        score: The detector's confidence, in [0, 1]; NaN where unknown.
    """

    landmarks: Float64[np.ndarray, "5 2"]
    box: Float64[np.ndarray, "4"]
    score: float


@dataclass(frozen=True)
class CascadeSettings:
    """How MTCNN searches; the defaults are facenet-pytorch's.

    Attributes:
        pyramid_factor: Between the sizes at which a photo is searched, in (0, 1).
        proposal_score: That a window must reach in the first stage, in [0, 1].
        refined_score: In the second.
        output_score: In the third.
    """

    pyramid_factor: float = 0.709
    proposal_score: float = 0.6
    refined_score: float = 0.7
    output_score: float = 0.7


SPHEREFACE = CascadeSettings(pyramid_factor=0.85, output_score=0.9)
"""Of SphereFace's alignment: finer steps between sizes, and surer faces."""


class MtcnnDetector:
    """MTCNN with the networks and weights of facenet-pytorch.

    At the default settings it finds the faces that ``facenet_pytorch.MTCNN.detect``
    finds, in any number of photos of any sizes at a time, from 20 pixels up. Photos of
    more than ``MAX_DETECTION_PIXELS`` are shrunk to that many for the search (and their
    smallest face is larger accordingly).
    """

    MAX_DETECTION_PIXELS = 4_000_000

    def __init__(
        self, settings: CascadeSettings | None = None, device: str = "cpu"
    ) -> None:
        """Load the networks.

        Args:
            settings: How to search; facenet-pytorch's by default.
            device: Where the networks run, by torch's name.
        """
        from facever.faces.cascade import Cascade

        self._cascade = Cascade(settings or CascadeSettings(), device)

    def detect(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Face]]:
        """Find the faces in each photo, largest first.

        Args:
            photos: RGB, of any sizes; those of one size are searched together.

        Returns:
            For each photo its faces, perhaps none; landmarks and boxes in its pixels.
        """
        faces: list[list[Face]] = [[] for _ in photos]
        same_size: dict[tuple[int, ...], list[int]] = {}
        for index, photo in enumerate(photos):
            same_size.setdefault(photo.shape, []).append(index)
        for (height, width, _), members in same_size.items():
            shrink = min(1.0, (self.MAX_DETECTION_PIXELS / (height * width)) ** 0.5)
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            step = max(1, self.MAX_DETECTION_PIXELS // (size[0] * size[1]))
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                views = [_resize(photos[index], size) for index in batch]
                found = self._cascade.detect(views)
                grow = np.array([width / size[0], height / size[1]])
                for index, (boxes, points) in zip(batch, found, strict=True):
                    faces[index] = _make_faces(boxes, points, grow)
        return faces


def choose_faces(
    faces: Sequence[Face], photo_size: tuple[int, int], rule: FaceRule
) -> list[Face]:
    """The faces of a photo that a rule wants.

    Args:
        faces: As detected; may be empty, and then so is the result.
        photo_size: Height and width.
        rule: ``largest`` (area of the box), ``center`` (box centre nearest to that of
            the photo), ``best`` (highest score) or ``all`` (largest first).
    """
    if rule not in FACE_RULES:
        rules = ", ".join(FACE_RULES)
        raise ParameterError(f"the face rule must be one of {rules}, got {rule!r}")
    if not faces:
        return []
    if rule == "center":
        height, width = photo_size
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        return [min(faces, key=lambda face: _distance(face, middle))]
    if rule == "best":
        return [max(faces, key=lambda face: face.score)]
    by_area = sorted(faces, key=_area, reverse=True)
    return by_area if rule == "all" else by_area[:1]


def read_landmarks(path: Path | str) -> dict[str, Float64[np.ndarray, "5 2"]]:
    """Read a landmark file.

    Each line has a source (the photo's path below the photo folder) and ten numbers,
    separated by tabs: x and y of left eye, right eye, nose, left and right mouth
    corner, in pixels. Empty lines are left out.

    Raises:
        FileError: If the file is missing or no text.
        DataError: If a line is not like that or names a photo again.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(f"{path} is no landmark file: it is not UTF-8 text") from None
    except OSError as error:
        raise FileError(f"no landmark file at {path}: {error.strerror}") from None
    landmarks: dict[str, Float64[np.ndarray, "5 2"]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source, *values = line.split("\t")
        where = f"{path}, line {number}"
        if len(values) != 10:
            raise DataError(
                f"{where}: expected a photo and 10 numbers, separated by tabs, got "
                f"{len(values)} numbers"
            )
        if source in landmarks:
            raise DataError(f"{where}: {source} is listed twice")
        try:
            points = np.array([float(value) for value in values])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        if not np.isfinite(points).all():
            raise DataError(f"{where}: landmarks must be finite")
        landmarks[source] = points.reshape(5, 2)
    return landmarks


def face_at(landmarks: Float64[np.ndarray, "5 2"]) -> Face:
    """A face known by its landmarks alone; the box is the smallest around them."""
    box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    return Face(landmarks, box, float("nan"))


def _resize(
    photo: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    resized: np.ndarray = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return resized


def _make_faces(
    boxes: Float64[np.ndarray, "faces 5"],
    points: Float64[np.ndarray, "faces 5 2"],
    grow: Float64[np.ndarray, "2"],
) -> list[Face]:
    """Faces in the pixels of a photo that was shrunk for the search, largest first."""
    # Pixel centres are whole numbers: the picture starts at -0.5.
    points = (points + 0.5) * grow - 0.5
    corners = (boxes[:, :4].reshape(-1, 2, 2) + 0.5) * grow - 0.5
    faces = [
        Face(landmarks, box.ravel(), float(score))
        for landmarks, box, score in zip(points, corners, boxes[:, 4], strict=True)
        if np.isfinite(landmarks).all() and np.isfinite(box).all()
    ]
    return sorted(faces, key=_area, reverse=True)


def _area(face: Face) -> float:
    left, top, right, bottom = face.box
    return float((right - left) * (bottom - top))


def _distance(face: Face, middle: Float64[np.ndarray, "2"]) -> float:
    center = (face.box[:2] + face.box[2:]) / 2
    return float(np.linalg.norm(center - middle))
