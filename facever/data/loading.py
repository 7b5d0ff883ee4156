"""Batches for training, prepared one ahead of the network."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from facever.data.augmentation import Augmentation
from facever.data.sampling import ClassmateSampler, EpochSampler


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        crops: RGB, changed by the augmentation.
        labels: Class index of each.
        mirrored: Which of them the preprocessing shall flip.
    """

    crops: UInt8[Tensor, "batch height width 3"]
    labels: Int64[Tensor, " batch"]
    mirrored: Bool[Tensor, " batch"]


class BatchLoader:
    """Reads, changes and collates crops; a pure function of the seed and the step.

    Args:
        crops: Of the whole store, may be a memory map.
        rows: Which rows of ``crops`` to train on.
        labels: Class index of each of those rows.
        batch_size: In [1, number of rows].
        augmentation: Changes crops; None leaves them.
        mirror: Whether half of the crops, at random, are to be flipped.
        seed: Of the order, the changes and the mirror.
        photos_per_identity: Crops of an identity that a batch holds together; None
            draws crops whoever is on them.
        part: Which crops of each batch to give, where several processes share it.
    """

    def __init__(
        self,
        crops: UInt8[np.ndarray, "photos height width 3"],
        rows: Int64[np.ndarray, " rows"],
        labels: Int64[np.ndarray, " rows"],
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        mirror: bool,
        seed: int,
        photos_per_identity: int | None = None,
        part: slice = slice(None),
    ) -> None:
        self.sampler: EpochSampler | ClassmateSampler
        if photos_per_identity is None:
            self.sampler = EpochSampler(len(rows), batch_size, seed)
        else:
            self.sampler = ClassmateSampler(
                labels, batch_size, photos_per_identity, seed
            )
        self._crops = crops
        self._rows = rows
        self._labels = labels
        self._augmentation = augmentation
        self._mirror = mirror
        self._seed = seed
        self._part = part

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        picked = self.sampler.batch(step)
        generator = np.random.default_rng((self._seed, step, 1))
        # Drawn for the whole batch, of which every process changes its part alike.
        seeds = generator.integers(2**31, size=len(picked))[self._part]
        mirrored = generator.random(len(picked))[self._part] < 0.5
        picked = picked[self._part]
        crops = self._crops[self._rows[picked]]
        if self._augmentation is not None:
            pairs = zip(crops[:, None], seeds.tolist(), strict=True)
            crops = np.concatenate([self._augmentation(*pair) for pair in pairs])
        if not self._mirror:
            mirrored = np.zeros(len(picked), bool)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(crops)),
            torch.from_numpy(self._labels[picked]),
            torch.from_numpy(mirrored),
        )

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1, each made while the last is used."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
            ahead = pool.submit(self.batch, start)
            for step in range(start, stop):
                batch = ahead.result()
                if step + 1 < stop:
                    ahead = pool.submit(self.batch, step + 1)
                yield batch
