"""Crops that other processes read and change.

Torch's DataLoader is not used: when one of its workers dies it raises in whatever line
the main thread is at, not where the next batch is asked for.
"""

import ctypes
import itertools
import math
import mmap
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from facever.errors import FaceverError
from facever.processes import start_worker

_BATCHES_AHEAD = 2
"""Batches that wait for the network, for each worker."""

Change = Callable[
    [UInt8[np.ndarray, "batch height width 3"], UInt64[np.ndarray, " batch"]],
    UInt8[np.ndarray, "batch height width 3"],
]
"""Changed copies of crops, each as its seed says; an ``Augmentation`` is one."""


@runtime_checkable
class CropSource(Protocol):
    """Crops by row: an array, a memory map, or a store that decodes."""

    def __getitem__(
        self, rows: Int64[np.ndarray, " batch"], /
    ) -> UInt8[np.ndarray, "batch height width 3"]:
        """New copies of the crops of some rows."""


@dataclass(frozen=True)
class ReadTask:
    """Which crops to read for a batch.

    Attributes:
        rows: In the source of crops.
        seeds: What changes each of them.
    """

    rows: Int64[np.ndarray, " batch"]
    seeds: UInt64[np.ndarray, " batch"]


def read_crops(
    crops: CropSource, change: Change | None, task: ReadTask
) -> UInt8[np.ndarray, "batch height width 3"]:
    """The crops of a task, changed as their seeds say."""
    read = crops[task.rows]
    return read if change is None else change(read, task.seeds)


class CropWorkers:
    """Processes that read and change crops; batches come back in their order.

        with CropWorkers(crops, change, num_workers=4, batch_size=256) as workers:
            for batch in workers.read(tasks):
                ...

    They write into memory that all share, a few batches for each worker. A memory map
    is opened anew in each of them, everything else is pickled into it.
    """

    def __init__(
        self,
        crops: CropSource,
        change: Change | None,
        *,
        num_workers: int,
        batch_size: int,
    ) -> None:
        """Get ready; processes start with the first batch.

        Args:
            crops: To read from; picklable.
            change: Changes what was read; picklable. None leaves it.
            num_workers: At least 1.
            batch_size: Crops of each task.
        """
        self._num_workers = num_workers
        crop_shape = crops[np.zeros(1, np.int64)].shape[1:]
        shape = (num_workers * _BATCHES_AHEAD, batch_size, *crop_shape)
        context = multiprocessing.get_context("spawn")
        # Lies in /dev/shm, or on the disk where a container has too little of that,
        # and has no name that a killed run could leave behind.
        buffer = context.RawArray(ctypes.c_uint8, math.prod(shape))
        self._shared = np.frombuffer(memoryview(buffer), np.uint8).reshape(shape)
        recipe = (_portable(crops), change, buffer, shape)
        self._pool = ProcessPoolExecutor(num_workers, context, _start_worker, recipe)

    def __enter__(self) -> "CropWorkers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(
        self, tasks: Iterable[ReadTask]
    ) -> Iterator[UInt8[np.ndarray, "batch height width 3"]]:
        """The crops of each task, in order; to be called once.

        Args:
            tasks: Drawn a few ahead.

        Raises:
            FaceverError: If a worker is ended from outside, as the system does when
                memory runs out.
        """
        ahead: deque[tuple[int, Future[None]]] = deque()
        places = itertools.cycle(range(len(self._shared)))
        try:
            for task, place in zip(tasks, places, strict=False):
                if len(ahead) == len(self._shared):
                    yield self._taken(*ahead.popleft())
                ahead.append((place, self._pool.submit(_read_in_worker, place, task)))
            while ahead:
                yield self._taken(*ahead.popleft())
        except BrokenProcessPool:
            raise FaceverError(
                f"one of data.workers={self._num_workers} processes ended early (is "
                "memory short?): run the same command again, with fewer data.workers"
            ) from None

    def _taken(
        self, place: int, done: Future[None]
    ) -> UInt8[np.ndarray, "batch height width 3"]:
        """A copy of a finished batch, whose place is free for the next then."""
        done.result()
        batch: np.ndarray = self._shared[place].copy()
        return batch


class _MapAgain:
    """Pickles a memory map as the file to map again, where NumPy pickles all bytes."""

    def __init__(self, crops: np.memmap) -> None:
        self._crops = crops

    def __reduce__(self) -> tuple[Any, ...]:
        crops = self._crops
        return np.memmap, (crops.filename, crops.dtype, "r", crops.offset, crops.shape)


def _portable(crops: CropSource) -> Any:
    # A slice of a map tells the offset of the whole: it goes as an array.
    if isinstance(crops, np.memmap) and isinstance(crops.base, mmap.mmap):
        return _MapAgain(crops)
    return crops


_crops: CropSource
_change: Change | None
_shared: np.ndarray


def _start_worker(
    crops: CropSource, change: Change | None, buffer: Any, shape: tuple[int, ...]
) -> None:
    global _crops, _change, _shared
    start_worker()
    _crops, _change = crops, change
    _shared = np.frombuffer(buffer, np.uint8).reshape(shape)


def _read_in_worker(place: int, task: ReadTask) -> None:
    _shared[place] = read_crops(_crops, _change, task)
