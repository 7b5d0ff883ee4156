"""Center loss: half the mean squared distance to the class center."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.heads.base import Head, HeadOutput, at_least_float32
from facever.heads.parts.class_centers import CenterUpdate, ClassCenters


def center_loss(
    embeddings: Float[Tensor, "batch dim"], means: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """``1/2 mean |f - c_y|^2`` over the batch.

    Args:
        embeddings: The features f, one row for each sample.
        means: The center c_y of each embedding's class.

    Returns:
        The loss, at least 0.

    References:
        Wen et al., A discriminative feature learning approach, 2016, eq. 2, with the
        batch mean of Wu et al. 2018, eq. 4.
    """
    offsets = at_least_float32(embeddings) - means
    return offsets.square().sum(dim=1).mean() / 2


class Center(Head):
    """Center loss with centers that follow the batches.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one center, at the origin at first.
        update: How the centers move, ``wen`` or ``gradient``, see ``ClassCenters``.
        rate: The rate of Wen's rule, in (0, 1].

    Raises:
        ParameterError: If an option is out of range.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        update: CenterUpdate = "wen",
        rate: float = 0.5,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        self.centers = ClassCenters(num_classes, embedding_size, update, rate)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The center loss; in training, Wen's rule then moves the centers."""
        loss = center_loss(embeddings, self.centers(labels))
        self.centers.follow(embeddings, labels)
        return HeadOutput(loss)

    def class_points(self) -> Float[Tensor, "classes dim"]:
        """The centers."""
        return self.centers.vectors.detach()

    def plain_parameters(self) -> list[nn.Parameter]:
        """The centers, where the optimiser moves them."""
        return list(self.centers.parameters())

    def moving_rows(self) -> list[Tensor]:
        """The centers, where Wen's rule moves them."""
        return list(self.centers.buffers())
