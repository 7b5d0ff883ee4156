"""``facever verify``: do two photos show the same person?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facever.choices import DEFAULT_MODEL, Detector, OneFace
from facever.errors import PhotoError
from facever.faces.photo_source import PhotoSource, photo_in_memory
from facever.faces.photos import read_photo
from facever.inference.embedder import load
from facever.inference.verdict import Verification
from facever.results import Result


@dataclass(frozen=True)
class VerifyReport(Result):
    """Whether two photos show the same person.

    Attributes:
        model: The model file, or the ready model's name.
        answer: The answer, and what it is worth.
    """

    model: str
    answer: Verification

    def lines(self) -> list[str]:
        """The answer in words."""
        return self.answer.lines()

    def to_dict(self) -> dict[str, Any]:
        """The model, and the answer's fields."""
        return {"model": self.model, **self.answer.to_dict()}


def verify(
    first: str | Path,
    second: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    threshold: float | None = None,
    far: float | None = None,
    face: OneFace = "largest",
    detector: Detector = "mtcnn",
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

    Raises:
        PhotoError: If a photo cannot be read; the message names it.
        DataError: If no face is found in a photo.
        ParameterError: If an option is out of its range, or the model knows no
            threshold of that rate.
        ModelFileError: If the model cannot be used.
    """
    # First the photos: a slip in a path is told before the model is loaded.
    left, right = _read(Path(first)), _read(Path(second))
    embedder = load(model, detector=detector)
    answer = embedder.verify(left, right, threshold, face, far=far)
    return VerifyReport(str(model), answer)


def _read(path: Path) -> PhotoSource:
    try:
        return photo_in_memory(str(path), read_photo(path))
    except PhotoError as error:
        raise PhotoError(f"cannot read {path}: {error}") from None
