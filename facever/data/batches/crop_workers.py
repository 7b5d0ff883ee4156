"""Crops that other processes read and change, into memory that all of them share."""

import ctypes
import itertools
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from facever.processes import TASKS_AHEAD, WorkerPool

Change = Callable[
    [UInt8[np.ndarray, "batch height width 3"], UInt64[np.ndarray, " batch"]],
    UInt8[np.ndarray, "batch height width 3"],
]
"""Changed copies of crops, each as its seed says; an ``Augmentation`` is one."""


@runtime_checkable
class CropSource(Protocol):
    """Crops by row: an array, or ``CheckedCrops`` of a store."""

    def __getitem__(
        self, rows: Int64[np.ndarray, " batch"], /
    ) -> UInt8[np.ndarray, "batch height width 3"]:
        """New copies of the crops of some rows."""


@dataclass(frozen=True)
class ReadTask:
    """Which crops to read for a batch.

    Attributes:
        rows: Rows in the source of crops.
        seeds: The seed of each crop's changes.
    """

    rows: Int64[np.ndarray, " batch"]
    seeds: UInt64[np.ndarray, " batch"]


def read_batch(
    crops: CropSource, change: Change | None, task: ReadTask
) -> UInt8[np.ndarray, "batch height width 3"]:
    """The crops of a task, changed as their seeds say."""
    read = crops[task.rows]
    return read if change is None else change(read, task.seeds)


class CropWorkers:
    """Processes that read and change crops; the batches come in their order.

        with CropWorkers(crops, change, num_workers=4, batch_size=256) as workers:
            for batch in workers.read(tasks):
                ...

    They write into shared memory with places for a few batches of each worker. Crops
    are pickled into each of them, ``CheckedCrops`` as the files to open again.
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
            crops: The source of the crops; it can be pickled.
            change: Function that changes the crops that were read; it can be pickled.
                None leaves them as they are.
            num_workers: Number of processes, at least 1.
            batch_size: Number of crops in each task.
        """
        crop_shape = crops[np.zeros(1, np.int64)].shape[1:]
        shape = (num_workers * TASKS_AHEAD, batch_size, *crop_shape)
        # Lies in /dev/shm, or on the disk where a container has too little of that,
        # and has no name that a killed run could leave behind.
        context = multiprocessing.get_context("spawn")
        buffer = context.RawArray(ctypes.c_uint8, math.prod(shape))
        self._shared = np.frombuffer(memoryview(buffer), np.uint8).reshape(shape)
        recipe = (crops, change, buffer, shape)
        self._pool = WorkerPool(num_workers, _share, recipe, option="data.workers")

    def __enter__(self) -> "CropWorkers":
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)

    def read(
        self, tasks: Iterable[ReadTask]
    ) -> Iterator[UInt8[np.ndarray, "batch height width 3"]]:
        """The crops of each task, in order; to be called once.

        Args:
            tasks: The rows to read; a few tasks are drawn ahead.

        Raises:
            FaceverError: If a worker is ended from outside, as the system does when
                memory runs out.
        """
        places = itertools.cycle(range(len(self._shared)))
        # Each task under way has a place of its own: one is given out again when its
        # last answer was taken, and with it the batch was copied.
        placed = zip(tasks, places, strict=False)
        for place in self._pool.answers(_read_in_worker, placed):
            yield self._shared[place].copy()


_crops: CropSource
_change: Change | None
_shared: np.ndarray


def _share(
    crops: CropSource, change: Change | None, buffer: Any, shape: tuple[int, ...]
) -> None:
    global _crops, _change, _shared
    _crops, _change = crops, change
    _shared = np.frombuffer(buffer, np.uint8).reshape(shape)


def _read_in_worker(placed: tuple[ReadTask, int]) -> int:
    task, place = placed
    _shared[place] = read_batch(_crops, _change, task)
    return place
