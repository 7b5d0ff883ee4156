"""ArcFace: an additive angular margin on the target class."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from facever.errors import ParameterError
from facever.heads.base import Head, HeadOutput, at_least_float32

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
    Past theta_y = pi - margin, where cos(theta_y + margin) would rise again, the target
    goes on falling as cos(theta_y) - 1 + cos(margin), which meets the curve there, so
    that it is continuous and falls with theta_y over all of [0, pi].

    The cosine of the sum is expanded, cos(theta + m) = cos(theta) cos(m) -
    sin(theta) sin(m), so no arccos is taken; sin(theta) is kept away from 0, where its
    slope is infinite, which bounds the gradient at cosine +1 and -1.

    Args:
        cosine: Cosine of embedding and class weight, in [-1, 1].
        labels: Class index in [0, classes).
        margin: Radians, in [0, pi/2).
        scale: Positive.
        gradient: ``exact``, or ``detached``: the gradient of a widely used
            implementation that takes arccos and cos without recording them, which is
            the true target gradient times sin(theta) / sin(theta + margin).

    Returns:
        Logits for cross-entropy.

    Raises:
        ParameterError: If margin or scale is out of range.

    References:
        Deng et al., ArcFace, 2019, eq. 3.
    """
    if not 0 <= margin < math.pi / 2:
        raise ParameterError(f"margin must be in [0, pi/2) radians, got {margin}")
    if not scale > 0:
        raise ParameterError(f"scale must be positive, got {scale}")
    target = cosine.gather(1, labels[:, None])
    source = target.detach() if gradient == "detached" else target
    # 1 - cosine^2 as a product keeps its digits near +1 and -1.
    sine = ((1 - source) * (1 + source)).clamp_min(1e-7).sqrt()
    shifted = source * math.cos(margin) - sine * math.sin(margin)
    beyond = source - 1 + math.cos(margin)
    shifted = torch.where(source > -math.cos(margin), shifted, beyond)
    if gradient == "detached":
        shifted = target + (shifted - source)
    return scale * cosine.scatter(1, labels[:, None], shifted)


class ArcFace(Head):
    """Cross-entropy of ``arcface_logits`` over normalised class weights.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        margin: Radians, in [0, pi/2).
        scale: Positive.
        gradient: ``exact`` or ``detached``, see ``arcface_logits``.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Deng et al., ArcFace, 2019, eq. 3.
    """

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        *,
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(embedding_size, num_classes)
        if not 0 <= margin < math.pi / 2:
            raise ParameterError(f"margin must be in [0, pi/2) radians, got {margin}")
        if not scale > 0:
            raise ParameterError(f"scale must be positive, got {scale}")
        if gradient not in ("exact", "detached"):
            raise ParameterError(
                f"gradient must be exact or detached, got {gradient!r}"
            )
        self.margin = margin
        self.scale = scale
        self.gradient: Gradient = gradient
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.xavier_normal_(self.weight)

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin."""
        cosine = linear(normalize(embeddings), normalize(self.weight))
        cosine = at_least_float32(cosine).clamp(-1, 1)
        logits = arcface_logits(cosine, labels, self.margin, self.scale, self.gradient)
        return HeadOutput(cross_entropy(logits, labels), self.scale * cosine.detach())
