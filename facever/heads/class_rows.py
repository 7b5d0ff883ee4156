"""The class vectors of a head, as one batch meets them."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from facever.heads.base import HeadOutput
from facever.heads.classifier import cross_entropy, linear_logits, unit_weight_logits


class ClassRows:
    """Logits and loss over all classes, held by this process.

    ``ShardedRows`` has the same methods over classes that several processes share, so
    a head writes its margin once. ``classes`` below are those held here; ``labels`` and
    what has one value a sample are of the whole batch.

    Attributes:
        weight: One vector a class held here.
        bias: One value a class held here, or None.
        labels: Row of ``weight`` for each sample of the batch.
    """

    def __init__(
        self,
        weight: Float[Tensor, "classes dim"],
        bias: Float[Tensor, " classes"] | None,
        labels: Int[Tensor, " batch"],
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.labels = labels

    def affine_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch classes"]:
        """``W_j . f + b_j``."""
        return linear(embeddings, self.weight, self.bias)

    def linear_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """``W_j . f``; the own classes' alone; ``|W_y|``."""
        return linear_logits(embeddings, self.weight, self.labels)

    def unit_weight_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, " batch"]]:
        """``W_j . f / |W_j|``; the own classes' alone."""
        return unit_weight_logits(embeddings, self.weight, self.labels)

    def output(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, " batch"] | None = None,
        parts: dict[str, Float[Tensor, ""]] | None = None,
    ) -> HeadOutput:
        """The mean cross-entropy over the batch.

        Args:
            logits: Without a margin.
            target: Replaces the own classes' logits, where there is a margin.
            parts: To log.
        """
        loss = cross_entropy(logits, self.labels, target)
        return HeadOutput(loss, logits.detach(), parts or {})
