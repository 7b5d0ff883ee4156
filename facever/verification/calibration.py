"""A threshold to ship with a model, from identities that it was not trained on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import DataError
from facever.verification.roc import area_under_curve, roc_curve, tar_at_far


@dataclass(frozen=True)
class Calibration:
    """What all pairs of a held-out set say.

    Attributes:
        num_genuine: Pairs of one identity.
        num_impostor: Pairs of two identities.
        auc: Area under the ROC curve.
        target_far: The false accept rate asked for.
        tar: True accept rate at it; None with too few impostor pairs.
        threshold: Cosine to accept above; None with too few impostor pairs.
        note: Why there is no threshold; empty where there is one.
    """

    num_genuine: int
    num_impostor: int
    auc: float
    target_far: float
    tar: float | None
    threshold: float | None
    note: str


def check_pairs(labels: Int64[np.ndarray, " crops"]) -> None:
    """Refuse crops that calibration can say nothing about.

    Raises:
        DataError: If there is no pair of one identity, or none of two.
    """
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise DataError(
            "a threshold needs held-out crops of at least 2 identities, and 2 crops of "
            f"one of them; got {len(labels)} crops of {len(counts)} identities"
        )


def calibrate(
    embeddings: Float32[np.ndarray, "crops dim"],
    labels: Int64[np.ndarray, " crops"],
    target_far: float,
) -> Calibration:
    """The threshold for a false accept rate, over all pairs of the crops.

    Args:
        embeddings: Of crops that the model was not trained on; any length but 0.
        labels: Whose they are.
        target_far: In (0, 1).

    Returns:
        The threshold and what it accepts.

    Raises:
        DataError: If there is no pair of one identity, or none of two.
    """
    check_pairs(labels)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(units), k=1)
    cosine = (units @ units.T)[first, second].astype(np.float64)
    same = labels[first] == labels[second]
    roc = roc_curve(cosine, same)
    point = tar_at_far(roc, [target_far])[0]
    return Calibration(
        num_genuine=roc.num_genuine,
        num_impostor=roc.num_impostor,
        auc=area_under_curve(roc),
        target_far=target_far,
        tar=point.tar,
        threshold=point.threshold,
        note=point.note,
    )
