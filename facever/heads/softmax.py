"""Softmax: a linear classifier with cross-entropy."""

import math

from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.class_logits import unit
from facever.heads.parts.classifying_head import ClassifyingHead
from facever.heads.parts.sharded_rows import ClassShards


class Softmax(ClassifyingHead):
    """Cross-entropy of ``W_j . f + b_j``, or of ``scale * cos(theta_j) + b_j``.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        shards: The classes that this process holds; None means all.
        bias: Whether each class has a bias.
        normalised: Whether embeddings and weights are scaled to length 1 first.
        scale: Factor of the cosine when normalised, positive.

    Raises:
        ParameterError: If the scale is not positive.

    References:
        Wu et al., Exponential discriminative metric embedding, 2018, section 4.1; the
        normalised form: Wang et al., NormFace, 2017, eq. 4.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        bias: bool = True,
        normalised: bool = False,
        scale: float = 30.0,
    ) -> None:
        super().__init__(embedding_size, num_classes, shards, bias=bias)
        if not 0 < scale < math.inf:
            raise ParameterError(f"scale must be positive, got {scale}")
        self.normalised = normalised
        self.scale = scale

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch."""
        rows = self.rows(labels)
        if not self.normalised:
            return rows.output(rows.affine_logits(embeddings))
        logits, _ = rows.unit_weight_logits(self.scale * unit(embeddings))
        return rows.output(logits if rows.bias is None else logits + rows.bias)
