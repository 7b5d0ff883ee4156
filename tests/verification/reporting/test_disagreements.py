import re
from collections.abc import Sequence
from html import unescape

import numpy as np
import pytest

from facever.verification.evaluation import Evaluation, judged_scores
from facever.verification.protocols import PairList
from facever.verification.reporting.sections.disagreements import (
    differing_rows,
    disagreements,
)

PAIRS = PairList(
    [f"L/{n}.jpg" for n in range(8)],
    [f"R/{n}.jpg" for n in range(8)],
    np.array([True, True, False, False] * 2),
    np.repeat(np.arange(2), 4),
)
NASTY = "<b>&'$x"


def judged(scores: Sequence[float]) -> Evaluation:
    """With the thresholds 0.5 and 0.3 of the two folds."""
    thresholds = np.array([0.5, 0.3])
    compared = np.ones(len(PAIRS), bool)
    return judged_scores(
        np.array(scores), thresholds, PAIRS, [], compared, "reject", None
    )


@pytest.fixture
def evaluations() -> dict[str, Evaluation]:
    # Pairs 0, 2 and 5 are right by the first alone, pair 4 by the second alone, pair 7
    # by neither.
    return {
        "first": judged([1.1, 0.6, 0.45, 0.4, 0.2, 0.6, 0.1, 0.8]),
        NASTY: judged([0.4, 0.7, 1.1, 0.1, 0.5, 0.0, 0.2, 0.9]),
    }


def cards(page: str) -> list[list[str]]:
    """The text of each heading, and of each card below it."""
    found = []
    for piece in re.findall(r"<h3.*?</h3>|<li.*?</li>", page):
        text = unescape(re.sub(r"<[^>]*>", " ", piece))
        if piece.startswith("<h3"):
            found.append([" ".join(text.split())])
        else:
            found[-1].append(" ".join(text.split()))
    return found


def test_what_one_is_right_of_alone_the_surest_first(evaluations) -> None:
    page = disagreements(evaluations, "first", None)
    # Both are sure of pair 5, 0.3 above and 0.3 below the threshold. Of pair 0 the
    # first is surest, but the second is not, and of pair 2 it is the other way round.
    assert cards(page) == [
        [
            f"first is right, {NASTY} wrong. The surest 3 of 3.",
            "L/ 5 R/ 5 one person +0.300, -0.300",
            "L/ 0 R/ 0 one person +0.600, -0.100",
            "L/ 2 R/ 2 two people -0.050, +0.600",
        ],
        [
            f"{NASTY} is right, first wrong. The surest 1 of 1.",
            "L/ 4 R/ 4 one person +0.200, -0.100",
        ],
    ]
    assert NASTY not in page
    assert "The pictures need the crops" in page
    assert "<img" not in page


def test_others_are_set_beside_the_reference(evaluations) -> None:
    """Whatever its place; two others are not compared with each other."""
    page = disagreements({**evaluations, "third": evaluations["first"]}, NASTY, None)
    headings = [heading for heading, *_ in cards(page)]
    assert headings == [
        f"{NASTY} is right, first wrong. The surest 1 of 1.",
        f"first is right, {NASTY} wrong. The surest 3 of 3.",
        f"{NASTY} is right, third wrong. The surest 1 of 1.",
        f"third is right, {NASTY} wrong. The surest 3 of 3.",
    ]


def test_pictures(evaluations) -> None:
    asked = []

    def crop_of(source: str):
        asked.append(source)
        return None if source == "R/5.jpg" else np.zeros((112, 96, 3), np.uint8)

    page = disagreements(evaluations, "first", crop_of)
    assert asked == [f"{side}/{row}.jpg" for row in (5, 0, 2, 4) for side in "LR"]
    assert page.count("data:image/jpeg") == 7
    assert page.count("no picture") == 1


def test_pairs_without_a_score_are_the_least_sure(evaluations) -> None:
    scores = [0.4, 0.7, 1.1, 0.1, 0.5, -np.inf, 0.2, 0.9]
    page = disagreements({**evaluations, NASTY: judged(scores)}, "first", None)
    assert cards(page)[0][1:] == [
        "L/ 0 R/ 0 one person +0.600, -0.100",
        "L/ 2 R/ 2 two people -0.050, +0.600",
        "L/ 5 R/ 5 one person +0.300, no score",
    ]


def test_models_that_agree(evaluations) -> None:
    page = disagreements(dict.fromkeys("ab", evaluations["first"]), "a", None)
    assert cards(page) == [
        ["a is right, b wrong. None."],
        ["b is right, a wrong. None."],
    ]


def test_rows_of_three_models(evaluations) -> None:
    three = {**evaluations, "third": judged([0.9, 0.4, 0.1, 0.4, 0.5, 0.9, 0.9, 0.9])}
    assert list(differing_rows(three)) == [
        (1, "L/0.jpg", "R/0.jpg", 1, 1, 0, 1),
        (1, "L/1.jpg", "R/1.jpg", 1, 1, 1, 0),
        (1, "L/2.jpg", "R/2.jpg", 0, 1, 0, 1),
        (2, "L/4.jpg", "R/4.jpg", 1, 0, 1, 1),
        (2, "L/5.jpg", "R/5.jpg", 1, 1, 0, 1),
        (2, "L/6.jpg", "R/6.jpg", 0, 1, 1, 0),
    ]
