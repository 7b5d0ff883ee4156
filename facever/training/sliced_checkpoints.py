"""Checkpoints of class vectors that several processes hold in slices.

A checkpoint holds whole matrices, so that any number of processes goes on from it. The
first process needs memory for them, and for the momentum: 4.1 GB for each million
classes of 512 dimensions. Whoever loads maps the file and copies its own rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from facever.heads.base import Head, heads_in
from facever.training.distributed import Processes


@dataclass(frozen=True)
class _Slice:
    """A parameter that holds the rows of this process."""

    name: str
    parameter: nn.Parameter
    head: Head


def join_slices(
    content: dict[str, Any],
    head: nn.Module,
    optimiser_parameters: list[Tensor],
    processes: Processes,
) -> None:
    """Put whole matrices in the place of slices, in the first process.

    All processes must call it.

    Args:
        content: A checkpoint's content with this process's slices; changed in place.
        head: The head that holds the slices.
        optimiser_parameters: The parameters, in the order of the optimiser's state.
        processes: The processes of the job.
    """
    # The optimiser gives out the very dictionaries that it works with.
    state = {
        number: dict(kept) for number, kept in content["optimiser"]["state"].items()
    }
    content["optimiser"] = {**content["optimiser"], "state": state}
    for each, tensors, key in _sliced_tensors(content, head, optimiser_parameters):
        tensors[key] = processes.rows_to_first(
            tensors[key], each.head.held_classes, each.head.num_classes
        )


def take_own_slices(
    content: dict[str, Any], head: nn.Module, optimiser_parameters: list[Tensor]
) -> None:
    """Put this process's slices in the place of whole matrices.

    Args:
        content: A checkpoint's content; changed in place.
        head: The head that will hold the slices.
        optimiser_parameters: The parameters, in the order of the optimiser's state.
    """
    for each, tensors, key in _sliced_tensors(content, head, optimiser_parameters):
        held = each.head.held_classes()
        tensors[key] = tensors[key][held.start : held.stop].clone()


def _sliced_tensors(
    content: dict[str, Any], head: nn.Module, optimiser_parameters: list[Tensor]
) -> Iterator[tuple[_Slice, dict[str, Any], str]]:
    """Where a checkpoint holds slices: in the head and in what the optimiser keeps."""
    numbers = {id(each): number for number, each in enumerate(optimiser_parameters)}
    for each in _slices(head):
        yield each, content["head"], each.name
        kept = content["optimiser"]["state"].get(numbers.get(id(each.parameter)), {})
        for key, value in sorted(kept.items()):
            if isinstance(value, Tensor) and value.ndim == each.parameter.ndim:
                yield each, kept, key


def _slices(head: nn.Module) -> Iterator[_Slice]:
    for path, part in heads_in(head):
        for name, parameter in part.sliced_parameters().items():
            yield _Slice(f"{path}.{name}" if path else name, parameter, part)
