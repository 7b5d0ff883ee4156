"""Pictures for people to look at: photos with the faces framed that are meant."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from facever.faces.detection import Face
from facever.files import whole_file

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""How the file of a picture may end, and with it its format."""

MAX_PICTURE_SIDE = 4000
"""Pixels of a picture's longer side; larger ones are shrunk to it."""

_FRAME, _EDGE, _POINT = (60, 230, 110), (0, 0, 0), (255, 220, 0)
_PAPER = (255, 255, 255)
_WEIGHT = 600  # Of the letters: semibold.
_SMOOTH = 4  # Binary digits behind the point in coordinates of circles.


def draw_faces(
    photo: UInt8[np.ndarray, "height width 3"],
    faces: Sequence[Face],
    labels: Sequence[str],
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of a photo with a frame, a label and five points for each face.

    Lines and letters grow with the photo. Landmarks that are not known are left out.

    Args:
        photo: RGB.
        faces: Faces in it; what reaches beyond the photo is cut off.
        labels: A short text for each face, in any script; may be empty.
    """
    drawn = photo.copy()
    side = (photo.shape[0] * photo.shape[1]) ** 0.5
    line, letters = max(1, round(side / 250)), max(12, round(side / 28))
    for face in faces:
        _draw_frame(drawn, face.box, line)
        if np.isfinite(face.landmarks).all():
            _draw_points(drawn, face, line)
    # Labels last, so that no frame crosses one.
    for face, label in zip(faces, labels, strict=True):
        if label:
            _draw_label(drawn, face.box, label, letters)
    return drawn


def side_by_side(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
) -> UInt8[np.ndarray, "height width 3"]:
    """Photos in a row, all as high as the highest, on white.

    Args:
        photos: At least one; RGB.
    """
    height = max(photo.shape[0] for photo in photos)
    gap = np.full((height, max(2, height // 50), 3), _PAPER, np.uint8)
    row: list[np.ndarray] = []
    for photo in photos:
        width = max(1, round(photo.shape[1] * height / photo.shape[0]))
        row += [cv2.resize(photo, (width, height)), gap]
    return np.concatenate(row[:-1], axis=1)


def write_picture(path: Path, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write a picture to a file, whole or not at all.

    Args:
        path: Its suffix, one of ``PICTURE_SUFFIXES``, says the format.
        picture: RGB; one of more than ``MAX_PICTURE_SIDE`` pixels on a side is shrunk.

    Raises:
        FileError: If the file cannot be written.
    """
    height, width, _ = picture.shape
    shrink = MAX_PICTURE_SIDE / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    content = cv2.imencode(path.suffix, bgr)[1].tobytes()
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _draw_frame(
    drawn: UInt8[np.ndarray, "height width 3"], box: Float64[np.ndarray, "4"], line: int
) -> None:
    left, top, right, bottom = box.round().astype(int).tolist()
    for colour, width in ((_EDGE, line + 2), (_FRAME, line)):
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, width)


def _draw_points(
    drawn: UInt8[np.ndarray, "height width 3"], face: Face, line: int
) -> None:
    """Points no larger than a twentieth of the face."""
    radius = min(line + 1.0, max(1.0, float(face.box[2] - face.box[0]) / 40))
    for point in face.landmarks:
        x, y = (point * (1 << _SMOOTH)).round().astype(int).tolist()
        for colour, size in ((_EDGE, radius + 1), (_POINT, radius)):
            length = round(size * (1 << _SMOOTH))
            cv2.circle(drawn, (x, y), length, colour, -1, cv2.LINE_AA, _SMOOTH)


def _draw_label(
    drawn: UInt8[np.ndarray, "height width 3"],
    box: Float64[np.ndarray, "4"],
    label: str,
    letters: int,
) -> None:
    """On a plate above the frame, or as near to that as the photo has room."""
    font = cv2.FontFace("sans")
    height, width, _ = drawn.shape
    # Without a size of the picture, the text is not broken into lines.
    _, _, text, _ = cv2.getTextSize((0, 0), label, (0, 0), font, letters, _WEIGHT)
    gap = letters // 4
    plate = text + 2 * gap, letters + 2 * gap
    left = max(0, min(round(box[0]), width - plate[0]))
    top = max(0, min(round(box[1]) - plate[1], height - plate[1]))
    corner = left + plate[0] - 1, top + plate[1] - 1
    cv2.rectangle(drawn, (left, top), corner, _FRAME, -1)
    base = left + gap, top + gap + round(letters * 0.85)
    cv2.putText(drawn, label, base, _EDGE, font, letters, _WEIGHT)
