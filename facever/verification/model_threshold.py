"""A threshold to ship with a model, from identities that it was not trained on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import DataError, ParameterError
from facever.inference.vectors import unit_vectors
from facever.progress import Advance, ignore_progress
from facever.verification.all_pairs import PairScores, compare_all, count_pairs
from facever.verification.roc import num_allowed, too_few_impostors
from facever.verification.thresholds import candidate_thresholds


@dataclass(frozen=True)
class ModelThreshold:
    """A threshold for a false accept rate, and what it does to all pairs of a set.

    Attributes:
        num_genuine: Number of pairs of one identity.
        num_impostor: Number of pairs of two identities.
        auc: Area under the ROC curve.
        target_far: The false accept rate asked for.
        tar: True accept rate at ``target_far``; None where there is no threshold.
        threshold: The cosine above which a pair is accepted; None with too few impostor
            pairs, or where too many of them have a cosine of 1.
        note: The reason why there is no threshold; empty where there is one.
    """

    num_genuine: int
    num_impostor: int
    auc: float
    target_far: float
    tar: float | None
    threshold: float | None
    note: str


def check_threshold_pairs(labels: Int64[np.ndarray, " crops"]) -> None:
    """Refuse crops that no threshold can be chosen on.

    Raises:
        DataError: If there is no pair of one identity, or none of two.
    """
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise DataError(
            "a threshold needs held-out crops of at least 2 identities, and 2 crops of "
            f"one of them; got {len(labels)} crops of {len(counts)} "
            + ("identity" if len(counts) == 1 else "identities")
        )


def check_impostor_pairs(labels: Int64[np.ndarray, " crops"], far: float) -> None:
    """Refuse crops with too few impostor pairs for a false accept rate.

    Args:
        labels: The identity of each crop; nothing else is needed, so ask before
            embedding.
        far: False accept rate in (0, 1).

    Raises:
        DataError: If there are fewer than ``1 / far`` of them, or as
            ``check_threshold_pairs``.
    """
    check_threshold_pairs(labels)
    note = too_few_impostors(count_pairs(labels)[1], far)
    if note:
        raise DataError(
            f"{note}, in {len(labels):,} crops of {len(np.unique(labels)):,} "
            "identities; give more crops of more people, or a higher rate"
        )


def choose_model_threshold(
    embeddings: Float32[np.ndarray, "crops dim"],
    labels: Int64[np.ndarray, " crops"],
    target_far: float,
    advance: Advance = ignore_progress,
) -> ModelThreshold:
    """The threshold for a false accept rate, exact over all pairs of the crops.

    With n impostor pairs, k of them may be accepted (the largest k with
    ``k / n <= target_far``). The threshold lies midway between the impostor score of
    rank k + 1 and the next higher score of any pair, so ties never take the rate above
    the target, nor does a cosine that another machine rounds otherwise. For the memory
    see ``compare_all``.

    Args:
        embeddings: Embeddings of crops that the model was not trained on, of any length
            but zero.
        labels: The identity of each crop.
        target_far: False accept rate in (0, 1).
        advance: Called with the number of crops done since the last call.

    Returns:
        The threshold and what it accepts.

    Raises:
        ParameterError: If ``target_far`` is outside (0, 1).
        DataError: If there is no pair of one identity, or none of two.
    """
    if not 0 < target_far < 1:
        raise ParameterError(f"a false accept rate must be in (0, 1), got {target_far}")
    check_threshold_pairs(labels)
    num_genuine, num_impostor = count_pairs(labels)
    units = unit_vectors(embeddings)
    num_kept = num_allowed(num_impostor, target_far) + 1
    scores = compare_all(units, labels, num_kept, advance)
    note = too_few_impostors(num_impostor, target_far)
    threshold = None if note else _midway(scores)
    if threshold is not None and threshold >= 1:
        note = (
            f"no cosine keeps to FAR {target_far:g}: the network gives crops of "
            "different people one and the same embedding"
        )
        threshold = None
    return ModelThreshold(
        num_genuine=num_genuine,
        num_impostor=num_impostor,
        auc=scores.auc,
        target_far=target_far,
        tar=None if threshold is None else float(np.mean(scores.genuine > threshold)),
        threshold=threshold,
        note=note,
    )


def _midway(scores: PairScores) -> float:
    """Midway between the lowest of the kept impostor scores and the next higher."""
    lowest = scores.highest[0]
    both = np.concatenate([scores.highest, scores.genuine])
    above = both[both > lowest]
    neighbours = [lowest, above.min()] if above.size else [lowest]
    return float(candidate_thresholds(np.array(neighbours, np.float64))[1])
