"""``facever verify``: do two photos show the same person?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    Backend,
    Detector,
    OneFace,
)
from facever.errors import ParameterError, PhotoError
from facever.faces.framing import (
    PICTURE_SUFFIXES,
    draw_faces,
    side_by_side,
    write_picture,
)
from facever.faces.photo_source import photo_in_memory, suffix_of
from facever.faces.photos import check_max_pixels, read_photo
from facever.files import check_file_place
from facever.inference.embedder import load
from facever.inference.verdict import Verification
from facever.results import Result


@dataclass(frozen=True)
class VerifyReport(Result):
    """Whether two photos show the same person.

    Attributes:
        model: The model file, or the ready model's name.
        answer: The answer, and what it is worth.
        show: The picture of both, if one was asked for.
    """

    model: str
    answer: Verification
    show: Path | None

    def lines(self) -> list[str]:
        """The answer in words."""
        lines = self.answer.lines()
        if self.show:
            lines.append(f"{self.show}: both photos, the compared faces framed")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The model, the answer's fields, and the picture."""
        show = None if self.show is None else str(self.show)
        return {"model": self.model, **self.answer.to_dict(), "show": show}


def verify(
    first: str | Path,
    second: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    threshold: float | None = None,
    far: float | None = None,
    face: OneFace = DEFAULT_FACE,
    detector: Detector = "mtcnn",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    show: str | Path | None = None,
    backend: Backend = "auto",
) -> VerifyReport:
    """Compare a face of each of two photos.

    Args:
        first: A photo.
        second: The other.
        model: A model file, or a ready model's name.
        threshold: The cosine above which it is the same person, in [-1, 1]; by default
            the model's own.
        far: In its place, the false accept rate of a threshold that the model knows.
        face: Which face to compare of a photo that has several.
        detector: How faces are found.
        max_pixels: Height times width of the largest photo that is read.
        show: Where to write both photos side by side, the compared faces framed: a
            ``.png`` or ``.jpg``.
        backend: What computes the networks; see ``Embedder``.

    Raises:
        PhotoError: If a photo cannot be read; the message names it.
        DataError: If no face is found in a photo.
        ParameterError: If an option is out of its range, or the model knows no
            threshold of that rate.
        ModelFileError: If the model cannot be used.
        FileError: If the picture cannot be written.
    """
    first, second = Path(first), Path(second)
    picture = None if show is None else Path(show)
    # First what is soon found: a slip in a path is told before the model is loaded.
    check_max_pixels(max_pixels)
    if picture:
        _check_picture(picture, first, second)
        check_file_place(picture)
    left, right = _read(first, max_pixels), _read(second, max_pixels)
    answer = load(model, detector=detector, backend=backend).verify(
        photo_in_memory(str(first), left),
        photo_in_memory(str(second), right),
        threshold,
        face,
        far=far,
    )
    if picture:
        label = [f"{answer.cosine:.4f}"]
        sides = (
            draw_faces(left, [answer.first.face], label),
            draw_faces(right, [answer.second.face], label),
        )
        write_picture(picture, side_by_side(sides))
    return VerifyReport(str(model), answer, picture)


def _check_picture(picture: Path, *photos: Path) -> None:
    if suffix_of(picture.name) not in PICTURE_SUFFIXES:
        raise ParameterError(
            f"show must end in {', '.join(PICTURE_SUFFIXES)}, got {picture}"
        )
    if picture.exists() and any(
        photo.exists() and picture.samefile(photo) for photo in photos
    ):
        raise ParameterError(
            f"show must not be a photo that is read, got {picture}; choose another name"
        )


def _read(path: Path, max_pixels: int) -> UInt8[np.ndarray, "_ _ 3"]:
    try:
        return read_photo(path, max_pixels)
    except PhotoError as error:
        raise PhotoError(f"cannot read {path}: {error}") from None
