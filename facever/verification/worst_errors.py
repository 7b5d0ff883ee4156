"""The report's section of worst errors, with pictures inside the page."""

from html import escape

import numpy as np
from jaxtyping import Int64

from facever.verification.evaluation import Evaluation
from facever.verification.face_pictures import (
    NO_PICTURES,
    CropOf,
    error_card,
    error_cards,
)

NUM_WORST = 12


def worst_errors(
    name: str, evaluation: Evaluation, crop_of: CropOf | None, alone: bool
) -> str:
    """The section with the most confident false accepts and false rejects.

    Args:
        name: Of the model.
        evaluation: Its results.
        crop_of: Picture of a source; without it pairs are listed by name alone.
        alone: Whether it is the only model of the page, which goes without saying.
    """
    accepted, pairs = evaluation.accepted, evaluation.pairs
    # How far a score is on the wrong side of its own fold's threshold.
    excess = evaluation.scores - evaluation.thresholds[pairs.fold]
    false_accepts = np.flatnonzero(accepted & ~pairs.same)
    false_accepts = false_accepts[np.argsort(-excess[false_accepts], kind="stable")]
    false_rejects = np.flatnonzero(
        ~accepted & pairs.same & np.isfinite(evaluation.scores)
    )
    false_rejects = false_rejects[np.argsort(excess[false_rejects], kind="stable")]
    whose = "" if alone else f'<span class="soft">: {escape(name)}</span>'
    no_pictures = NO_PICTURES if crop_of is None else ""
    return (
        f"<h2>Worst errors{whose}</h2>{no_pictures}"
        + _error_cards("accept", false_accepts, evaluation, crop_of)
        + _error_cards("reject", false_rejects, evaluation, crop_of)
    )


def _error_cards(
    kind: str,
    wrong: Int64[np.ndarray, " errors"],
    evaluation: Evaluation,
    crop_of: CropOf | None,
) -> str:
    what = {
        "accept": "False accepts: two people, judged to be one",
        "reject": "False rejects: one person, judged to be two",
    }[kind]
    pairs = evaluation.pairs
    cards = [
        error_card(
            kind,
            (pairs.left[pair], pairs.right[pair]),
            crop_of,
            f"score <b>{evaluation.scores[pair]:.3f}</b>",
            f"threshold {evaluation.thresholds[pairs.fold[pair]]:.3f}",
        )
        for pair in wrong[:NUM_WORST].tolist()
    ]
    return error_cards(what, cards, len(wrong))
