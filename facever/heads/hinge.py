"""Hinge: the multi-class support vector machine of Crammer and Singer."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput


def hinge_loss(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], margin: float
) -> Float[Tensor, ""]:
    """``mean(max(0, margin + max_{j != y} z_j - z_y))``.

    Args:
        logits: The scores z of every class.
        labels: The class of each sample, in [0, classes).
        margin: The lead that the own class must have over each other class, positive.

    Returns:
        The loss, at least 0; 0 when there is one class alone.

    Raises:
        ParameterError: If the margin is not positive.

    References:
        Crammer and Singer, On the algorithmic implementation of multiclass kernel-based
        vector machines, 2001, eq. 3.
    """
    _check(margin)
    if logits.shape[1] == 1:
        return (logits * 0).sum()
    own = labels[:, None]
    # The rival's place is all that is needed of the changed copy, so it stays out of
    # the graph, and the gradient touches two logits of each row.
    rival = logits.detach().scatter(1, own, -torch.inf).argmax(dim=1, keepdim=True)
    pair = logits.gather(1, torch.cat([rival, own], dim=1))
    return (margin + pair[:, 0] - pair[:, 1]).clamp_min(0).mean()


class Hinge(Head):
    """``hinge_loss`` of ``W_j . f``.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        margin: The lead that the own class must have over each other class, positive.

    Raises:
        ParameterError: If the margin is not positive.

    References:
        Crammer and Singer, 2001; a rival of Hao et al., Anchor-based nearest class mean
        loss, 2018.
    """

    allows_mixtures: ClassVar[bool] = True

    def __init__(
        self, embedding_size: int, num_classes: int, *, margin: float = 1.0
    ) -> None:
        super().__init__(embedding_size, num_classes)
        _check(margin)
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The hinge loss of the batch."""
        logits = embeddings @ self.weight.T
        return HeadOutput(hinge_loss(logits, labels, self.margin), logits.detach())

    def class_vectors(self) -> Float[Tensor, "classes dim"]:
        """The weights."""
        return self.weight.detach()


def _check(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise ParameterError(f"margin must be positive, got {margin}")
