"""A face found in a photo, and the choice between several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Float64

from facever.choices import FaceRule, OneFace
from facever.errors import ParameterError
from facever.results import plain

FACE_RULES: tuple[FaceRule, ...] = get_args(FaceRule)
ONE_FACE_RULES: tuple[OneFace, ...] = get_args(OneFace)


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary})"

    @property
    def _summary(self) -> str:
        left, top, right, bottom = self.box.round().astype(int)
        return f"box=({left}, {top}, {right}, {bottom}), score={self.score:.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Box, landmarks and score as plain values that JSON can hold."""
        return {
            "box": plain(self.box),
            "landmarks": plain(self.landmarks),
            "score": plain(self.score),
        }


def choose_faces(
    faces: Sequence[Face], photo_size: tuple[int, int], rule: FaceRule
) -> list[Face]:
    """The faces of a photo that a rule wants.

    Args:
        faces: As detected; may be empty, and then so is the result.
        photo_size: Height and width.
        rule: ``prominent`` (area of the box, less twice the squared distance of its
            centre from that of the photo), ``largest`` (area of the box), ``center``
            (box centre nearest to that of the photo), ``best`` (highest score) or
            ``all`` (largest first).

    References:
        InsightFace, ``FaceAnalysis.get``, and facenet-pytorch,
        ``center_weighted_size``: the rule that is ``prominent`` here.
    """
    if rule not in FACE_RULES:
        rules = ", ".join(FACE_RULES)
        raise ParameterError(f"the face rule must be one of {rules}, got {rule!r}")
    if not faces:
        return []
    height, width = photo_size
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    if rule == "prominent":
        return [max(faces, key=lambda face: _prominence(face, middle))]
    if rule == "center":
        return [min(faces, key=lambda face: _distance(face, middle))]
    if rule == "best":
        return [max(faces, key=lambda face: face.score)]
    byarea = sorted(faces, key=area, reverse=True)
    return byarea if rule == "all" else byarea[:1]


def rules_taking(
    chosen: Sequence[Face], faces: Sequence[Face], photo_size: tuple[int, int]
) -> list[list[OneFace]]:
    """For each chosen face, the rules for one face that take it.

    Args:
        chosen: Some of the faces.
        faces: All that were found in the photo.
        photo_size: Height and width.
    """
    taken = {
        rule: face
        for rule in ONE_FACE_RULES
        for face in choose_faces(faces, photo_size, rule)
    }
    return [[rule for rule in taken if taken[rule] is face] for face in chosen]


def face_at(landmarks: Float64[np.ndarray, "5 2"]) -> Face:
    """A face known by its landmarks alone; the box is the smallest around them."""
    box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    return Face(landmarks, box, float("nan"))


def area(face: Face) -> float:
    """The area of a face's box, square pixels."""
    left, top, right, bottom = face.box
    return float((right - left) * (bottom - top))


def _prominence(face: Face, middle: Float64[np.ndarray, "2"]) -> float:
    return area(face) - 2 * _distance(face, middle) ** 2


def _distance(face: Face, middle: Float64[np.ndarray, "2"]) -> float:
    center = (face.box[:2] + face.box[2:]) / 2
    return float(np.linalg.norm(center - middle))
