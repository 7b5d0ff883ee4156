"""The page's section of the pairs that two models judge differently."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Bool, Float64

from facever.verification.evaluation import Evaluation
from facever.verification.reporting.sections.worst_errors import (
    NO_PICTURES,
    CropOf,
    error_card,
)

NUM_SHOWN = 12
"""Pairs shown of each kind; the table in the report's folder has all."""


def disagreements(
    evaluations: Mapping[str, Evaluation], reference: str, crop_of: CropOf | None
) -> str:
    """The section with the pairs that one model and another judge differently.

    Of each kind the pairs come first of which both models are sure: the lesser of the
    two distances from the thresholds is large, each divided by its spread.

    Args:
        evaluations: At least two, of the same pairs, by the names of the models.
        reference: The name of the model that each other is set beside.
        crop_of: Gives the picture of a source; without it pairs are listed by name.
    """
    one = (reference, evaluations[reference])
    parts = [
        "<h2>Judged differently</h2>"
        '<p class="soft lead">Pairs that one model judges right and the other wrong. '
        "Below each: who is on it, and the score less its threshold, by the one that "
        "is right and by the other.</p>",
        NO_PICTURES if crop_of is None else "",
    ]
    for other in evaluations.items():
        if other[0] != reference:
            parts.append(_cards(one, other, crop_of))
            parts.append(_cards(other, one, crop_of))
    return "".join(parts)


def differing_rows(evaluations: Mapping[str, Evaluation]) -> Iterator[Sequence[object]]:
    """A row for each pair that not all models judge alike.

    Yields:
        Fold from 1, left, right, 1 for genuine, and for each model 1 if it is right.
    """
    every = [_right(evaluation) for evaluation in evaluations.values()]
    pairs = next(iter(evaluations.values())).pairs
    votes = np.stack(every, axis=1)
    for row in np.flatnonzero(votes.any(axis=1) & ~votes.all(axis=1)).tolist():
        yield (
            int(pairs.fold[row]) + 1,
            pairs.left[row],
            pairs.right[row],
            int(pairs.same[row]),
            *votes[row].astype(int).tolist(),
        )


def _right(evaluation: Evaluation) -> Bool[np.ndarray, " pairs"]:
    right: Bool[np.ndarray, " pairs"] = evaluation.accepted == evaluation.pairs.same
    return right


def _excess(evaluation: Evaluation) -> Float64[np.ndarray, " pairs"]:
    """How far each score is above the threshold of its fold."""
    excess: Float64[np.ndarray, " pairs"] = (
        evaluation.scores - evaluation.thresholds[evaluation.pairs.fold]
    )
    return excess


def _sureness(evaluation: Evaluation) -> Float64[np.ndarray, " pairs"]:
    """How far each score is from its threshold, in spreads; 0 without a score."""
    excess = np.abs(_excess(evaluation))
    known = np.isfinite(excess)
    spread = excess[known].std() if known.any() else 0.0
    return np.where(known, excess, 0.0) / (spread or 1.0)


def _cards(
    right: tuple[str, Evaluation], wrong: tuple[str, Evaluation], crop_of: CropOf | None
) -> str:
    """What one model alone judges right, the surest first."""
    (name, good), (other, bad) = right, wrong
    pairs = good.pairs
    rows = np.flatnonzero(_right(good) & ~_right(bad))
    sureness = np.minimum(_sureness(good), _sureness(bad))[rows]
    rows = rows[np.argsort(-sureness, kind="stable")]
    excess = _excess(good), _excess(bad)
    cards = [
        error_card(
            "reject" if pairs.same[row] else "accept",
            (pairs.left[row], pairs.right[row]),
            crop_of,
            f"<b>{'one person' if pairs.same[row] else 'two people'}</b>",
            ", ".join(_signed(float(each[row])) for each in excess),
        )
        for row in rows[:NUM_SHOWN].tolist()
    ]
    shown = f"The surest {len(cards)} of {len(rows):,}." if len(rows) else "None."
    return (
        f'<h3 style="margin-top:24px">{escape(name)} is right, {escape(other)} wrong. '
        f'<span class="soft">{shown}</span></h3>'
        f'<ul class="errors">{"".join(cards)}</ul>'
    )


def _signed(excess: float) -> str:
    if not np.isfinite(excess):
        return "no score"
    return f"{excess:+.3f}"
