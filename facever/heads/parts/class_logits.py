"""What the classifying heads share: logits of all classes, loss with a changed target.

A margin changes one logit of each row, so the [batch, classes] matrix is written once
in each direction: the gradient of the changed target joins the others inside the
backward of the logits, and class weights are normalised through their norms, without a
normalised copy, some classes at a time. Autograd's own composition of the same
equations takes about twice softmax's time and memory.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from facever.heads.base import HeadOutput

# |v| below which a vector has no direction: its unit vector, and the gradient, are 0.
_NO_LENGTH = 1e-12


def unit(vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows of length 1; a row of zeros stays 0 and gets no gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors * inverse(norms)


def linear_logits(
    embeddings: Float[Tensor, "batch dim"],
    weight: Float[Tensor, "classes dim"],
    labels: Int[Tensor, " batch"],
) -> tuple[
    Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
]:
    """``W_j . f`` of every class.

    Args:
        embeddings: The features f, one row for each sample.
        weight: The class vectors W_j, one row for each class.
        labels: The class of each sample, in [0, classes).

    Returns:
        The logits; those of the own classes, for a margin; and ``|W_y|``.
    """
    return _LinearLogits.apply(embeddings, weight, labels)  # type: ignore[no-any-return]


@runtime_checkable
class Curve(Protocol):
    """A function of ``W_j . f / |W_j|`` that a head takes for its logits."""

    def values(
        self, straight: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch classes"]:
        """What the logits are."""
        ...

    def slopes(
        self, straight: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch classes"]:
        """The derivative of each."""
        ...


def unit_weight_logits(
    embeddings: Float[Tensor, "batch dim"],
    weight: Float[Tensor, "classes dim"],
    labels: Int[Tensor, " batch"],
    curve: Curve | None = None,
) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, " batch"]]:
    """``W_j . f / |W_j|`` of every class; a row of zeros gives 0.

    Args:
        embeddings: The features f, one row for each sample.
        weight: The class vectors W_j, one row of any length for each class.
        labels: The class of each sample, in [0, classes).
        curve: A function that makes the logits of it.

    Returns:
        The logits; and ``W_y . f / |W_y|`` of the own classes, for a margin.
    """
    return _UnitWeightLogits.apply(embeddings, weight, labels, curve)  # type: ignore[no-any-return]


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    target: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy, with one matrix less in its backward than torch's.

    Args:
        logits: The logits of every class.
        labels: The class of each sample, in [0, classes).
        target: Logits that replace those of the own classes, which are then not used.

    Returns:
        The loss, at least 0.
    """
    return _CrossEntropy.apply(logits, labels, target)  # type: ignore[no-any-return]


def inverse(norms: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``1 / norms``, and 0 with no gradient where a norm is 0."""
    return torch.where(norms > _NO_LENGTH, 1 / norms.clamp_min(_NO_LENGTH), 0)


class _LinearLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, weight: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = embeddings @ weight.T
        norms = torch.linalg.vector_norm(weight[labels], dim=1)
        ctx.save_for_backward(embeddings, weight, labels, norms)
        return logits, logits.gather(1, labels[:, None])[:, 0], norms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_logits, by_target, by_norms = gradients
        embeddings, weight, labels, norms = ctx.saved_tensors
        slopes = by_logits.scatter_add(1, labels[:, None], by_target[:, None])
        by_weight = slopes.T @ embeddings
        directions = weight[labels] * inverse(norms)[:, None]
        by_weight.index_add_(0, labels, by_norms[:, None] * directions)
        return slopes @ weight, by_weight, None


class _UnitWeightLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        labels: Tensor,
        curve: Curve | None,
    ) -> tuple[Tensor, Tensor]:
        shape = len(embeddings), len(weight)
        logits = embeddings.new_empty(shape)
        straight = logits if curve is None else embeddings.new_empty(shape)
        shrink = weight.new_empty(len(weight))
        for some in _pieces(weight):
            rows = weight[some]
            shrink[some] = inverse(torch.linalg.vector_norm(rows, dim=1))
            piece = (embeddings @ rows.T).mul_(shrink[some])
            straight[:, some] = piece
            if curve is not None:
                logits[:, some] = curve.values(piece)
        ctx.curve = curve
        saved = [] if curve is None else [straight]
        ctx.save_for_backward(embeddings, weight, labels, shrink, *saved)
        return logits, straight.gather(1, labels[:, None])[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_logits, by_target = gradients
        embeddings, weight, labels, shrink, *saved = ctx.saved_tensors
        by_embeddings = torch.zeros_like(embeddings)
        by_weight = torch.empty_like(weight)
        for some in _pieces(weight):
            rows, short = weight[some], shrink[some]
            slopes = by_logits[:, some] * short
            for straight in saved:
                slopes *= ctx.curve.slopes(straight[:, some])
            turns = torch.mm(slopes.T, embeddings, out=by_weight[some])
            # Only what is orthogonal to W_j turns it; its length does nothing.
            along = (turns * rows).sum(dim=1).mul_(short.square())
            turns.addcmul_(rows, along[:, None], value=-1)
            by_embeddings.addmm_(slopes, rows)
        slope = (by_target * shrink[labels])[:, None]
        own = weight[labels]
        along = (own * embeddings).sum(dim=1).mul_(shrink[labels].square())
        turns = embeddings.addcmul(own, along[:, None], value=-1).mul_(slope)
        by_weight.index_add_(0, labels, turns)
        return by_embeddings.addcmul_(slope, own), by_weight, None, None


def _pieces(weight: Tensor) -> list[slice]:
    """All classes, some at a time.

    On a CPU what belongs to a piece stays in the cache, and short matrices are
    multiplied up to 1.4 times as fast as long ones; elsewhere pieces save memory.
    """
    size = 512 if weight.device.type == "cpu" else 65_536
    return [slice(first, first + size) for first in range(0, len(weight), size)]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, target: Tensor | None
    ) -> Tensor:
        own = labels[:, None]
        if target is not None:
            logits = logits.scatter(1, own, target[:, None])
        logarithms = logits.log_softmax(dim=1)
        ctx.save_for_backward(logarithms, labels)
        ctx.has_target = target is not None
        return -logarithms.gather(1, own).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logarithms, labels = ctx.saved_tensors
        own = labels[:, None]
        factor = gradients[0] / len(labels)
        # p - 1 of the own class without the rounding of 1 - (1 - p).
        by_own = torch.expm1(logarithms.gather(1, own)) * factor
        by_logits = logarithms.exp().mul_(factor)
        if ctx.has_target:
            return by_logits.scatter_(1, own, 0.0), None, by_own[:, 0]
        return by_logits.scatter_(1, own, by_own), None, None


class ClassRows:
    """Logits and loss over all classes, held by this process.

    ``ShardedRows`` has the same methods over classes that several processes share, so
    a head writes its margin once. ``classes`` below are those held here; ``labels`` and
    what has one value a sample are of the whole batch.

    Attributes:
        weight: The class vectors, one for each class held here.
        bias: The biases, one value for each class held here, or None.
        labels: Row of ``weight`` for each sample of the batch.
    """

    def __init__(
        self,
        weight: Float[Tensor, "classes dim"],
        bias: Float[Tensor, " classes"] | None,
        labels: Int[Tensor, " batch"],
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.labels = labels

    def affine_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch classes"]:
        """``W_j . f + b_j``."""
        return linear(embeddings, self.weight, self.bias)

    def linear_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """``W_j . f``; the own classes' alone; ``|W_y|``."""
        return linear_logits(embeddings, self.weight, self.labels)

    def unit_weight_logits(
        self, embeddings: Float[Tensor, "batch dim"], curve: Curve | None = None
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, " batch"]]:
        """``W_j . f / |W_j|``, or a curve of it; the own classes' alone, straight."""
        return unit_weight_logits(embeddings, self.weight, self.labels, curve)

    def output(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, " batch"] | None = None,
        parts: dict[str, Float[Tensor, ""]] | None = None,
    ) -> HeadOutput:
        """The mean cross-entropy over the batch.

        Args:
            logits: The logits without a margin.
            target: Logits that replace those of the own classes, where there is a
                margin.
            parts: Scalars to log, by name.
        """
        loss = cross_entropy(logits, self.labels, target)
        return HeadOutput(loss, logits.detach(), parts or {})
