"""Align batches of photos in several processes."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from facever.errors import ParameterError
from facever.faces.aligner import AlignedPhoto, AlignRecipe, PhotoAligner
from facever.faces.photo_source import PhotoSource
from facever.processes import WorkerPool


class AlignWorkers:
    """Processes that align batches of photos.

    One worker is this process; several are others with one thread each, since the steps
    of the cascade are too small to share.

        with AlignWorkers(recipe, num_workers=2) as workers:
            for aligned in workers.align(batches):
                ...
    """

    def __init__(self, recipe: AlignRecipe, num_workers: int) -> None:
        """Get ready; processes start with the first batch.

        Args:
            recipe: How photos become crops.
            num_workers: Number of processes, at least 1.
        """
        self._recipe = recipe
        self._pool: WorkerPool | None = None
        if num_workers > 1:
            self._pool = WorkerPool(
                num_workers, _make_aligner, (recipe,), option="workers"
            )

    def __enter__(self) -> "AlignWorkers":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._pool:
            self._pool.__exit__(*error)

    def align(
        self, batches: Iterable[list[PhotoSource]]
    ) -> Iterator[list[AlignedPhoto]]:
        """Align batches, in their order.

        Raises:
            FaceverError: If a worker is ended from outside, as the system does when
                memory runs out.
        """
        if self._pool is None:
            return map(self._recipe.make_aligner().align, batches)
        return self._pool.answers(_align_in_worker, batches)


def count_workers(workers: int | None) -> int:
    """A number of processes; by default one for each CPU that this process may use.

    Raises:
        ParameterError: If it is less than 1.
    """
    if workers is None and sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    if workers is None:
        return os.cpu_count() or 1
    if workers < 1:
        raise ParameterError(f"workers must be at least 1, got {workers}")
    return workers


_aligner: PhotoAligner


def _make_aligner(recipe: AlignRecipe) -> None:
    global _aligner
    if recipe.uses_torch:
        import torch

        torch.set_num_threads(1)
    _aligner = recipe.make_aligner()


def _align_in_worker(batch: list[PhotoSource]) -> list[AlignedPhoto]:
    return _aligner.align(batch)
