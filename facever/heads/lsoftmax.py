"""L-Softmax: the target's angle is multiplied."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.heads.annealing import PUBLISHED, Annealing
from facever.heads.base import HeadOutput
from facever.heads.classifying import ClassifyingHead
from facever.heads.multiple_angle import blend, check_multiple
from facever.heads.sharded_rows import ClassShards


class LSoftmax(ClassifyingHead):
    """Cross-entropy of ``W_j . f`` with the target's angle multiplied by ``margin``.

    The target's logit is ``|W_y| |f| (lambda cos(theta) + psi(theta)) / (1 + lambda)``;
    the others stay as softmax has them, so only this one is computed anew. lambda falls
    with the training batches seen, which the buffer ``step`` counts.

    Args:
        embedding_size: Dimensions of an embedding.
        num_classes: Classes, one row of ``weight`` each.
        shards: Which of them this process holds; None means all.
        margin: m, 1, 2, 3 or 4; 1 is softmax without bias.
        annealing: Of lambda.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Liu et al., Large-margin softmax loss, 2016, eq. 4 to 6 and section 4.2.
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
        logits, target, weight_norms = rows.linear_logits(embeddings)
        lengths = weight_norms * torch.linalg.vector_norm(embeddings, dim=1)
        constant = self.annealing.at(self.step)
        if self.training:
            self.step += 1
        target = blend(target, lengths, self.margin, constant)
        return rows.output(logits, target, {"lambda": constant})
