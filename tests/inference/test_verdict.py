"""What an answer says, and which threshold it is judged by."""

from typing import Any

import numpy as np
import pytest

from facever.errors import ParameterError
from facever.faces.detection import Face
from facever.inference.header import ModelHeader
from facever.inference.verdict import (
    ComparedPhoto,
    Verification,
    choose_threshold,
    rate_in_words,
)

RATES = [(0.01, 0.2), (0.001, 0.3), (0.0001, 0.4)]


def header(**options: Any) -> ModelHeader:
    return ModelHeader("resnet27", {}, 16, **options)


def photo(name: str, num_faces: int = 1) -> ComparedPhoto:
    box = np.array([10.4, 20.6, 30.0, 40.0])
    return ComparedPhoto(name, num_faces, Face(np.zeros((5, 2)), box, 0.99))


def answer(**options: Any) -> Verification:
    facts = {"same": True, "cosine": 0.62, "threshold": 0.36, "far": 0.001}
    photos = {"first": photo("a.jpg"), "second": photo("b.jpg")}
    return Verification(**(facts | photos | options))


def test_the_answer_is_in_plain_words() -> None:
    assert str(answer()) == (
        "the same person: cosine 0.6200, above the threshold 0.3600, which accepts one "
        "pair of different people in a thousand"
    )
    assert str(answer(same=False, cosine=-0.05, far=None)) == (
        "different people: cosine -0.0500, not above the threshold 0.3600, of which no "
        "false accept rate is known"
    )
    assert str(answer(same=None, threshold=None, far=None)) == (
        "cosine 0.6200; the model has no threshold that says whether this is the same "
        "person"
    )


def test_of_several_faces_it_says_which() -> None:
    lines = answer(first=photo("a.jpg", 3), second=photo("b.jpg", 2)).lines()
    assert lines[1:] == [
        "a.jpg: 3 faces; the one compared is in columns 10 to 30, rows 21 to 40",
        "b.jpg: 2 faces; the one compared is in columns 10 to 30, rows 21 to 40",
    ]


@pytest.mark.parametrize(
    ("far", "number"),
    [
        (0.1, "ten"),
        (0.01, "a hundred"),
        (1e-3, "a thousand"),
        (1e-4, "ten thousand"),
        (1e-5, "a hundred thousand"),
        (1e-6, "a million"),
        (0.05, "20"),
        (0.0004, "2,500"),
        (0.003, "about 333"),
    ],
)
def test_rates_are_told_as_people_say_them(far: float, number: str) -> None:
    assert rate_in_words(far) == f"one pair of different people in {number}"


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        ({}, {}, (None, None)),
        ({"threshold": 0.5}, {}, (0.5, None)),
        ({"threshold": 0.5, "threshold_far": 0.1}, {}, (0.5, 0.1)),
        ({"threshold": 0.5, "threshold_far": 0.1}, {"far": 0.1}, (0.5, 0.1)),
        ({"threshold": 0.5, "threshold_far": 0.1}, {"threshold": 0.5}, (0.5, 0.1)),
        ({"threshold": 0.5, "threshold_far": 0.1}, {"threshold": 0.6}, (0.6, None)),
        ({"thresholds": RATES}, {}, (None, None)),
        ({"thresholds": RATES}, {"far": 1e-4}, (0.4, 0.0001)),
        ({"thresholds": RATES}, {"far": 0.1**4}, (0.4, 0.0001)),
        ({"thresholds": RATES}, {"threshold": 0.3}, (0.3, 0.001)),
        ({}, {"threshold": -1.0}, (-1.0, None)),
    ],
)
def test_the_threshold_is_the_one_asked_for(
    known: dict[str, Any],
    asked: dict[str, float],
    expected: tuple[float | None, float | None],
) -> None:
    wanted = {"threshold": None, "far": None} | asked
    assert choose_threshold(header(**known), **wanted) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"threshold": 0.3, "far": 0.01}, "give threshold or far, not both"),
        ({"far": 0.05}, r"threshold \(0.0001, 0.001, 0.01, 0.1\), got 0.05"),
        ({"far": float("nan")}, "got nan"),
        ({"threshold": 1.5}, r"threshold must be a cosine, in \[-1, 1\], got 1.5"),
        ({"threshold": float("nan")}, "must be a cosine"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(
    asked: dict[str, float], message: str
) -> None:
    model = header(thresholds=RATES, threshold=0.5, threshold_far=0.1)
    with pytest.raises(ParameterError, match=message):
        choose_threshold(model, **({"threshold": None, "far": None} | asked))


def test_a_model_without_rates_says_so() -> None:
    with pytest.raises(ParameterError, match=r"\(none\), got 0.01"):
        choose_threshold(header(), None, 0.01)
