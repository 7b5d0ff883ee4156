"""Rough cosines from 8-bit copies of embeddings, with a bound on how wrong they are."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Bool, Float, Float32, Int8, Int64
from torch import Tensor

# The product reads vectors of this many numbers: zeros fill up the last one.
_VECTOR = 32

# Levels of a row's numbers, on each side of zero.
_LEVELS = 127

# The relative error of rounding a product to bfloat16, which keeps 8 bits.
_ROUNDING = 2**-8

# If more than an eighth of the rows had to be compared, comparing all is as fast.
_MOST_NEAR = 1 / 8


def can_screen() -> bool:
    """Whether this machine multiplies bfloat16 by 8 bits faster than float32."""
    return (
        torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and _is_product_right()
    )


@functools.cache
def _is_product_right() -> bool:
    """Whether torch still has its private product, and it agrees with NumPy.

    The numbers are small and whole, so that bfloat16 holds each sum exactly.
    """
    queries = np.arange(3 * _VECTOR).reshape(3, _VECTOR) % 3 - 1
    levels = np.arange(37 * _VECTOR).reshape(37, _VECTOR) % 7 - 3
    try:
        found = _multiply(
            torch.from_numpy(queries).bfloat16(),
            torch.from_numpy(levels).to(torch.int8),
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = (queries @ levels.T).astype(np.float32)
    return np.array_equal(found.float().numpy(), expected)


def _multiply(
    queries: BFloat16[Tensor, "queries dim"], levels: Int8[Tensor, "rows dim"]
) -> BFloat16[Tensor, "queries rows"]:
    ones = torch.ones(len(levels), dtype=torch.bfloat16)
    product: Tensor = torch.ops.aten._weight_int8pack_mm(queries, levels, ones)
    return product


class Screen:
    """Embeddings of 8 bits a number: a fourth of the memory to read.

    By the Cauchy-Schwarz inequality a cosine q.x and a rough one q'.x' differ by at
    most |q| |x - x'| + |q - q'| |x'|, and what rounding the product may add is known.
    Queries are rounded to bfloat16: no product of float32 and 8 bits is as fast.
    """

    def __init__(self, embedding_size: int) -> None:
        size = embedding_size + -embedding_size % _VECTOR
        self._levels = torch.empty((0, size), dtype=torch.int8)
        self._scales = torch.empty(0)
        self._count = 0
        self._longest = 0.0
        self._largest_error = 0.0

    def __len__(self) -> int:
        return self._count

    def add(self, units: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        exact = _padded(units)
        scales = exact.abs().amax(dim=1) / _LEVELS
        levels = (exact / scales[:, None]).round_()
        end = self._count + len(units)
        if end > len(self._levels):
            # What is not written to yet takes no memory.
            room = max(end, 2 * self._count)
            self._levels = _grown(self._levels, room)
            self._scales = _grown(self._scales, room)
        self._levels[self._count : end] = levels
        self._scales[self._count : end] = scales
        self._count = end
        copies = levels.mul_(scales[:, None])
        errors = torch.linalg.vector_norm(exact - copies, dim=1)
        longest = float(torch.linalg.vector_norm(copies, dim=1).max())
        self._longest = max(self._longest, longest)
        self._largest_error = max(self._largest_error, float(errors.max()))

    def candidates(
        self,
        queries: Float32[np.ndarray, "queries dim"],
        rows: slice,
        allowed: Bool[np.ndarray, " rows"] | None,
        best: Float32[np.ndarray, "queries k"],
    ) -> list[Int64[np.ndarray, " some"]] | None:
        """The rows that may be among each query's best: all that are, and some more.

        Args:
            queries: Queries of unit length.
            rows: The rows to look at.
            allowed: Which of these rows may be found; all by default.
            best: Cosines of the best of the other rows, highest first; -inf fills up.

        Returns:
            Ascending rows for each query; None if they are too many for this to help.
        """
        rough, slack = self.cosines(queries, rows)
        if allowed is not None:
            rough[:, ~torch.from_numpy(allowed)] = -torch.inf
        lowest, k = torch.from_numpy(best[:, -1]), best.shape[1]
        if k <= rough.shape[1] and lowest.isneginf().any():
            # At least k of these rows have at least this cosine.
            reached = rough.topk(k).values[:, -1] - slack
            lowest = lowest.maximum(reached)
        near = rough > (lowest - slack)[:, None]
        found, counts = near.nonzero()[:, 1], near.sum(dim=1)
        if len(found) > _MOST_NEAR * near.numel():
            return None
        return [some.numpy() for some in (found + rows.start).split(counts.tolist())]

    def cosines(
        self, queries: Float32[np.ndarray, "queries dim"], rows: slice
    ) -> tuple[Float[Tensor, "queries rows"], Float[Tensor, " queries"]]:
        """Rough cosines with some rows, and by how much each query's may be wrong."""
        exact = _padded(queries)
        rounded = exact.bfloat16()
        slack = (
            torch.linalg.vector_norm(exact, dim=1) * self._largest_error
            + torch.linalg.vector_norm(exact - rounded, dim=1) * self._longest
            + _ROUNDING
        )
        levels, scales = self._levels[rows], self._scales[rows]
        return _multiply(rounded, levels).float().mul_(scales), slack


def _padded(units: Float32[np.ndarray, "rows dim"]) -> Tensor:
    return F.pad(torch.from_numpy(units), (0, -units.shape[1] % _VECTOR))


def _grown(rows: Tensor, room: int) -> Tensor:
    grown = rows.new_empty((room, *rows.shape[1:]))
    grown[: len(rows)] = rows
    return grown
