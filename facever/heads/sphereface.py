"""SphereFace, A-Softmax: L-Softmax over class weights of length 1."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.heads.annealing import PUBLISHED, Annealing
from facever.heads.base import HeadOutput
from facever.heads.classifying import ClassifyingHead
from facever.heads.multiple_angle import blend, check_multiple
from facever.heads.sharded_rows import ClassShards


class SphereFace(ClassifyingHead):
    """Cross-entropy of ``|f| cos(theta_j)`` with the target's angle multiplied.

    The target's logit is ``|f| (lambda cos(theta) + psi(theta)) / (1 + lambda)``, and
    lambda falls with the training batches seen, which the buffer ``step`` counts.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        shards: Which of them this process holds; None means all.
        margin: m, 1, 2, 3 or 4; 1 is softmax over weights of length 1.
        annealing: Of lambda.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Liu et al., SphereFace, 2017, eq. 7; lambda as in its published training files.
    """

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

    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """Mean cross-entropy over the batch; the logits shown carry no margin.

        The part ``lambda`` is the constant used.
        """
        rows = self.rows(labels)
        logits, target = rows.unit_weight_logits(embeddings)
        lengths = torch.linalg.vector_norm(embeddings, dim=1)
        constant = self.annealing.at(self.step)
        if self.training:
            self.step += 1
        target = blend(target, lengths, self.margin, constant)
        return rows.output(logits, target, {"lambda": constant})
