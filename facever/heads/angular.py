"""Angular loss: the classifier's output is the angle itself."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.class_logits import unit
from facever.heads.parts.classifying_head import ClassifyingHead
from facever.heads.parts.sharded_rows import ClassShards

# Bounds the slope 1 / sin(theta) of the angle near 0 and pi.
_SMALLEST_SINE = 1e-3


def angular_logits(
    cosine: Float[Tensor, "batch classes"], scale: float
) -> Float[Tensor, "batch classes"]:
    """``-scale * theta``, theta the angle of a cosine.

    Args:
        cosine: Cosine of embedding and class weight; what rounding puts outside of
            [-1, 1] counts as the end.
        scale: The paper's constant k, above 3.

    Returns:
        Logits for cross-entropy, in [-scale pi, 0].

    Raises:
        ParameterError: If the scale is out of range.

    References:
        Angular loss, arXiv 1912.07819, eq. 7 and 11.
    """
    _check(scale)
    return -scale * cosine.clamp(-1, 1).acos()


class Angular(ClassifyingHead):
    """Cross-entropy of ``angular_logits`` over class weights.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        shards: The classes that this process holds; None means all.
        scale: The paper's constant k, above 3: larger is more compact.

    Raises:
        ParameterError: If the scale is out of range.

    References:
        Angular loss, arXiv 1912.07819, eq. 7 and 11.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        scale: float = 10.0,
    ) -> None:
        super().__init__(embedding_size, num_classes, shards)
        _check(scale)
        self.scale = scale

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch."""
        rows = self.rows(labels)
        logits, _ = rows.unit_weight_logits(unit(embeddings), _ScaledAngle(self.scale))
        return rows.output(logits)


@dataclass(frozen=True)
class _ScaledAngle:
    """The logits as a curve over cosines.

    Their slope, scale / sin(theta), is infinite at cosine +1 and -1: there sin(theta)
    counts as 0.001. As a function of the angle the gradient is constant.
    """

    scale: float

    def values(self, cosine: Tensor) -> Tensor:
        return angular_logits(cosine, self.scale)

    def slopes(self, cosine: Tensor) -> Tensor:
        squared_sine = torch.rsub(cosine.square(), 1).clamp_min_(_SMALLEST_SINE**2)
        return squared_sine.rsqrt_().mul_(self.scale)


def _check(scale: float) -> None:
    if not 3 < scale < math.inf:
        raise ParameterError(f"scale must be > 3, got {scale}")
