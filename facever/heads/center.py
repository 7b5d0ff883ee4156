"""Center loss: half the mean squared distance to the class center."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput, at_least_float32


def center_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centers: Float[Tensor, "classes dim"],
) -> Float[Tensor, ""]:
    """``1/2 mean |f - c_y|^2`` over the batch.

    Args:
        embeddings: The features f.
        labels: Class index in [0, classes).
        centers: One center a class.

    Returns:
        The loss, at least 0.

    References:
        Wen et al., A discriminative feature learning approach, 2016, eq. 2, with the
        batch mean of Wu et al. 2018, eq. 4.
    """
    offsets = at_least_float32(embeddings) - centers[labels]
    return offsets.square().sum(dim=1).mean() / 2


@torch.no_grad()
def move_centers(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centers: Float[Tensor, "classes dim"],
    rate: float,
) -> None:
    """Move the centers, in place, towards the embeddings of their class.

    ``c_j -= rate * sum_{y_i = j} (c_j - f_i) / (1 + n_j)``, n_j the number of samples
    of class j in the batch; centers of absent classes stay.

    Args:
        embeddings: The features f.
        labels: Class index in [0, classes).
        centers: Changed in place.
        rate: In (0, 1].

    References:
        Wen et al., 2016, eq. 4.
    """
    counts = torch.bincount(labels, minlength=len(centers))[labels]
    offsets = at_least_float32(embeddings) - centers[labels]
    steps = rate * offsets / (1 + counts)[:, None]
    centers.index_add_(0, labels, steps)


class Center(Head):
    """Center loss with centers that follow the batches.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: One center each, at the origin to begin with.
        update: ``wen`` moves the centers by Wen et al.'s rule after each batch in
            training; ``gradient`` makes them parameters of the optimiser.
        rate: Of Wen's rule, in (0, 1].

    Raises:
        ParameterError: If an option is out of range.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        update: Literal["wen", "gradient"] = "wen",
        rate: float = 0.5,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if update not in ("wen", "gradient"):
            raise ParameterError(f"update must be wen or gradient, got {update!r}")
        if not 0 < rate <= 1:
            raise ParameterError(f"rate must be in (0, 1], got {rate}")
        self.update = update
        self.rate = rate
        self.centers: Tensor
        centers = torch.zeros(num_classes, embedding_size)
        if update == "gradient":
            self.centers = nn.Parameter(centers)
        else:
            self.register_buffer("centers", centers)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The center loss; in training, Wen's rule then moves the centers."""
        loss = center_loss(embeddings, labels, self.centers)
        if self.training and self.update == "wen":
            move_centers(embeddings, labels, self.centers, self.rate)
        return HeadOutput(loss)
