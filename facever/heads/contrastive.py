"""Contrastive loss over all pairs of a batch."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.parts.class_logits import unit


def contrastive_loss(
    embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"], margin: float
) -> Float[Tensor, ""]:
    """Mean over all pairs i < j of what pulls or pushes them.

    ``1/2 d^2`` for two of one class and ``1/2 max(0, margin - d)^2`` otherwise,
    ``d = |f_i - f_j|``. Two equal embeddings of different classes have no direction to
    part in: their gradient is 0.

    Args:
        embeddings: The features f, one row for each sample.
        labels: The class of each embedding, any whole number.
        margin: The distance to which different classes are pushed apart, positive.

    Returns:
        The loss, at least 0; 0 for a batch of one.

    Raises:
        ParameterError: If the margin is not positive.

    References:
        Sun et al., Deep learning face representation by joint identification-
        verification (DeepID2), 2014, eq. 3.
    """
    _check(margin)
    if len(embeddings) == 1:
        return (embeddings * 0).sum()
    distances = torch.pdist(embeddings)
    first, second = torch.triu_indices(
        len(labels), len(labels), offset=1, device=labels.device
    )
    apart = (margin - distances).clamp_min(0)
    gaps = torch.where(labels[first] == labels[second], distances, apart)
    return gaps.square().mean() / 2


class Contrastive(Head):
    """``contrastive_loss`` of a batch with classmates; meant beside softmax.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes that the labels name.
        margin: The margin of the distance, positive; unit vectors are at most 2 apart.
        normalised: Whether embeddings are scaled to length 1 first.

    Raises:
        ParameterError: If the margin is not positive.

    References:
        Sun et al., DeepID2, 2014, eq. 3.
    """

    compares_classmates: ClassVar[bool] = True

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        margin: float = 1.0,
        normalised: bool = True,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        _check(margin)
        self.margin = margin
        self.normalised = normalised

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The contrastive loss of the batch."""
        features = unit(embeddings) if self.normalised else embeddings
        return HeadOutput(contrastive_loss(features, labels, self.margin))


def _check(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise ParameterError(f"margin must be positive, got {margin}")
