"""ArcFace: an additive angular margin on the target class."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.class_logits import unit
from facever.heads.parts.classifying_head import ClassifyingHead
from facever.heads.parts.sharded_rows import ClassShards

Gradient = Literal["exact", "detached"]


def arcface_logits(
    cosine: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    margin: float,
    scale: float,
    gradient: Gradient = "exact",
) -> Float[Tensor, "batch classes"]:
    """Logits with an additive angular margin on the target class.

    scale * cos(theta_y + margin) for the target, scale * cos(theta_j) for the others.

    Args:
        cosine: Cosine of embedding and class weight, in [-1, 1].
        labels: The class of each sample, in [0, classes).
        margin: The margin on the angle in radians, in [0, pi/2).
        scale: The factor on the cosines, positive.
        gradient: The gradient of the margin, ``exact`` or ``detached``, see
            ``add_angle``.

    Returns:
        Logits for cross-entropy.

    Raises:
        ParameterError: If margin or scale is out of range.

    References:
        Deng et al., ArcFace, 2019, eq. 3.
    """
    _check(margin, scale, gradient)
    own = labels[:, None]
    target = add_angle(cosine.gather(1, own), margin, gradient)
    return scale * cosine.scatter(1, own, target)


def add_angle(
    target: Float[Tensor, "*shape"], margin: float, gradient: Gradient
) -> Float[Tensor, "*shape"]:
    """``cos(theta + margin)`` of ``cos(theta)``, made to fall over all of [0, pi].

    Past theta = pi - margin, where it would rise again, it goes on falling as
    cos(theta) - 1 + cos(margin), which meets the curve there.

    The cosine of the sum is expanded, cos(theta) cos(m) - sin(theta) sin(m), so no
    arccos is taken; sin(theta) is kept away from 0, where its slope is infinite, which
    bounds the gradient at cosine +1 and -1.

    Args:
        target: Cosine of an embedding and its own class, in [-1, 1].
        margin: The margin on the angle in radians, in [0, pi/2).
        gradient: ``exact``, or ``detached``: the gradient of a widely used
            implementation that takes arccos and cos without recording them, which is
            the true one times sin(theta) / sin(theta + margin).

    Returns:
        The target with the margin, in [-2, 1].
    """
    source = target.detach() if gradient == "detached" else target
    # 1 - cosine^2 as a product keeps its digits near +1 and -1.
    sine = ((1 - source) * (1 + source)).clamp_min(1e-7).sqrt()
    shifted = source * math.cos(margin) - sine * math.sin(margin)
    beyond = source - 1 + math.cos(margin)
    shifted = torch.where(source > -math.cos(margin), shifted, beyond)
    return target + (shifted - source) if gradient == "detached" else shifted


class ArcFace(ClassifyingHead):
    """Cross-entropy of ``arcface_logits`` over normalised class weights.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        shards: The classes that this process holds; None means all.
        margin: The margin on the angle in radians, in [0, pi/2).
        scale: The factor on the cosines, positive.
        gradient: The gradient of the margin, ``exact`` or ``detached``, see
            ``add_angle``.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Deng et al., ArcFace, 2019, eq. 3.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(embedding_size, num_classes, shards)
        _check(margin, scale, gradient)
        self.margin = margin
        self.scale = scale
        self.gradient: Gradient = gradient

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin."""
        rows = self.rows(labels)
        logits, target = rows.unit_weight_logits(self.scale * unit(embeddings))
        cosine = (target / self.scale).clamp(-1, 1)
        target = self.scale * add_angle(cosine, self.margin, self.gradient)
        return rows.output(logits, target)


def _check(margin: float, scale: float, gradient: Gradient) -> None:
    if not 0 <= margin < math.pi / 2:
        raise ParameterError(f"margin must be in [0, pi/2) radians, got {margin}")
    if not 0 < scale < math.inf:
        raise ParameterError(f"scale must be positive, got {scale}")
    if gradient not in ("exact", "detached"):
        raise ParameterError(f"gradient must be exact or detached, got {gradient!r}")
