"""Rough cosines from 8-bit copies of embeddings, with a bound on how wrong they are."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32

# Signed 8-bit levels of a row.
_ROW_LEVELS = 127

# So few queries are faster as bfloat16 times 8 bits, 1.3 ms beside 2.3 for four, and
# more of them as 8 bits times 8 bits: 2.4 ms beside 4.6 for 16 (16,384 rows of 512).
_FEW_QUERIES = 4

# Both read whole vectors of so many numbers; the last are filled up with zeros.
_VECTOR = 32

# Of a query among many. Sums of two products with a row's 255 unsigned levels stay
# within the 16 bits in which CPUs without VNNI add them.
_QUERY_LEVELS = 63

# What rounding a product to bfloat16, which keeps 8 bits of it, can change a cosine by;
# and what adding in float32 can, with room to spare.
_BFLOAT16_ROUNDING = 2**-8
_FLOAT32_ROUNDING = 1e-5

RoughCosines = tuple[
    Float32[np.ndarray, "queries rows"], Float32[np.ndarray, " queries"]
]


def can_screen() -> bool:
    """Whether this machine multiplies 8-bit matrices faster than float32."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return wide and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Screen:
    """Embeddings of 8 bits a number: a fourth of the memory to read.

    By the Cauchy-Schwarz inequality a cosine q.x and a rough one q'.x' differ by at
    most |q| |x - x'| + |q - q'| |x'|, and what is left of the one or the other by
    rounding is known. Queries are rounded, too: no product of float32 and 8 bits is as
    fast.
    """

    def __init__(self, units: Float32[np.ndarray, "rows dim"]) -> None:
        """Copy embeddings of unit length."""
        exact = _padded(units)
        self._scales = exact.abs().amax(dim=1) / _ROW_LEVELS
        levels = (exact / self._scales[:, None]).round_()
        self._levels = levels.to(torch.int8)
        copies = levels.mul_(self._scales[:, None])
        self._longest = float(torch.linalg.vector_norm(copies, dim=1).max())
        errors = torch.linalg.vector_norm(exact - copies, dim=1)
        self._largest_error = float(errors.max())

    def cosines(self, units: Float32[np.ndarray, "queries dim"]) -> RoughCosines:
        """Rough cosines of queries, and by how much each query's may be wrong."""
        queries = _padded(units)
        if len(queries) <= _FEW_QUERIES:
            rough, rounded = self._multiply_few(queries)
            rounding = _BFLOAT16_ROUNDING
        else:
            rough, rounded = self._multiply_many(queries)
            rounding = _FLOAT32_ROUNDING
        slack = (
            torch.linalg.vector_norm(queries, dim=1) * self._largest_error
            + torch.linalg.vector_norm(queries - rounded, dim=1) * self._longest
            + rounding
        )
        return rough.numpy(), slack.numpy()

    def _multiply_few(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rounded = queries.bfloat16()
        ones = torch.ones(len(self._levels), dtype=torch.bfloat16)
        product = torch.ops.aten._weight_int8pack_mm(rounded, self._levels, ones)
        return product.float() * self._scales, rounded.float()

    def _multiply_many(
        self, queries: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scales = queries.abs().amax(dim=1) / _QUERY_LEVELS
        levels = (queries / scales[:, None]).round_()
        packed = torch.ops.onednn.qlinear_prepack(
            levels.to(torch.int8), list(self._levels.shape)
        )
        # The rows take the place of activations and the queries that of weights: as
        # activations, few queries are slow.
        product = torch.ops.onednn.qlinear_pointwise(
            self._levels,
            1.0,
            0,
            packed,
            scales,
            torch.zeros(len(queries), dtype=torch.int32),
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        rough = (product * self._scales[:, None]).T.contiguous()
        return rough, levels * scales[:, None]


def _padded(units: Float32[np.ndarray, "rows dim"]) -> torch.Tensor:
    return F.pad(torch.from_numpy(units), (0, -units.shape[1] % _VECTOR))
