"""SphereFace, A-Softmax: L-Softmax over class weights of length 1."""

import torch
from jaxtyping import Float
from torch import Tensor

from facever.heads.parts.class_logits import ClassRows
from facever.heads.parts.multiple_angle import MultipleAngleHead


class SphereFace(MultipleAngleHead):
    """Cross-entropy of ``|f| cos(theta_j)`` with the target's angle multiplied.

    The target's logit is ``|f| (lambda cos(theta) + psi(theta)) / (1 + lambda)``; with
    a margin of 1 it is softmax over weights of length 1. See ``MultipleAngleHead`` for
    the arguments.

    References:
        Liu et al., SphereFace, 2017, eq. 7; lambda as in its published training files.
    """

    def logits(
        self, rows: ClassRows, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """``W_j . f / |W_j|``; the own classes' alone; ``|f|``."""
        logits, target = rows.unit_weight_logits(embeddings)
        return logits, target, torch.linalg.vector_norm(embeddings, dim=1)
