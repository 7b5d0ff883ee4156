"""CosFace: an additive cosine margin on the target class."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.classifier import (
    cross_entropy,
    unit,
    unit_weight_logits,
)


def cosface_logits(
    cosine: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    margin: float,
    scale: float,
) -> Float[Tensor, "batch classes"]:
    """Logits with an additive cosine margin on the target class.

    scale * (cos(theta_y) - margin) for the target, scale * cos(theta_j) for the others.

    Args:
        cosine: Cosine of embedding and class weight, in [-1, 1].
        labels: Class index in [0, classes).
        margin: In [0, 2].
        scale: Positive.

    Returns:
        Logits for cross-entropy.

    Raises:
        ParameterError: If margin or scale is out of range.

    References:
        Wang et al., CosFace, 2018, eq. 4.
    """
    _check(margin, scale)
    own = labels[:, None]
    return scale * cosine.scatter(1, own, cosine.gather(1, own) - margin)


class CosFace(Head):
    """Cross-entropy of ``cosface_logits`` over normalised class weights.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        margin: In [0, 2].
        scale: Positive.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Wang et al., CosFace, 2018, eq. 4.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        margin: float = 0.35,
        scale: float = 64.0,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        _check(margin, scale)
        self.margin = margin
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin."""
        scaled = self.scale * unit(embeddings)
        logits, target = unit_weight_logits(scaled, self.weight, labels)
        target = target - self.scale * self.margin
        loss = cross_entropy(logits, labels, target)
        return HeadOutput(loss, logits.detach())


def _check(margin: float, scale: float) -> None:
    if not 0 <= margin <= 2:
        raise ParameterError(f"margin must be in [0, 2], got {margin}")
    if not 0 < scale < math.inf:
        raise ParameterError(f"scale must be positive, got {scale}")
