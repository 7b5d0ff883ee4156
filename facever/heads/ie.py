"""Include-and-Exclude loss: near the own center, far from the nearest others."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput, at_least_float32
from facever.heads.parts.class_centers import CenterUpdate, ClassCenters

Denominator = Literal["eq6", "appendix"]
# Keeps a learned or measured sigma2 positive.
_SMALLEST_SIGMA2 = 1e-4


def ie_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    means: Float[Tensor, "batch dim"],
    sigma2: Float[Tensor, ""],
    alpha: float,
    nearest: int | float,
    denominator: Denominator = "appendix",
) -> Float[Tensor, ""]:
    """``mean(max(p + q, 0))`` over the batch.

    ``p = |f - mu_y|^2 / (2 sigma2) + alpha`` pulls to the own center and
    ``q = log sum exp(-|f - mu_c|^2 / (2 sigma2 k))`` pushes from the Q nearest centers
    c != y among the classes of the batch. Centers and sigma2 count as independent
    variables. A batch of one class has no negatives, and Q = 0 asks for none: the loss
    is 0, which leaves softmax alone.

    Args:
        embeddings: The features f, one row for each sample.
        labels: The class of each sample, in [0, classes).
        means: The center mu_y of each embedding's class.
        sigma2: The variance of embeddings around their centers, positive.
        alpha: The margin between pull and push, at least 0.
        nearest: Q, the negatives kept: a count (int) or a share of the batch's other
            classes (float in [0, 1], rounded, at least one unless it is 0).
        denominator: k = 1 as in eq. 6, or k = Q as in appendix A.1 and the gradients
            (8) to (10), which are the ones that the paper ran.

    Returns:
        The loss, at least 0.

    References:
        Wu et al., Exponential discriminative metric embedding, 2018, eq. 6.
    """
    if nearest == 0:
        return (at_least_float32(embeddings) * 0).sum()
    features = at_least_float32(embeddings)
    means = at_least_float32(means)
    # Direct differences for the own center keep their digits where f is close to mu_y;
    # the expanded product is good enough for the far ones, and one matrix product.
    own_squares = (features - means).square().sum(dim=1)
    squares = (
        features.square().sum(dim=1)[:, None]
        - 2 * features @ means.T
        + means.square().sum(dim=1)
    ).clamp_min(0)
    # One column for each class: where it first appears. No shape depends on the values,
    # so nothing waits for a device and torch.compile sees one graph.
    same = labels[:, None] == labels
    first = ~same.tril(diagonal=-1).any(dim=1)
    squares = squares.masked_fill(same | ~first, torch.inf).sort(dim=1).values
    num_others = first.sum() - 1
    if isinstance(nearest, float):
        num_nearest = (nearest * num_others.double()).round().clamp_min(1).long()
    else:
        num_nearest = torch.full_like(num_others, nearest)
    num_nearest = num_nearest.minimum(num_others)
    kept = torch.arange(len(labels), device=labels.device) < num_nearest
    k = num_nearest.clamp_min(1) if denominator == "appendix" else 1
    positive = own_squares / (2 * sigma2) + alpha
    # Infinity goes in after sigma2, whose gradient it would turn into NaN, and not at
    # all in a batch of one class, which is multiplied by 0.
    exponents = -squares.where(kept, 0.0) / (2 * sigma2 * k)
    exponents = exponents.masked_fill(~kept & (num_others > 0), -torch.inf)
    exclusion = torch.logsumexp(exponents, dim=1)
    return (positive + exclusion).clamp_min(0).mean() * (num_others > 0)


class IncludeExclude(Head):
    """IE loss, with a center a class and the variance around the centers.

    Meant beside softmax: ``softmax + weight * ie``, weight 0.05 on faces.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, which have one center each.
        alpha: The margin between pull and push, at least 0.
        nearest: Q: a count >= 0 (int) or a share in [0, 1] (float) of the batch's other
            classes. The paper takes 0.2 for faces and all (1.0) for objects; with 0 the
            loss is 0, softmax alone.
        sigma2: ``learned`` (its logarithm is the parameter, so it stays positive; it
            starts at ``embedding_size``, which is |f|^2 behind a batch normalisation:
            from a start far below, IE outweighs softmax at first and pulls everything
            to the origin, where the centers start),
            ``batch`` (the mean squared distance of the batch to its centers, below
            eq. 5, without gradient), or a fixed positive number.
        denominator: The factor k of the loss, ``appendix`` or ``eq6``, see ``ie_loss``.
        update: ``gradient`` leaves the centers to the optimiser (Algorithm 1): the
            gradient (9) is divided by the batch and by sigma2, so they creep.
            ``wen`` lets them follow the batches by Wen et al.'s rule, after the loss.
        rate: The rate of Wen's rule, in (0, 1].

    Raises:
        ParameterError: If an option is out of range.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        alpha: float = 0.1,
        nearest: int | float = 0.2,
        sigma2: Literal["learned", "batch"] | float = "learned",
        denominator: Denominator = "appendix",
        update: CenterUpdate = "gradient",
        rate: float = 0.5,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if not alpha >= 0:
            raise ParameterError(f"alpha must be >= 0, got {alpha}")
        if not (nearest >= 0 if isinstance(nearest, int) else 0 <= nearest <= 1):
            raise ParameterError(
                "nearest must be a count >= 0 or a share in [0, 1] of the other "
                f"classes, got {nearest}"
            )
        if not (
            sigma2 in ("learned", "batch")
            or (isinstance(sigma2, int | float) and sigma2 > 0)
        ):
            raise ParameterError(
                f"sigma2 must be learned, batch or a positive number, got {sigma2!r}"
            )
        if denominator not in ("appendix", "eq6"):
            raise ParameterError(
                f"denominator must be appendix or eq6, got {denominator!r}"
            )
        self.alpha = alpha
        self.nearest = nearest
        self.sigma2 = sigma2
        self.denominator: Denominator = denominator
        self.centers = ClassCenters(num_classes, embedding_size, update, rate)
        self.log_sigma2 = (
            nn.Parameter(torch.tensor(float(embedding_size)).log())
            if sigma2 == "learned"
            else None
        )

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The IE loss of the batch; the part ``sigma2`` shows the variance used."""
        means = self.centers(labels)
        variance = self._variance(embeddings, means)
        loss = ie_loss(
            embeddings,
            labels,
            means,
            variance,
            self.alpha,
            self.nearest,
            self.denominator,
        )
        self.centers.follow(embeddings, labels)
        return HeadOutput(loss, parts={"sigma2": variance.detach()})

    def class_points(self) -> Float[Tensor, "classes dim"]:
        """The centers."""
        return self.centers.vectors.detach()

    def plain_parameters(self) -> list[nn.Parameter]:
        """The centers, where the optimiser moves them."""
        return list(self.centers.parameters())

    def moving_rows(self) -> list[Tensor]:
        """The centers, where Wen's rule moves them."""
        return list(self.centers.buffers())

    def _variance(self, embeddings: Tensor, means: Tensor) -> Tensor:
        if self.log_sigma2 is not None:
            return self.log_sigma2.exp().clamp_min(_SMALLEST_SIGMA2)
        if self.sigma2 == "batch":
            squares = (embeddings - means).detach().square().sum()
            return (squares / max(1, len(means) - 1)).clamp_min(_SMALLEST_SIGMA2)
        return means.new_tensor(float(self.sigma2))
