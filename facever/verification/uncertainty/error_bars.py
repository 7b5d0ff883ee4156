"""Error bars of an evaluation, by the people whom the photos' names say."""

import re
from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from facever.verification.evaluation import TARGET_FARS, Evaluation
from facever.verification.protocols import PairList, photo_key
from facever.verification.uncertainty.intervals import (
    BootstrapIntervals,
    Interval,
    bootstrap,
    wilson,
)


def named_people(pairs: PairList) -> dict[str, str] | None:
    """The person on each photo of the pairs, where the photos' names say it.

    The person is the photo's folder (``"A_B/A_B_0001.jpg"`` and the video ``"A_B/0"``
    show A_B), the outermost folder (``"001/profile/01.jpg"``), or what stands before
    the number in the name of the file (``"A_B_0001.jpg"``; AgeDB's
    ``"12_AB_35_f.jpg"``): the first of these that agrees with all pairs.

    Args:
        pairs: The pairs.

    Returns:
        Each photo's person; None where each of these contradicts what the pairs say.
    """
    for person_of in _PEOPLE:
        people = {photo: person_of(photo) for photo in pairs.sources}
        sides = zip(pairs.left, pairs.right, strict=True)
        if pairs.same.tolist() == [people[a] == people[b] for a, b in sides]:
            return people
    return None


def folder_identities(
    pairs: PairList,
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]] | None:
    """A number for the person on the left and on the right photos of pairs.

    None where nobody says who is on them, see ``named_people``.
    """
    people = named_people(pairs)
    if people is None:
        return None
    both = [people[photo] for photo in (*pairs.left, *pairs.right)]
    _, numbers = np.unique(both, return_inverse=True)
    left, right = numbers.astype(np.int64).reshape(2, -1)
    return left, right


def _before_number(source: str) -> str:
    name = photo_key(source).rpartition("/")[2]
    found = re.fullmatch(r"\d+_(.+)_\d+_[mf]|(.+?)_?\d+", name)
    return (found[1] or found[2]) if found else source


_PEOPLE: tuple[Callable[[str], str], ...] = (
    lambda source: source.rpartition("/")[0],
    lambda source: source.partition("/")[0],
    _before_number,
)


def folder_bootstrap(evaluation: Evaluation) -> BootstrapIntervals:
    """The bootstrap over the people whom photos' names say, or else over pairs."""
    left, right = folder_identities(evaluation.pairs) or (None, None)
    return bootstrap(
        scores=evaluation.scores,
        same=evaluation.pairs.same,
        right=evaluation.accepted == evaluation.pairs.same,
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
    )


def accuracy_interval(evaluation: Evaluation) -> Interval:
    """Wilson's interval of the share of pairs judged right."""
    right = np.count_nonzero(evaluation.accepted == evaluation.pairs.same)
    return wilson(int(right), len(evaluation.pairs))
