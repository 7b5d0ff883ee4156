"""Anchor NCM: a nearest class mean classifier whose means are fixed anchors."""

from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput
from facever.heads.parts.class_logits import cross_entropy, unit
from facever.heads.parts.distance_logits import distance_logits
from facever.heads.parts.fixed_anchors import AnchorKind, make_anchors


class AnchorNCM(Head):
    """Cross-entropy of ``-M(f, a_c)``, the distance to fixed unit vectors.

    Only the network learns: it brings each class to its anchor. The class of the
    nearest anchor has the largest logit.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, which have one anchor each.
        distance: The distance M: ``euclidean``, not squared (E-NCM), or ``cosine``, 1 -
            cosine (C-NCM).
        anchors: The kind of anchors, see ``make_anchors``.
        seed: Decides where spread anchors lie.

    Raises:
        ParameterError: If an option is unknown or the anchors do not allow this number
            of classes.

    References:
        Hao et al., Anchor-based nearest class mean loss, 2018, eq. 5 to 8.
    """

    allows_mixtures: ClassVar[bool] = True

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        anchors: AnchorKind = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if distance not in ("euclidean", "cosine"):
            raise ParameterError(
                f"distance must be euclidean or cosine, got {distance!r}"
            )
        self.distance = distance
        self.anchors: Tensor
        points = make_anchors(anchors, num_classes, embedding_size, seed)
        self.register_buffer("anchors", points)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch."""
        if self.distance == "cosine":
            logits = unit(embeddings) @ self.anchors.T - 1
        else:
            logits, _ = distance_logits(embeddings, self.anchors, labels)
        return HeadOutput(cross_entropy(logits, labels), logits.detach())

    def class_vectors(self) -> Float[Tensor, "classes dim"]:
        """The anchors."""
        return self.anchors

    def class_points(self) -> Float[Tensor, "classes dim"]:
        """The anchors."""
        return self.anchors
