"""L-Softmax: the target's angle is multiplied."""

import torch
from jaxtyping import Float
from torch import Tensor

from facever.heads.parts.class_logits import ClassRows
from facever.heads.parts.multiple_angle import MultipleAngleHead


class LSoftmax(MultipleAngleHead):
    """Cross-entropy of ``W_j . f`` with the target's angle multiplied by ``margin``.

    The target's logit is ``|W_y| |f| (lambda cos(theta) + psi(theta)) / (1 + lambda)``;
    with a margin of 1 it is softmax without bias. See ``MultipleAngleHead`` for the
    arguments.

    References:
        Liu et al., Large-margin softmax loss, 2016, eq. 4 to 6 and section 4.2.
    """

    def logits(
        self, rows: ClassRows, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """``W_j . f``; the own classes' alone; ``|W_y| |f|``."""
        logits, target, weight_norms = rows.linear_logits(embeddings)
        lengths = weight_norms * torch.linalg.vector_norm(embeddings, dim=1)
        return logits, target, lengths
