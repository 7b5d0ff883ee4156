"""What L-Softmax and SphereFace share: the target's angle is multiplied."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.annealing import PUBLISHED, Annealing
from facever.heads.parts.class_logits import ClassRows, inverse
from facever.heads.parts.classifying_head import ClassifyingHead
from facever.heads.parts.sharded_rows import ClassShards


class MultipleAngleHead(ClassifyingHead):
    """Cross-entropy with the target's angle multiplied by ``margin``.

    The target's logit is ``length (lambda cos(theta) + psi(theta)) / (1 + lambda)``;
    the others stay as they are, so only this one is computed again. lambda falls with
    the training batches seen, which the buffer ``step`` counts.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes, each with one row of ``weight``.
        shards: The classes that this process holds; None means all.
        margin: The margin m, which is 1, 2, 3 or 4; with 1 the target stays as it is.
        annealing: How lambda falls.

    Raises:
        ParameterError: If an option is out of range.
    """

    allows_mixtures: ClassVar[bool] = False  # lambda falls with the batches.

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        margin: int = 4,
        annealing: Annealing = PUBLISHED,
    ) -> None:
        super().__init__(embedding_size, num_classes, shards)
        check_multiple(margin)
        self.margin = margin
        self.annealing = annealing
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def logits(
        self, rows: ClassRows, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """All logits; the own classes'; the lengths that these have beside a cosine."""

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin.

        The part ``lambda`` is the constant used.
        """
        rows = self.rows(labels)
        logits, target, lengths = self.logits(rows, embeddings)
        constant = self.annealing.at(self.step)
        if self.training:
            self.step += 1
        target = blend(target, lengths, self.margin, constant)
        return rows.output(logits, target, {"lambda": constant})


def psi(cosine: Float[Tensor, "*shape"], margin: int) -> Float[Tensor, "*shape"]:
    """``(-1)^k cos(m theta) - 2 k`` for theta in ``[k pi / m, (k + 1) pi / m]``.

    cos(m theta) is a polynomial of cos(theta) (Chebyshev's), and k counts the bounds
    ``cos(i pi / m)`` that the cosine has passed, so no arccos is taken and the gradient
    is finite everywhere: at most m^2, at cosine +1 and -1.

    Args:
        cosine: The cosine of theta, in [-1, 1].
        margin: The margin m, which is 1, 2, 3 or 4; with 1 the cosine stays as it is.

    Returns:
        Falls from 1 at theta = 0 to 1 - 2 m at pi, without a jump.

    Raises:
        ParameterError: If the margin is not 1, 2, 3 or 4.

    References:
        Liu et al., Large-margin softmax loss, 2016, eq. 5 and 6.
    """
    check_multiple(margin)
    if margin == 1:
        return cosine
    square = cosine * cosine
    if margin == 2:
        multiple = 2 * square - 1
    elif margin == 3:
        multiple = cosine * (4 * square - 3)
    else:
        multiple = 8 * square * (square - 1) + 1
    passed = sum(
        (cosine <= math.cos(i * math.pi / margin)).to(cosine.dtype)
        for i in range(1, margin)
    )
    return (1 - 2 * (passed % 2)) * multiple - 2 * passed


def blend(
    target: Float[Tensor, " batch"],
    lengths: Float[Tensor, " batch"],
    margin: int,
    constant: Float[Tensor, ""],
) -> Float[Tensor, " batch"]:
    """``lengths * (lambda cos(theta) + psi(theta)) / (1 + lambda)``.

    Args:
        target: The own class's logit, ``lengths * cos(theta)``.
        lengths: The products ``|W_y| |f|``; where one is 0 the logit stays 0, without
            gradient.
        margin: The margin m, which is 1, 2, 3 or 4.
        constant: The constant lambda, at least 0; the larger it is, the nearer the loss
            is to softmax.

    Returns:
        The target's logit with the margin.
    """
    cosine = (target * inverse(lengths)).clamp(-1, 1)
    return (constant * target + lengths * psi(cosine, margin)) / (1 + constant)


def check_multiple(margin: int) -> None:
    """Refuse a margin that psi is not defined for.

    Raises:
        ParameterError: If the margin is not 1, 2, 3 or 4.
    """
    if margin not in (1, 2, 3, 4):
        raise ParameterError(f"margin must be 1, 2, 3 or 4, got {margin}")
