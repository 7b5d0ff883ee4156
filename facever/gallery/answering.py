"""From matches to an answer: this person, or nobody that is enrolled."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from facever.choices import By
from facever.gallery.entries import Match
from facever.gallery.meta import Threshold
from facever.inference.model_file import ModelHeader


def threshold_rule(
    own: Threshold | None, header: ModelHeader | None, by: By
) -> dict[str, Any]:
    """Above which cosine it is the same person, and who says so.

    Args:
        own: The gallery's; it goes before the model file's.
        header: Of the model file, where there is one.
        by: What the cosines are of.

    Returns:
        ``threshold``, ``threshold_from``, and the rate that it was set for as
        ``threshold_far`` or ``threshold_fpir``; None where nobody says.
    """
    # A mean over photos is lower than the best of them, which thresholds are set for.
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


def is_same(cosine: float, rule: dict[str, Any]) -> bool | None:
    """Whether a cosine is of one person; None without a threshold."""
    return None if rule["threshold"] is None else cosine > rule["threshold"]


def answer(matches: Sequence[Match], rule: dict[str, Any]) -> dict[str, Any]:
    """Who it is by a rule, and the matches that say so, fit for JSON.

    Args:
        matches: Most similar first.
        rule: Of ``threshold_rule``.

    Returns:
        ``known``, ``name`` and ``matches``; the first two are None without a threshold.
    """
    same = [is_same(match.cosine, rule) for match in matches]
    known = None if rule["threshold"] is None else any(same[:1])
    return {
        "known": known,
        "name": matches[0].name if known else None,
        "matches": [
            asdict(match) | {"same": one}
            for match, one in zip(matches, same, strict=True)
        ],
    }
