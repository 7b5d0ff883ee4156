"""The processes of a job; the only place that knows process groups.

``torchrun --nproc-per-node 4 -m facever train CONFIG`` starts four processes. Tensors
of a CPU travel by gloo, those of a GPU by NCCL. Without torchrun there is one process,
``ALONE``, for which everything here is the identity.

Experimental: NCCL was not run on a GPU yet; the tests run gloo.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from facever.errors import FaceverError, ParameterError


@dataclass(frozen=True)
class Processes:
    """One process among those of a job.

    All processes must call the same methods in the same order.

    Attributes:
        rank: This process's rank, in [0, count).
        count: Number of processes of the job.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints, logs, validates and writes for all."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """The samples of a batch that are this process's own.

        Raises:
            ParameterError: If the batch cannot be cut into equal parts.
        """
        if batch_size % self.count:
            raise ParameterError(
                f"batch_size must be a multiple of the {self.count} processes, "
                f"got {batch_size}"
            )
        size = batch_size // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def say(self, text: str) -> None:
        """Print a line about the job to stderr, once for all processes."""
        if self.is_first:
            print(text, file=sys.stderr, flush=True)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network, so that its gradients become means over the processes.

        Batch normalisation takes the statistics of a process's own part of the batch.
        The running statistics, which the model file keeps, are those of the first.
        """
        if self.count == 1:
            return network
        return _Averaged(network)

    def add(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def largest(self, values: Tensor) -> Tensor:
        """Largest over the processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return flag if self.count == 1 else bool(self.largest(torch.tensor(int(flag))))

    def joined(
        self, values: Shaped[Tensor, "own *rest"]
    ) -> Shaped[Tensor, "whole *rest"]:
        """The parts of all processes, in their order, without gradients."""
        if self.count == 1:
            return values
        whole = values.new_empty(self.count * len(values), *values.shape[1:])
        distributed.all_gather_into_tensor(whole, values.contiguous())
        return whole

    def copy_from_first(self, values: Tensor) -> Tensor:
        """The first process's values, in place."""
        if self.count > 1:
            distributed.broadcast(values, 0)
        return values

    def number_of_first(self, value: float) -> float:
        """The first process's number; what the others give does not count."""
        return float(self.copy_from_first(torch.tensor(value, dtype=torch.float64)))

    def rows_to_first(
        self,
        rows: Shaped[Tensor, "own *rest"],
        held: Callable[[int], range],
        num_rows: int,
    ) -> Shaped[Tensor, "..."] | None:
        """All rows of a matrix that the processes hold in slices, on the CPU.

        Args:
            rows: The rows that this process holds.
            held: Gives the range of rows that a rank holds.
            num_rows: Number of rows of all processes together.

        Returns:
            The matrix in the first process, which alone needs memory for it; None in
            the others.
        """
        own = rows.detach().cpu().contiguous()
        if not self.is_first:
            distributed.send(own, 0)
            return None
        whole = own.new_empty(num_rows, *own.shape[1:])
        for rank in range(self.count):
            place = whole[held(rank).start : held(rank).stop]
            if rank == 0:
                place.copy_(own)
            else:
                distributed.recv(place, rank)
        return whole


class _Averaged(DistributedDataParallel):
    """Means of gradients over the processes, added in one order from the first step on.

    Torch lays the buckets in which gradients travel by the first backward, and uses a
    guess till then: the first step of a resumed run would add in another order than
    that of the run which went on, and differ in the last bits. So the first backward is
    one that nothing is learned from.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, gradient_as_bucket_view=True)
        self._has_buckets = False

    def forward(self, images: Tensor) -> Any:
        if not self._has_buckets:
            self._has_buckets = True
            self._lay_buckets(images)
        return super().forward(images)  # type: ignore[no-untyped-call]

    def _lay_buckets(self, images: Tensor) -> None:
        training = [module for module in self.modules() if module.training]
        self.eval()  # No running statistics move, no random numbers are drawn.
        with torch.enable_grad():
            super().forward(images[:1]).sum().backward()  # type: ignore[no-untyped-call]
        for module in training:
            module.training = True
        self.zero_grad(set_to_none=True)


ALONE = Processes()
"""The one process of a job that torchrun did not start."""


def is_first_process() -> bool:
    """Whether this process speaks for its job, in or out of a ``process_group``."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Join the other processes of a job that torchrun started.

    Args:
        device: The device as the config names it: ``auto`` and ``cuda`` become the GPU
            of this process.

    Yields:
        The processes; ``ALONE`` without torchrun.

    Raises:
        ParameterError: If the device names one GPU for all, or there are too few.
        FaceverError: If another process ended during the block.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    on_gpu = not device.startswith("cpu") and torch.cuda.is_available()
    if on_gpu:
        _take_gpu(device, int(os.environ["LOCAL_RANK"]))
    rank = int(os.environ["RANK"])
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=_store_of_this_attempt(),
        rank=rank,
        world_size=count,
    )
    try:
        yield Processes(rank, count)
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise FaceverError(
            "another process of this job ended, its own message says why; the same "
            "command goes on from the last checkpoint, torchrun --max-restarts does "
            "so by itself"
        ) from None
    # Not after an error: NCCL would wait for what the others never send.
    distributed.destroy_process_group()


def _store_of_this_attempt() -> Store:
    """Where the processes find each other's addresses.

    torchrun may keep one store over its restarts: without a prefix, a process that is
    faster than the others reads the addresses of the attempt that died.
    """
    store, _, _ = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"attempt_{attempt}", store)


def _take_gpu(device: str, local_rank: int) -> None:
    if ":" in device:
        raise ParameterError(
            f"device must be auto, cpu or cuda for several processes, got {device!r}"
        )
    if local_rank >= torch.cuda.device_count():
        raise ParameterError(
            f"torchrun --nproc-per-node must be at most {torch.cuda.device_count()}, "
            "the GPUs of this machine, or device=cpu"
        )
    torch.cuda.set_device(local_rank)


def _is_lost_peer(error: RuntimeError) -> bool:
    """Gloo has no class of its own for it, and names its source file instead."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
