"""Whether two photos show the same person, and what that answer is worth."""

from dataclasses import dataclass
from math import isclose

from facever.errors import ParameterError
from facever.faces.detection import Face
from facever.inference.header import MeasuredOn, ModelHeader
from facever.results import Result

_NUMBER_WORDS = {
    10: "ten",
    100: "a hundred",
    1_000: "a thousand",
    10_000: "ten thousand",
    100_000: "a hundred thousand",
    1_000_000: "a million",
}


@dataclass(frozen=True)
class ComparedPhoto:
    """A photo of a comparison.

    Attributes:
        source: What the photo is called.
        num_faces: How many faces were found on it.
        face: The one that was compared.
    """

    source: str
    num_faces: int
    face: Face


@dataclass(frozen=True)
class Verification(Result):
    """Whether two photos show the same person.

    Attributes:
        same: Whether the cosine is above the threshold; None without one.
        cosine: The cosine of the two embeddings, in [-1, 1].
        threshold: That the cosine was compared with; None if there is none.
        far: The share of pairs of different people that the threshold accepts; None if
            that is not known.
        first: The first photo, and its face that was compared.
        second: The second.
        set_on: The people whom the threshold was set on, and its errors there; None
            where that is not known, or the threshold was given.
        checked_on: The same of other people.
    """

    same: bool | None
    cosine: float
    threshold: float | None
    far: float | None
    first: ComparedPhoto
    second: ComparedPhoto
    set_on: MeasuredOn | None = None
    checked_on: MeasuredOn | None = None

    def lines(self) -> list[str]:
        """The answer in words, and which faces were compared where it is a question."""
        return [
            self._answer(),
            *([f"the threshold was set on {self.set_on}"] if self.set_on else ()),
            *([f"checked on {self.checked_on}"] if self.checked_on else ()),
            *(
                _which_face(photo)
                for photo in (self.first, self.second)
                if photo.num_faces > 1
            ),
        ]

    def _answer(self) -> str:
        if self.threshold is None:
            return (
                f"cosine {self.cosine:.4f}; the model has no threshold that says "
                "whether this is the same person"
            )
        verdict, side = ("the same person", "above")
        if not self.same:
            verdict, side = ("different people", "not above")
        worth = "of which no false accept rate is known"
        if self.far is not None:
            worth = f"which accepts {rate_in_words(self.far)}"
        return (
            f"{verdict}: cosine {self.cosine:.4f}, {side} the threshold "
            f"{self.threshold:.4f}, {worth}"
        )


def rate_in_words(far: float) -> str:
    """A false accept rate as people say it.

    >>> rate_in_words(0.001)
    'one pair of different people in a thousand'
    >>> rate_in_words(0.0003)
    'one pair of different people in about 3,333'
    """
    others = 1 / far
    count = round(others)
    if isclose(others, count, rel_tol=1e-6):
        number = _NUMBER_WORDS.get(count, f"{count:,}")
    else:
        number = f"about {count:,}"
    return f"one pair of different people in {number}"


def choose_threshold(
    header: ModelHeader, threshold: float | None, far: float | None
) -> tuple[float | None, float | None]:
    """The threshold that somebody asks for, and its false accept rate.

    Args:
        header: The model's header; it knows thresholds and their rates.
        threshold: A threshold in [-1, 1]; None for the model's own.
        far: In its place, the rate of a threshold that the model knows.

    Returns:
        The threshold and its rate, None where they are not known.

    Raises:
        ParameterError: If both are given, the threshold is no cosine, or the model
            knows no threshold of that rate; the message lists the rates it knows.
    """
    known = dict(header.thresholds)
    if header.threshold is not None and header.threshold_far is not None:
        known[header.threshold_far] = header.threshold
    if far is not None:
        if threshold is not None:
            raise ParameterError(
                f"give threshold or far, not both, got {threshold:g} and {far:g}"
            )
        for rate, cosine in known.items():
            if isclose(rate, far, rel_tol=1e-9):
                return cosine, rate
        rates = ", ".join(f"{rate:g}" for rate in sorted(known)) or "none"
        raise ParameterError(
            f"far must be a false accept rate of which the model knows the threshold "
            f"({rates}), got {far:g}; or give a threshold"
        )
    if threshold is None:
        return header.threshold, header.threshold_far
    if not -1 <= threshold <= 1:
        raise ParameterError(f"threshold must be a cosine, in [-1, 1], got {threshold}")
    rates_of_it = [rate for rate, cosine in known.items() if cosine == threshold]
    return threshold, min(rates_of_it, default=None)


def _which_face(photo: ComparedPhoto) -> str:
    left, top, right, bottom = photo.face.box.round().astype(int)
    return (
        f"{photo.source}: {photo.num_faces} faces; the one compared is in columns "
        f"{left} to {right}, rows {top} to {bottom}"
    )
