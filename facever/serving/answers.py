"""What the server answers: the models behind its OpenAPI description."""

import base64
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, Field

from facever.faces.detection import Face
from facever.serving.face_reader import ReadPhoto


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    error: str


class AppliedThreshold(BaseModel):
    """Above which cosine two faces are of one person."""

    threshold: float | None = Field(
        description="The cosine above which it is one person; null if none is set"
    )
    threshold_from: Literal["gallery", "model file"] | None
    threshold_far: float | None = Field(
        None, description="The false accept rate over pairs that it was chosen for"
    )
    threshold_fpir: float | None = Field(
        None,
        description="The share of unknown people taken for somebody that it was "
        "chosen for",
    )


class GalleryAnswer(AppliedThreshold):
    """The gallery, and what may be sent."""

    name: str = Field(description="Name of the gallery's folder")
    num_people: int
    num_faces: int
    writable: bool = Field(description="Whether requests may change the gallery")
    max_bytes: int = Field(description="Largest size of a photo's file, bytes")
    max_pixels: int = Field(description="Largest height times width of a photo")
    min_quality: dict[str, float] = Field(
        description="The least of some qualities that a face must have, by their names"
    )
    num_refused: int = Field(
        description="Faces refused for their quality since the server was started"
    )
    version: str = Field(description="Version of facever")


class FaceAnswer(BaseModel):
    """A face on a photo, in pixels of the upright photo."""

    box: list[float] = Field(description="Left, top, right and bottom, in pixels")
    landmarks: list[list[float]] = Field(
        description="x and y of left and right eye, nose, left and right mouth corner"
    )
    score: float = Field(description="The detector's score, in [0, 1]")


class PhotoAnswer(BaseModel):
    """A photo and the face of it that was looked at."""

    width: int = Field(description="Width of the upright photo, pixels")
    height: int
    faces: list[FaceAnswer] = Field(description="The faces, largest first")
    face: int = Field(
        description="Place in faces of the face that was looked at, from 0"
    )
    crop: str = Field(description="That face as the model sees it: a data: PNG")


class MatchAnswer(BaseModel):
    """An enrolled photo, or person, that resembles the face."""

    name: str
    cosine: float
    source: str = Field(
        description="What the photo is called; of a person, the most similar one"
    )
    id: str = Field(description="The id of that photo")
    fields: dict[str, Any]
    same: bool | None = Field(
        description="Whether the cosine is above the threshold; null without one"
    )


class SearchAnswer(PhotoAnswer, AppliedThreshold):
    """Who it is."""

    known: bool | None = Field(
        description="Whether it is somebody who is enrolled; null without a threshold"
    )
    name: str | None = Field(description="Who it is; null if nobody who is enrolled")
    matches: list[MatchAnswer] = Field(description="The matches, most similar first")


class VerifyAnswer(AppliedThreshold):
    """Whether two photos show one person."""

    first: PhotoAnswer
    second: PhotoAnswer
    cosine: float
    same: bool | None = Field(
        description="Whether they show one person; null without a threshold"
    )


class PersonAnswer(BaseModel):
    """Somebody who is enrolled."""

    name: str
    num_faces: int


class PeopleAnswer(BaseModel):
    """Some of the enrolled people, in the order of their names."""

    num_people: int = Field(
        description="Number of people whose names match, listed here or not"
    )
    people: list[PersonAnswer]


class EntryAnswer(BaseModel):
    """An enrolled photo."""

    id: str
    name: str
    source: str
    added: str = Field(description="Time of enrolling, UTC, ISO 8601")
    fields: dict[str, Any]


class EnrolledAnswer(PhotoAnswer):
    """What was enrolled; it is on disk."""

    id: str
    name: str
    source: str
    was_known: bool = Field(
        description="Whether it was enrolled before, and stays as it was"
    )


class RemovedAnswer(BaseModel):
    """What was removed."""

    num_removed: int


def describe_photo(photo: ReadPhoto, face: int) -> dict[str, Any]:
    """The fields of ``PhotoAnswer``."""
    return {
        "width": photo.width,
        "height": photo.height,
        "faces": _describe(photo.faces),
        "face": face,
        "crop": _as_address(photo.crop),
    }


def _describe(faces: Sequence[Face]) -> list[FaceAnswer]:
    return [
        FaceAnswer(
            box=face.box.tolist(), landmarks=face.landmarks.tolist(), score=face.score
        )
        for face in faces
    ]


def _as_address(crop: UInt8[np.ndarray, "high wide 3"]) -> str:
    _, png = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
