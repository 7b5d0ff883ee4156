"""Batches for training, prepared ahead of the network."""

import itertools
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from facever.data.batches.crop_seeds import crop_seeds
from facever.data.batches.crop_workers import (
    Change,
    CropSource,
    CropWorkers,
    ReadTask,
    read_batch,
)
from facever.data.batches.resident import ResidentCrops
from facever.data.batches.sampling import ClassmateSampler, EpochSampler
from facever.errors import ParameterError


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        crops: The crops, in RGB, changed by the augmentation.
        labels: Class index of each crop.
        mirrored: Whether the preprocessing is to flip each crop.
        teacher: A teacher's embedding of each crop, where there is a teacher.
    """

    crops: UInt8[Tensor, "batch height width 3"]
    labels: Int64[Tensor, " batch"]
    mirrored: Bool[Tensor, " batch"]
    teacher: Float32[Tensor, "batch teacher_dim"] | None = None


@dataclass(frozen=True)
class _Plan:
    """A batch before its crops are read."""

    task: ReadTask
    labels: Int64[np.ndarray, " batch"]
    mirrored: Bool[np.ndarray, " batch"]
    teacher: Float32[np.ndarray, "batch teacher_dim"] | None


class BatchLoader:
    """Reads, changes and collates crops; a pure function of the seed and the step.

    What happens to a crop depends on the seed, the epoch and its row alone: neither the
    batch that it is in nor the number of workers changes a bit of it.

    Args:
        crops: The crops of the whole store: a memory map, JPEGs that are decoded when
            indexed, or crops that are in the device's memory already.
        rows: Which rows of ``crops`` to train on.
        labels: Class index of each of those rows.
        batch_size: Number of crops in a batch, in [1, number of rows].
        augmentation: The random changes to the crops; None leaves them as they are.
        mirror: Whether half of the crops, at random, are to be flipped.
        seed: Seed of the order, the changes and the mirror.
        photos_per_identity: Number of crops of an identity that a batch holds together;
            None draws crops regardless of identity.
        part: The part of each batch that this process gives, where several processes
            share it.
        workers: Processes that read and change crops; 0 is a thread of this one. Crops
            on the device need none and get none.
        pin_memory: Whether batches lie in page-locked memory, from which a GPU copies
            while it computes.
        teacher: A teacher's embedding of each of those rows, for the batches to hold.

    Raises:
        ParameterError: If an argument is out of range, or crops on the device are to be
            changed.
    """

    def __init__(
        self,
        crops: CropSource | ResidentCrops,
        rows: Int64[np.ndarray, " rows"],
        labels: Int64[np.ndarray, " rows"],
        *,
        batch_size: int,
        augmentation: Change | None,
        mirror: bool,
        seed: int,
        photos_per_identity: int | None = None,
        part: slice = slice(None),
        workers: int = 0,
        pin_memory: bool = False,
        teacher: Float32[np.ndarray, "rows teacher_dim"] | None = None,
    ) -> None:
        if workers < 0:
            raise ParameterError(f"workers must be >= 0, got {workers}")
        if isinstance(crops, ResidentCrops) and augmentation is not None:
            raise ParameterError("crops on the device cannot be changed on the CPU")
        self.sampler: EpochSampler | ClassmateSampler
        if photos_per_identity is None:
            self.sampler = EpochSampler(len(rows), batch_size, seed)
        else:
            self.sampler = ClassmateSampler(
                labels, batch_size, photos_per_identity, seed
            )
        self._part = part
        self._part_size = len(range(batch_size)[part])
        self._crops = crops
        self._rows = rows
        self._labels = labels
        self._augmentation = augmentation
        self._mirror = mirror
        self._seed = seed
        self._workers = workers
        self._pin_memory = pin_memory
        self._teacher = teacher

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0, made in this process."""
        plan = self._plan(step)
        if isinstance(self._crops, ResidentCrops):
            return self._collated(plan, self._crops.take(plan.task.rows))
        crops = read_batch(self._crops, self._augmentation, plan.task)
        return self._collated(plan, torch.from_numpy(crops))

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """The batches of steps start .. stop - 1, each made while the last is used.

        Close it when leaving early: that ends the workers.

        Raises:
            FaceverError: If a worker is ended from outside.
        """
        made = self._made(start, stop)
        with closing(made), ThreadPoolExecutor(1, "batches") as thread:
            ahead = thread.submit(next, made, None)
            while (batch := ahead.result()) is not None:
                ahead = thread.submit(next, made, None)
                yield batch

    def _made(self, start: int, stop: int) -> Generator[Batch, None, None]:
        if self._workers == 0 or isinstance(self._crops, ResidentCrops):
            yield from map(self.batch, range(start, stop))
            return
        to_read, to_collate = itertools.tee(map(self._plan, range(start, stop)))
        with CropWorkers(
            self._crops,
            self._augmentation,
            num_workers=self._workers,
            batch_size=self._part_size,
        ) as workers:
            read = workers.read(plan.task for plan in to_read)
            for crops, plan in zip(read, to_collate, strict=True):
                yield self._collated(plan, torch.from_numpy(crops))

    def _plan(self, step: int) -> _Plan:
        draw = self.sampler.draw(step)
        photos = draw.photos[self._part]
        rows = self._rows[photos]
        seeds = crop_seeds(self._seed, draw.epoch, rows, draw.copies[self._part])
        mirrored = seeds >> np.uint64(63) == 1
        if not self._mirror:
            mirrored[:] = False
        teacher = None if self._teacher is None else self._teacher[photos]
        return _Plan(ReadTask(rows, seeds), self._labels[photos], mirrored, teacher)

    def _collated(
        self, plan: _Plan, crops: UInt8[Tensor, "batch height width 3"]
    ) -> Batch:
        batch = [crops, *map(torch.from_numpy, (plan.labels, plan.mirrored))]
        if plan.teacher is not None:
            batch.append(torch.from_numpy(plan.teacher))
        if self._pin_memory:
            batch = [
                part.pin_memory() if part.device.type == "cpu" else part
                for part in batch
            ]
        return Batch(*batch)
