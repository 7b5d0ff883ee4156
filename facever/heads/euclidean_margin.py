"""EucMargin: a margin on the Euclidean distance to the class weight."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.parts.class_logits import cross_entropy
from facever.heads.parts.distance_logits import distance_logits


class EuclideanMargin(Head):
    """Cross-entropy of ``-d_j``, with ``-(d_y + margin)`` for the target.

    ``d_j = |f - W_j|``, not squared.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        margin: The margin m that is added to the distance to the own class, at least 0.

    Raises:
        ParameterError: If the margin is negative.

    References:
        Euclidean distance margin for feature learning in convolutional neural networks,
        section 3.
    """

    allows_mixtures: ClassVar[bool] = True

    def __init__(
        self, embedding_size: int, num_classes: int, *, margin: float = 1.0
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if not 0 <= margin < math.inf:
            raise ParameterError(f"margin must be >= 0, got {margin}")
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin."""
        logits, target = distance_logits(embeddings, self.weight, labels)
        loss = cross_entropy(logits, labels, target - self.margin)
        return HeadOutput(loss, logits.detach())

    def class_vectors(self) -> Float[Tensor, "classes dim"]:
        """The weights, as directions."""
        return self.weight.detach()

    def class_points(self) -> Float[Tensor, "classes dim"]:
        """The weights, as places."""
        return self.weight.detach()
