"""How far classes lie apart, and how closely features keep to their class vectors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from facever.errors import DataError


@dataclass(frozen=True)
class ClassAngles:
    """Mean angles in radians; NaN where a vector has no direction.

    Attributes:
        w_inter: Mean angle between the vectors W_j of different classes.
        c_inter: Mean angle between the feature centers of different classes.
        wc_intra: Mean angle between a class's vector and its feature center.
    """

    w_inter: float
    c_inter: float
    wc_intra: float


def class_angles(
    embeddings: Float[np.ndarray, "crops dim"],
    labels: Int64[np.ndarray, " crops"],
    weight: Float[np.ndarray, "classes dim"],
) -> ClassAngles:
    """WInter, CInter and WCIntra over the classes that have an embedding.

    Args:
        embeddings: Features of training crops.
        labels: Class index of each crop, in [0, classes); at least two classes.
        weight: The class vectors of a classifying head.

    Returns:
        The three means.

    Raises:
        DataError: If the embeddings show fewer than two classes.

    References:
        Angular loss, arXiv 1912.07819, eq. 12 to 14.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"angles need at least two classes, got {len(present)}")
    centers = np.stack([embeddings[labels == label].mean(axis=0) for label in present])
    vectors, centers = _directions(weight[present]), _directions(centers)
    return ClassAngles(
        w_inter=_mean_angle_between(vectors),
        c_inter=_mean_angle_between(centers),
        wc_intra=float(_angle((vectors * centers).sum(axis=1)).mean()),
    )


def _directions(
    vectors: Float[np.ndarray, "classes dim"],
) -> Float64[np.ndarray, "classes dim"]:
    """Vectors of unit length; NaN in the place of zero, where a network died."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        directions: Float64[np.ndarray, "classes dim"] = vectors / lengths
    return directions


def _mean_angle_between(
    vectors: Float[np.ndarray, "classes dim"],
) -> float:
    first, second = np.triu_indices(len(vectors), k=1)
    return float(_angle((vectors @ vectors.T)[first, second]).mean())


def _angle(cosine: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    angle: Float[np.ndarray, " n"] = np.arccos(np.clip(cosine, -1, 1))
    return angle
