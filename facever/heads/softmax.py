"""Softmax: a linear classifier with cross-entropy."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.classifier import cross_entropy, unit, unit_weight_logits


class Softmax(Head):
    """Cross-entropy of ``W_j . f + b_j``, or of ``scale * cos(theta_j) + b_j``.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        bias: Whether each class has a bias.
        normalised: Whether embeddings and weights are scaled to length 1 first.
        scale: Of the cosine when normalised, positive.

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
        *,
        bias: bool = True,
        normalised: bool = False,
        scale: float = 30.0,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if not 0 < scale < math.inf:
            raise ParameterError(f"scale must be positive, got {scale}")
        self.normalised = normalised
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch."""
        if self.normalised:
            scaled = self.scale * unit(embeddings)
            logits, _ = unit_weight_logits(scaled, self.weight, labels)
            if self.bias is not None:
                logits = logits + self.bias
        else:
            logits = linear(embeddings, self.weight, self.bias)
        return HeadOutput(cross_entropy(logits, labels), logits.detach())
