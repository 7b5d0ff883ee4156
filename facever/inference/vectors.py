"""Vectors at unit length, whose dot products are cosines."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from facever.errors import DataError

FloatType = type[np.float32] | type[np.float64]


def unit_vectors(
    vectors: Float[np.ndarray, "rows dim"],
    names: Sequence[str] | None = None,
    dtype: FloatType = np.float32,
) -> Float[np.ndarray, "rows dim"]:
    """Vectors scaled to unit length.

    The lengths are computed in float64, so no float32 vector is too long or too short.

    Args:
        vectors: One row a vector.
        names: What each row belongs to, such as a photo, for the message.
        dtype: The type of the result, float32 or float64.

    Raises:
        DataError: If a vector is all zero or not finite; the first one is named.

    >>> unit_vectors(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]], dtype=float32)
    """
    lengths = check_directions(vectors, names)
    return _divide(vectors, lengths, dtype)


def check_directions(
    vectors: Float[np.ndarray, "rows dim"], names: Sequence[str] | None = None
) -> Float64[np.ndarray, " rows"]:
    """Refuse vectors that cannot be scaled to unit length; give their lengths.

    Args:
        vectors: One row a vector.
        names: What each row belongs to, such as a photo, for the message.

    Raises:
        DataError: If a vector is all zero or not finite; the first one is named.
    """
    lengths = _lengths(vectors)
    bad = np.flatnonzero(~has_direction(vectors))
    if len(bad):
        whose = "" if names is None else f" ({names[bad[0]]})"
        others = f", as are {len(bad) - 1} others" if len(bad) > 1 else ""
        raise DataError(
            f"embedding {bad[0]} of {len(vectors)}{whose} is all zero or not finite"
            f"{others}; leave out photos that have no embedding"
        )
    return lengths


def has_direction(
    vectors: Float[np.ndarray, "rows dim"],
) -> Bool[np.ndarray, " rows"]:
    """Which vectors are finite and not all zero.

    Args:
        vectors: One row a vector.

    >>> has_direction(np.array([[3.0, 4.0], [0.0, 0.0], [1.0, np.nan]]))
    array([ True, False, False])
    """
    lengths = _lengths(vectors)
    good: Bool[np.ndarray, " rows"] = np.isfinite(lengths) & (lengths > 0)
    return good


def unit_or_zero(
    vectors: Float[np.ndarray, "rows dim"],
    smallest: float = 0.0,
    dtype: FloatType = np.float32,
) -> Float[np.ndarray, "rows dim"]:
    """Vectors scaled to unit length; those without a direction become zero.

    Args:
        vectors: One row a vector, all finite.
        smallest: A length up to which a vector is rounding alone and has no direction.
        dtype: The type of the result, float32 or float64.

    >>> unit_or_zero(np.array([[0.0, 2.0], [0.0, 0.0]]))
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    lengths = _lengths(vectors)
    units = _divide(vectors, np.where(lengths > smallest, lengths, 1.0), dtype)
    units[lengths <= smallest] = 0
    return units


def _lengths(vectors: Float[np.ndarray, "rows dim"]) -> Float64[np.ndarray, " rows"]:
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    lengths: Float64[np.ndarray, " rows"] = np.sqrt(squares)
    return lengths


def _divide(
    vectors: Float[np.ndarray, "rows dim"],
    lengths: Float64[np.ndarray, " rows"],
    dtype: FloatType,
) -> Float[np.ndarray, "rows dim"]:
    units = np.empty(vectors.shape, dtype)
    np.divide(vectors, lengths[:, None], out=units, casting="same_kind")
    return units
