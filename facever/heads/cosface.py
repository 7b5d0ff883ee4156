"""CosFace: an additive cosine margin on the target class."""

import math

from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.class_logits import unit
from facever.heads.parts.classifying_head import ClassifyingHead
from facever.heads.parts.sharded_rows import ClassShards


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
        labels: The class of each sample, in [0, classes).
        margin: The margin on the cosine, in [0, 2].
        scale: The factor on the cosines, positive.

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


class CosFace(ClassifyingHead):
    """Cross-entropy of ``cosface_logits`` over normalised class weights.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        shards: The classes that this process holds; None means all.
        margin: The margin on the cosine, in [0, 2].
        scale: The factor on the cosines, positive.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Wang et al., CosFace, 2018, eq. 4.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        margin: float = 0.35,
        scale: float = 64.0,
    ) -> None:
        super().__init__(embedding_size, num_classes, shards)
        _check(margin, scale)
        self.margin = margin
        self.scale = scale

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin."""
        rows = self.rows(labels)
        logits, target = rows.unit_weight_logits(self.scale * unit(embeddings))
        return rows.output(logits, target - self.scale * self.margin)


def _check(margin: float, scale: float) -> None:
    if not 0 <= margin <= 2:
        raise ParameterError(f"margin must be in [0, 2], got {margin}")
    if not 0 < scale < math.inf:
        raise ParameterError(f"scale must be positive, got {scale}")
