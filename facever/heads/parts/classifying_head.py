"""What all heads with a learned vector for each class are built on."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.heads.base import Head
from facever.heads.parts.class_logits import ClassRows
from facever.heads.parts.sharded_rows import ClassShards, ShardedRows

_ROWS_AT_ONCE = 4096


class ClassifyingHead(Head):
    """Cross-entropy over class vectors, which several processes may share.

    Args:
        embedding_size: Number of dimensions of an embedding.
        num_classes: Number of classes that all processes hold together.
        shards: The classes that this process holds; None means all.
        bias: Whether each class has a bias.

    Attributes:
        weight: The class vectors, one row for each class held here.
        bias: The biases, one value for each class held here, or None.
    """

    shares_classes: ClassVar[bool] = True
    allows_mixtures: ClassVar[bool] = True

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        shards: ClassShards | None = None,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__(embedding_size, num_classes)
        self.shards = shards
        held = self.held_classes()
        self.weight = nn.Parameter(draw_weight_rows(num_classes, embedding_size, held))
        self.bias = nn.Parameter(torch.zeros(len(held))) if bias else None
        self.draws: Tensor
        if self._draws_classes:
            self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def rows(self, labels: Int[Tensor, " batch"]) -> ClassRows:
        """The class vectors for a batch; in training, drawn where the shards say so."""
        if self.shards is None:
            return ClassRows(self.weight, self.bias, labels)
        draw = None
        if self._draws_classes and self.training:
            draw = int(self.draws)
            self.draws += 1
        return ShardedRows(
            self.weight, self.bias, labels, self.shards, self.num_classes, draw
        )

    def class_vectors(self) -> Float[Tensor, "classes dim"]:
        """The weights, of the classes that this process holds."""
        return self.weight.detach()

    def sliced_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters, where the processes share the classes."""
        return {} if self.shards is None else dict(self.named_parameters())

    def held_classes(self, rank: int | None = None) -> range:
        """The classes whose rows a process holds."""
        if self.shards is None:
            return range(self.num_classes)
        return self.shards.held(self.num_classes, rank)

    @property
    def _draws_classes(self) -> bool:
        return self.shards is not None and self.shards.sample < 1


def draw_weight_rows(
    num_classes: int, embedding_size: int, held: range
) -> Float[Tensor, "held dim"]:
    """Some rows of Xavier's normal start of a class matrix.

    The whole matrix is drawn, whoever holds it, but never held: the rows do not depend
    on how they are shared, and every process leaves torch's generator alike.

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward
        neural networks, 2010, eq. 12.
    """
    deviation = math.sqrt(2 / (num_classes + embedding_size))
    kept = torch.empty(len(held), embedding_size)
    for start in range(0, num_classes, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, num_classes)
        drawn = torch.empty(stop - start, embedding_size).normal_(0, deviation)
        first, last = max(start, held.start), min(stop, held.stop)
        if first < last:
            kept[first - held.start : last - held.start] = drawn[
                first - start : last - start
            ]
    return kept
