"""Distillation: an embedding is pulled to the one that a teacher gave the same crop."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import DataError, ParameterError
from facever.heads.base import Head, HeadOutput, at_least_float32, check_batch
from facever.heads.parts.class_logits import unit

TeacherDistance = Literal["cosine", "squared"]


def distillation_loss(
    embeddings: Float[Tensor, "batch dim"],
    teacher: Float[Tensor, "batch dim"],
    distance: TeacherDistance = "cosine",
) -> Float[Tensor, ""]:
    """The mean distance of embeddings to their teacher's.

    ``cosine`` is ``1 - cos(f, t)``, which the length of f does not change; ``squared``
    is ``|f - t / |t||^2``, which wants f at length 1, too.

    Args:
        embeddings: The features f, one row for each crop.
        teacher: The teacher's embedding t of each crop, not zero.
        distance: How far a feature is from its teacher's.

    Returns:
        The loss, at least 0; at most 2 for ``cosine``.

    References:
        Hinton et al., Distilling the knowledge in a neural network, 2015, for the idea;
        Romero et al., FitNets, 2015, eq. 3, for features in the place of classes.

    >>> crops, teacher = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    >>> round(float(distillation_loss(crops, teacher)), 6)
    0.2
    """
    features, targets = at_least_float32(embeddings), unit(at_least_float32(teacher))
    if distance == "cosine":
        return 1 - (unit(features) * targets).sum(dim=1).mean()
    return (features - targets).square().sum(dim=1).mean()


class Distillation(Head):
    """``distillation_loss`` to a teacher's embeddings, in which labels have no part.

    A student with as many dimensions as the teacher learns the very embeddings of the
    teacher. For another number a linear map from its own to the teacher's is learned
    beside it, and is no part of the model.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes that the labels name.
        teacher_size: Number of dimensions of the teacher's embeddings.
        distance: ``cosine`` or ``squared``, see ``distillation_loss``.

    Raises:
        ParameterError: If ``teacher_size`` is below 1 or the distance is unknown.
    """

    has_teacher: ClassVar[bool] = True

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        teacher_size: int,
        *,
        distance: TeacherDistance = "cosine",
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if teacher_size < 1:
            raise ParameterError(f"teacher_size must be >= 1, got {teacher_size}")
        if distance not in ("cosine", "squared"):
            raise ParameterError(
                f"distance must be cosine or squared, got {distance!r}"
            )
        self.teacher_size = teacher_size
        self.distance: TeacherDistance = distance
        self.projection = (
            nn.Identity()
            if teacher_size == embedding_size
            else nn.Linear(embedding_size, teacher_size, bias=False)
        )

    def forward(
        self,
        embeddings: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        teacher: Float[Tensor, "batch teacher_dim"] | None = None,
    ) -> HeadOutput:
        """The loss of a batch, computed in float32 even under autocast.

        Args:
            embeddings: The embeddings as the network gives them.
            labels: The class of each embedding, which decides nothing.
            teacher: The teacher's embedding of each crop.

        Returns:
            The loss; its part ``cosine`` is the mean cosine to the teacher's.

        Raises:
            DataError: If the batch does not fit, or the teacher's embeddings are
                missing or of another size.
        """
        check_batch(embeddings, labels, self.embedding_size, self.num_classes)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(at_least_float32(embeddings), labels, teacher)

    def compute(
        self,
        embeddings: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        teacher: Float[Tensor, "batch teacher_dim"] | None = None,
    ) -> HeadOutput:
        """The mean distance to the teacher's embeddings."""
        expected = (len(embeddings), self.teacher_size)
        if teacher is None or teacher.shape != expected:
            got = "none" if teacher is None else str(list(teacher.shape))
            raise DataError(
                f"the teacher's embeddings must be {list(expected)}, got {got}"
            )
        features = self.projection(embeddings)
        loss = distillation_loss(features, teacher, self.distance)
        cosine = 1 - distillation_loss(features.detach(), teacher)
        return HeadOutput(loss, parts={"cosine": cosine})
