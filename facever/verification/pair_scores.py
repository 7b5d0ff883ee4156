"""Scores of pairs of vectors: larger is more similar, -inf where one is missing."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64

from facever.choices import Measure

Vectors = Float64[np.ndarray, "photos dim"]
Places = Int64[np.ndarray, " pairs"]
Scores = Float64[np.ndarray, " pairs"]

# So few that their vectors stay in the caches between gathering and multiplication.
_BLOCK_PAIRS = 1024


def pair_cosine(vectors: Vectors, left: Places, right: Places) -> Scores:
    """Cosine of each pair.

    A zero vector (an embedding that equals the PCA's mean) has no direction: 0.

    Args:
        vectors: The vectors, one row for each photo.
        left: Row of each pair's first photo, -1 where it is missing.
        right: Row of each pair's second photo, -1 where it is missing.

    Returns:
        Scores in [-1, 1], but for rounding; -inf where a photo is missing.
    """
    dots = np.empty(len(left))
    for start in range(0, len(left), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        dots[block] = np.einsum("ij,ij->i", vectors[left[block]], vectors[right[block]])
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    products = lengths[left] * lengths[right]
    cosine: Scores = np.divide(
        dots, products, out=np.zeros_like(dots), where=products > 0
    )
    cosine[(left < 0) | (right < 0)] = -np.inf
    return cosine


def pair_euclidean(vectors: Vectors, left: Places, right: Places) -> Scores:
    """The negated Euclidean distance of each pair; otherwise as ``pair_cosine``."""
    scores: Scores = -np.linalg.norm(vectors[left] - vectors[right], axis=1)
    scores[(left < 0) | (right < 0)] = -np.inf
    return scores


MEASURES: Mapping[Measure, Callable[[Vectors, Places, Places], Scores]] = (
    MappingProxyType({"cosine": pair_cosine, "euclidean": pair_euclidean})
)
