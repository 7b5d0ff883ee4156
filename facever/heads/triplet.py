"""Triplet loss with the triplets mined within the batch."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.parts.class_logits import unit

Mining = Literal["all", "hard", "semi-hard"]


def triplet_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    margin: float,
    mining: Mining = "semi-hard",
) -> Float[Tensor, ""]:
    """Mean of ``max(0, |a - p|^2 - |a - n|^2 + margin)`` over triplets of the batch.

    Each anchor's negatives are sorted once, so that no list of triplets is ever made:
    ``all`` looks up a prefix sum and ``semi-hard`` a neighbour for each pair a, p, in
    O(batch^2 log batch).

    Args:
        embeddings: The features, one row for each sample.
        labels: The class of each embedding, any whole number.
        margin: The gap between squared distances that is asked for, positive.
        mining: ``all`` triplets; ``hard``, for each anchor its farthest positive and
            its nearest negative; ``semi-hard``, for each pair a, p the nearest negative
            that is farther than p, or else the farthest.

    Returns:
        The loss, at least 0; 0 for a batch without triplets.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Schroff et al., FaceNet, 2015, eq. 3 and section 3.2; hard: Hermans et al., In
        defense of the triplet loss, 2017, eq. 5.
    """
    _check(margin, mining)
    squares = _pairwise_squares(embeddings)
    same = labels[:, None] == labels
    positive = same.clone().fill_diagonal_(False)
    num_negatives = (~same).sum(dim=1, keepdim=True)
    usable = positive & (num_negatives > 0)
    # The nearest negatives first; what is no negative stands at the end, as a 0 that
    # nothing looks up.
    order = squares.detach().masked_fill(same, torch.inf).sort(dim=1)
    negatives = squares.gather(1, order.indices).where(order.values.isfinite(), 0.0)
    if mining == "hard":
        farthest = squares.where(positive, 0.0).amax(dim=1)
        gaps = (farthest - negatives[:, 0] + margin).clamp_min(0)
        usable = usable.any(dim=1)
        return gaps.where(usable, 0.0).sum() / usable.sum().clamp_min(1)
    if mining == "semi-hard":
        place = torch.searchsorted(order.values, squares.detach(), right=True)
        place = place.minimum(num_negatives - 1).clamp_min(0)
        gaps = (squares - negatives.gather(1, place) + margin).clamp_min(0)
        return gaps.where(usable, 0.0).sum() / usable.sum().clamp_min(1)
    # The sum over the negatives below the bound d_ap + margin, as their number times
    # the bound less their prefix sum.
    bounds = squares + margin
    num_below = torch.searchsorted(order.values, bounds.detach())
    prefix = torch.nn.functional.pad(negatives.cumsum(dim=1), (1, 0))
    gaps = num_below * bounds - prefix.gather(1, num_below)
    num_triplets = (usable * num_negatives).sum()
    return gaps.where(usable, 0.0).sum() / num_triplets.clamp_min(1)


class Triplet(Head):
    """``triplet_loss`` of a batch with classmates.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes that the labels name.
        margin: The gap between squared distances that is asked for, positive.
        mining: ``all``, ``hard`` or ``semi-hard``, see ``triplet_loss``.
        normalised: Whether embeddings are scaled to length 1 first.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Schroff et al., FaceNet, 2015, eq. 3.
    """

    compares_classmates: ClassVar[bool] = True

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        margin: float = 0.2,
        mining: Mining = "semi-hard",
        normalised: bool = True,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        _check(margin, mining)
        self.margin = margin
        self.mining: Mining = mining
        self.normalised = normalised

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The triplet loss of the batch."""
        features = unit(embeddings) if self.normalised else embeddings
        return HeadOutput(triplet_loss(features, labels, self.margin, self.mining))


def _pairwise_squares(embeddings: Tensor) -> Tensor:
    """Squared distances, from differences: close neighbours keep their digits."""
    size = len(embeddings)
    squares = embeddings.new_zeros(size, size)
    if size == 1:
        return squares + (embeddings * 0).sum()
    first, second = torch.triu_indices(size, size, offset=1, device=embeddings.device)
    upper = squares.index_put((first, second), torch.pdist(embeddings).square())
    return upper + upper.T


def _check(margin: float, mining: Mining) -> None:
    if not 0 < margin < math.inf:
        raise ParameterError(f"margin must be positive, got {margin}")
    if mining not in ("all", "hard", "semi-hard"):
        raise ParameterError(f"mining must be all, hard or semi-hard, got {mining!r}")
