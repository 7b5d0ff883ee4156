"""From matches to an answer: this person, or nobody that is enrolled."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from facever.choices import By
from facever.gallery.entries import Match
from facever.gallery.meta import Threshold
from facever.inference.header import ModelHeader


def threshold_in_use(
    own: Threshold | None, header: ModelHeader | None, by: By
) -> dict[str, Any]:
    """The cosine above which two photos show the same person, and who says so.

    Args:
        own: The gallery's threshold, which is preferred to the model file's.
        header: The header of the model file; None if there is no model file.
        by: How matches are ranked: by photo, or by a person's best or mean cosine.

    Returns:
        ``threshold``, ``threshold_from``, and the rate that it was chosen for as
        ``threshold_far`` or ``threshold_fpir``. They are None if no threshold was set,
        and for ``by="mean"``: a mean over photos is lower than the best of them, which
        is what thresholds are chosen for.
    """
    if by == "mean" or (own is None and header is None):
        return {"threshold": None, "threshold_far": None, "threshold_from": None}
    if own is None:
        assert header is not None
        return {
            "threshold": header.threshold,
            "threshold_far": header.threshold_far,
            "threshold_from": None if header.threshold is None else "model file",
        }
    return {
        "threshold": own.cosine,
        f"threshold_{own.rule}": own.rate,
        "threshold_from": "gallery",
    }


def is_same(cosine: float, threshold: float | None) -> bool | None:
    """Whether a cosine says that two photos show one person; None if unknown.

    >>> is_same(0.6, 0.5), is_same(0.5, 0.5), is_same(0.5, None)
    (True, False, None)
    """
    return None if threshold is None else cosine > threshold


def answer(matches: Sequence[Match], threshold: float | None) -> dict[str, Any]:
    """Who it is, and the matches that say so, as JSON can hold them.

    Args:
        matches: The matches of one face, the most similar one first.
        threshold: The cosine above which a match is the same person; None if no
            threshold was set.

    Returns:
        ``known``, ``name`` and ``matches``; the first two are None without a threshold.
    """
    same = [is_same(match.cosine, threshold) for match in matches]
    known = None if threshold is None else any(same[:1])
    return {
        "known": known,
        "name": matches[0].name if known else None,
        "matches": [
            asdict(match) | {"same": one}
            for match, one in zip(matches, same, strict=True)
        ],
    }
