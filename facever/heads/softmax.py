"""Softmax: a linear classifier with cross-entropy."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from facever.heads.base import Head, HeadOutput, at_least_float32


class Softmax(Head):
    """Cross-entropy of ``embeddings @ weight.T + bias``.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        bias: Whether each class has a bias.

    References:
        Wu et al., Exponential discriminative metric embedding, 2018, section 4.1.
    """

    def __init__(
        self, embedding_size: int, num_classes: int, *, bias: bool = True
    ) -> None:
        super().__init__(embedding_size, num_classes)
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch."""
        logits = at_least_float32(linear(embeddings, self.weight, self.bias))
        return HeadOutput(cross_entropy(logits, labels), logits.detach())
