"""Heads over the batch of all processes, so that n of them train as one would."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.heads import HeadOutput
from facever.heads.base import at_least_float32, heads_in
from facever.training.distributed import Processes


class HeadAcrossProcesses(nn.Module):
    """A head that meets the embeddings of all processes.

    Each process computes the loss of the whole batch, and of its gradient what belongs
    to its own embeddings. Class vectors are shared (``ClassShards``), everything else
    that a head learns lies in every process; there it is made to move alike to the last
    bit, whatever the processes' devices round.

    Args:
        head: The head, whose ``ClassifyingHead`` parts hold the slice of this process.
        processes: The processes of the job.
    """

    def __init__(self, head: nn.Module, processes: Processes) -> None:
        super().__init__()
        self.head = head
        self._processes = processes

    def forward(
        self,
        embeddings: Float[Tensor, "own dim"],
        labels: Int[Tensor, " own"],
        teacher: Float[Tensor, "own teacher_dim"] | None = None,
    ) -> HeadOutput:
        """The loss of the whole batch.

        Args:
            embeddings: The embeddings of this process's part of the batch.
            labels: The labels of this process's part.
            teacher: A teacher's embeddings of this process's part.
        """
        if self._processes.count == 1:
            alone: HeadOutput = self.head(embeddings, labels, teacher)
            return alone
        whole = _Joined.apply(at_least_float32(embeddings), self._processes)
        all_labels = self._processes.joined(labels)
        if teacher is not None:
            teacher = self._processes.joined(teacher)
        output: HeadOutput = self.head(whole, all_labels, teacher)
        for _, head in heads_in(self.head):
            for rows in head.moving_rows():
                rows[all_labels] = self._processes.copy_from_first(rows[all_labels])
        if output.logits is None:
            return output
        hits = output.logits.argmax(dim=1) == all_labels
        return dataclasses.replace(output, logits=None, hits=hits)

    def align_gradients(self) -> None:
        """After backward: the first process's gradients of what all of them hold.

        The gradient of centers is sparse, its rows stand in the order of the batch, so
        its values are all that differs, if at all.
        """
        if self._processes.count == 1:
            return
        sliced = sliced_parameters(self.head)
        for parameter in self.head.parameters():
            gradient = parameter.grad
            if gradient is not None and id(parameter) not in sliced:
                values = gradient._values() if gradient.is_sparse else gradient
                self._processes.copy_from_first(values)


def sliced_parameters(head: nn.Module) -> set[int]:
    """``id`` of the parameters of which a process holds its own rows alone."""
    return {
        id(parameter)
        for _, part in heads_in(head)
        for parameter in part.sliced_parameters().values()
    }


class _Joined(torch.autograd.Function):
    """The parts of all processes, in their order.

    The gradient is that of the own part, times the number of processes because
    ``Processes.wrapped`` takes the mean of what is to be summed.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.joined(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        part = ctx.processes.part(len(gradients[0]))
        return gradients[0][part] * ctx.processes.count, None
