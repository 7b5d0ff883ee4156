"""Scores of pairs of vectors: larger is more similar, -inf where one is missing."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from facever.choices import Measure
from facever.progress import Advance, ignore_progress

Vectors = Float64[np.ndarray, "photos dim"]
Places = Int64[np.ndarray, " pairs"]
Scores = Float64[np.ndarray, " pairs"]

# So few that their vectors stay in the caches between gathering and multiplication.
_BLOCK_PAIRS = 1024
_BLOCK_UNIT_PAIRS = 256
_BLOCKS_SHOWN = 64


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


def unit_cosines(
    units: Float32[np.ndarray, "rows dim"],
    left: Int[np.ndarray, " pairs"],
    right: Int[np.ndarray, " pairs"],
    advance: Advance = ignore_progress,
) -> Scores:
    """Cosine of each pair of unit vectors, for tens of millions of pairs.

    The sums are float32, so cosines that differ by less than about 1e-6 may tie. In
    memory are 8 bytes a pair, and no more than 1 MiB beside them.

    Args:
        units: The vectors, of length 1 or zero.
        left: Row of each pair's first vector.
        right: Row of each pair's second vector.
        advance: Called with the number of pairs done since the last call.
    """
    cosines = np.empty(len(left))
    shape = _BLOCK_UNIT_PAIRS, units.shape[1]
    first, second = np.empty(shape, np.float32), np.empty(shape, np.float32)
    num_new = 0
    for start in range(0, len(left), _BLOCK_UNIT_PAIRS):
        block = slice(start, start + _BLOCK_UNIT_PAIRS)
        count = len(left[block])
        # A mode other than raise writes to out without a copy.
        np.take(units, left[block], axis=0, out=first[:count], mode="clip")
        np.take(units, right[block], axis=0, out=second[:count], mode="clip")
        np.vecdot(first[:count], second[:count], out=cosines[block])
        num_new += count
        if num_new >= _BLOCKS_SHOWN * _BLOCK_UNIT_PAIRS or block.stop >= len(left):
            advance(num_new)
            num_new = 0
    return cosines


MEASURES: Mapping[Measure, Callable[[Vectors, Places, Places], Scores]] = (
    MappingProxyType({"cosine": pair_cosine, "euclidean": pair_euclidean})
)
