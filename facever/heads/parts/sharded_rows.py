"""Class vectors that several processes hold together, each a slice.

Every process sees the embeddings and labels of the whole batch and computes the logits
of its own classes, which it never sends anywhere. What has one value a sample is summed
over the processes: the logit of the own class, which one of them knows, and the sum
under the softmax. A head's margin works on those values, alike in every process.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.base import HeadOutput
from facever.heads.parts.class_logits import ClassRows, Curve


@runtime_checkable
class Peers(Protocol):
    """The processes of a job, as a head sees them; from ``training.distributed``."""

    @property
    def rank(self) -> int:
        """This process's rank, in [0, count)."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def add(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        ...

    def largest(self, values: Tensor) -> Tensor:
        """Largest over the processes, in place."""
        ...


@dataclass(frozen=True)
class ClassShards:
    """Which classes each process holds, and how many of them a batch meets.

    Attributes:
        peers: The processes that share the classes.
        sample: Share of its classes, in (0, 1], that each process takes for a batch in
            training. The batch's own classes are always among them and the others are
            drawn for each batch; the number taken is at least the batch's number of
            samples.
        seed: Decides the random draws.

    Raises:
        ParameterError: If the share is out of range.

    References:
        An et al., Partial FC, 2021, section 3.3.
    """

    peers: Peers
    sample: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise ParameterError(f"sample must be in (0, 1], got {self.sample}")

    def held(self, num_classes: int, rank: int | None = None) -> range:
        """The classes of a process, by default of this one; sizes differ by 1 at most.

        Raises:
            ParameterError: If there are fewer classes than processes.
        """
        if num_classes < self.peers.count:
            raise ParameterError(
                f"num_classes must be at least {self.peers.count}, the number of "
                f"processes that share them, got {num_classes}: start fewer processes"
            )
        rank = self.peers.rank if rank is None else rank
        start, stop = (num_classes * i // self.peers.count for i in (rank, rank + 1))
        return range(start, stop)

    def drawn(
        self,
        labels: Int[Tensor, " batch"],
        is_held: Bool[Tensor, " batch"],
        num_held: int,
        draw: int,
    ) -> Int[Tensor, " drawn"]:
        """Rows to take for a batch, rising; a pure function of the seed and the draw.

        Args:
            labels: Row of each sample's class, where this process holds it.
            is_held: Whether this process holds each sample's class; these rows are
                among those drawn.
            num_held: Number of rows that this process holds.
            draw: The number of the draw, which differs from batch to batch.
        """
        bits = np.random.SeedSequence((self.seed, draw, self.peers.rank))
        generator = torch.Generator(labels.device)
        generator.manual_seed(int(bits.generate_state(1, np.uint64)[0]))
        order = torch.rand(num_held, generator=generator, device=labels.device)
        # As many whatever the labels, so that nothing waits for a device.
        count = max(math.ceil(self.sample * num_held), min(len(labels), num_held))
        order.scatter_reduce_(0, labels, 2 * is_held.to(order.dtype), "amax")
        return order.topk(count, sorted=False).indices.sort().values


class ShardedRows(ClassRows):
    """``ClassRows`` over the slices of all processes.

    Args:
        weight: The rows of the class matrix that this process holds.
        bias: The biases that this process holds, or None.
        labels: Class index of each sample of the whole batch.
        shards: Which process holds which classes.
        num_classes: Number of classes of all processes together.
        draw: Number of the draw of classes; None takes all.
    """

    def __init__(
        self,
        weight: Float[Tensor, "held dim"],
        bias: Float[Tensor, " held"] | None,
        labels: Int[Tensor, " batch"],
        shards: ClassShards,
        num_classes: int,
        draw: int | None,
    ) -> None:
        held = shards.held(num_classes)
        self._peers = shards.peers
        self._is_held = (labels >= held.start) & (labels < held.stop)
        # Another process's class points at any row here; its values are masked.
        rows = (labels - held.start).clamp(0, len(held) - 1)
        if draw is not None:
            drawn = shards.drawn(rows, self._is_held, len(held), draw)
            weight = weight.index_select(0, drawn)
            bias = None if bias is None else bias.index_select(0, drawn)
            rows = torch.searchsorted(drawn, rows).clamp_max(len(drawn) - 1)
        super().__init__(weight, bias, rows)

    def affine_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch classes"]:
        """``W_j . f + b_j`` of the classes held here."""
        return super().affine_logits(self._spread(embeddings))

    def linear_logits(
        self, embeddings: Float[Tensor, "batch dim"]
    ) -> tuple[
        Float[Tensor, "batch classes"], Float[Tensor, " batch"], Float[Tensor, " batch"]
    ]:
        """``W_j . f`` of the classes held here; all own classes'; ``|W_y|``."""
        logits, target, norms = super().linear_logits(self._spread(embeddings))
        return logits, self._of_holders(target), self._of_holders(norms)

    def unit_weight_logits(
        self, embeddings: Float[Tensor, "batch dim"], curve: Curve | None = None
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, " batch"]]:
        """``W_j . f / |W_j|`` of the classes held here; all own classes'."""
        logits, target = super().unit_weight_logits(self._spread(embeddings), curve)
        return logits, self._of_holders(target)

    def output(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, " batch"] | None = None,
        parts: dict[str, Float[Tensor, ""]] | None = None,
    ) -> HeadOutput:
        """The mean cross-entropy over the batch and the classes of all processes."""
        loss, hits = _CrossEntropy.apply(
            logits, self.labels, self._is_held, target, self._peers
        )
        return HeadOutput(loss, None, parts or {}, hits)

    def _spread(self, embeddings: Tensor) -> Tensor:
        return _Spread.apply(embeddings, self._peers)  # type: ignore[no-any-return]

    def _of_holders(self, values: Tensor) -> Tensor:
        return _OfHolders.apply(values, self._is_held, self._peers)  # type: ignore[no-any-return]


class _Spread(torch.autograd.Function):
    """The same values; their gradient is the sum over the classes of all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, peers: Peers) -> Tensor:
        ctx.peers = peers
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own = gradients[0].clone(memory_format=torch.contiguous_format)
        return ctx.peers.add(own), None


class _OfHolders(torch.autograd.Function):
    """Each sample's value from the process that holds its class."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, is_held: Tensor, peers: Peers) -> Tensor:
        ctx.save_for_backward(is_held)
        return peers.add(values.where(is_held, 0))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0].where(ctx.saved_tensors[0], 0), None, None


class _CrossEntropy(torch.autograd.Function):
    """Loss, and whether the own class leads before the margin."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        is_held: Tensor,
        target: Tensor | None,
        peers: Peers,
    ) -> tuple[Tensor, Tensor]:
        own = labels[:, None]
        plain = logits.gather(1, own)[:, 0]
        best = logits.amax(dim=1)
        if target is None:
            highest = leader = peers.largest(best)
            powers = logits - highest[:, None]
        else:
            powers = logits.scatter(1, own, target.where(is_held, plain)[:, None])
            both = torch.stack([powers.amax(dim=1), best])
            highest, leader = peers.largest(both)
            powers.sub_(highest[:, None])
        gaps = powers.gather(1, own)[:, 0]
        sums = powers.exp_().sum(dim=1)
        known = torch.stack([gaps.where(is_held, 0), plain.where(is_held, 0), sums])
        gaps, plain, sums = peers.add(known)
        logarithms = gaps - sums.log()
        hits = plain >= leader
        ctx.save_for_backward(powers, sums, logarithms, labels, is_held)
        ctx.has_target = target is not None
        ctx.mark_non_differentiable(hits)
        return -logarithms.mean(), hits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        powers, sums, logarithms, labels, is_held = ctx.saved_tensors
        own = labels[:, None]
        factor = gradients[0] / len(labels)
        # p - 1 of the own class without the rounding of 1 - (1 - p).
        by_own = torch.expm1(logarithms) * factor
        by_logits = powers * (factor / sums)[:, None]
        others = by_logits.gather(1, own)[:, 0]
        by_plain = torch.zeros_like(by_own) if ctx.has_target else by_own
        by_logits.scatter_(1, own, by_plain.where(is_held, others)[:, None])
        return by_logits, None, None, by_own if ctx.has_target else None, None
