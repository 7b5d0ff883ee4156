"""Logits that are distances to the rows of a matrix."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.heads.parts.class_logits import inverse

# Rounding of |f|^2 + |W|^2 - 2 f.W, as a multiple of the type's precision.
_NOISE = 8


def distance_logits(
    embeddings: Float[Tensor, "batch dim"],
    rows: Float[Tensor, "classes dim"],
    labels: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, " batch"]]:
    """``-|f - W_j|`` of every row, through one matrix product.

    |f|^2 + |W|^2 - 2 f.W loses the digits of a distance much smaller than |f|, so the
    own row's, which training makes small, is taken from the differences; at distance 0
    its gradient is 0. Another row's is at least what rounding leaves of it (0.001 of
    |f| in float32), which keeps its slope near 1 or below.

    Args:
        embeddings: The features f, one row for each sample.
        rows: The points W_j, one row for each class.
        labels: The own row of each embedding, in [0, classes).

    Returns:
        The logits, and those of the own rows, for a margin; at most 0.
    """
    return _Distances.apply(embeddings, rows, labels)  # type: ignore[no-any-return]


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, rows: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        bias = torch.linalg.vector_norm(rows, dim=1).square()
        logits = torch.addmm(bias, embeddings, rows.T, alpha=-2)
        lengths = embeddings.square().sum(dim=1, keepdim=True)
        precision = torch.finfo(rows.dtype)
        lost = _NOISE * precision.eps * (lengths + bias.max()) + precision.tiny
        logits.add_(lengths).clamp_min_(lost).sqrt_().neg_()
        own = -torch.linalg.vector_norm(embeddings - rows[labels], dim=1)
        logits.scatter_(1, labels[:, None], own[:, None])
        ctx.save_for_backward(embeddings, rows, labels, logits, own)
        return logits, own

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_logits, by_own = gradients
        embeddings, rows, labels, logits, own = ctx.saved_tensors
        # The slope of -|f - W| is (f - W) / -|f - W|: with the quotients of gradient
        # and logit as a matrix S, all of them are products with S and its sums. The own
        # rows keep their differences here too: there a quotient may be large, and what
        # is left of S f - S W noise.
        by_own = by_own + by_logits.gather(1, labels[:, None])[:, 0]
        by_difference = (by_own * -inverse(-own))[:, None] * (embeddings - rows[labels])
        quotients = by_logits / logits
        quotients.scatter_(1, labels[:, None], 0.0)
        by_embeddings = quotients.sum(dim=1, keepdim=True) * embeddings + by_difference
        by_embeddings -= quotients @ rows
        by_rows = None
        if ctx.needs_input_grad[1]:
            by_rows = quotients.T @ -embeddings
            by_rows.addcmul_(quotients.sum(dim=0)[:, None], rows)
            by_rows.index_add_(0, labels, by_difference, alpha=-1)
        return by_embeddings, by_rows, None
