"""The centers that center loss and IE loss hold, one a class."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from facever.errors import ParameterError
from facever.heads.base import at_least_float32

CenterUpdate = Literal["wen", "gradient"]


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
        embeddings: The features f, one row for each sample.
        labels: The class of each sample, in [0, classes).
        centers: The center of every class, changed in place.
        rate: The share of the way that a center moves, in (0, 1].

    References:
        Wen et al., 2016, eq. 4.
    """
    counts = torch.bincount(labels, minlength=len(centers))[labels]
    offsets = at_least_float32(embeddings) - centers[labels]
    steps = rate * offsets / (1 + counts)[:, None]
    centers.index_add_(0, labels, steps)


class ClassCenters(nn.Module):
    """One center a class, at the origin to begin with.

    Args:
        num_classes: Number of classes, which have one center each.
        embedding_size: Number of dimensions of a center.
        update: ``wen`` moves the centers by Wen et al.'s rule after each batch in
            training. ``gradient`` makes them a parameter whose gradient is sparse: it
            holds the rows of the batch's classes, so that neither time nor memory
            grows with the classes. The optimiser takes it by plain gradient descent,
            without momentum (see ``parameter_groups``).
        rate: The rate of Wen's rule, in (0, 1].

    Raises:
        ParameterError: If an option is out of range.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, update: CenterUpdate, rate: float
    ) -> None:
        super().__init__()
        if update not in ("wen", "gradient"):
            raise ParameterError(f"update must be wen or gradient, got {update!r}")
        if not 0 < rate <= 1:
            raise ParameterError(f"rate must be in (0, 1], got {rate}")
        self.update = update
        self.rate = rate
        self.vectors: Tensor
        vectors = torch.zeros(num_classes, embedding_size)
        if update == "gradient":
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)

    def forward(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """The center of each label's class.

        Wen's rule moves the centers in place, so what it gives is a copy.
        """
        return embedding(labels, self.vectors, sparse=self.update == "gradient")

    def follow(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> None:
        """After the loss of a batch in training: Wen's rule, where it was chosen."""
        if self.training and self.update == "wen":
            move_centers(embeddings, labels, self.vectors, self.rate)
