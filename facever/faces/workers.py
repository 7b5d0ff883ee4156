"""Align batches of photos in several processes."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType

from facever.choices import Detector, FaceRule
from facever.errors import FaceverError
from facever.faces.aligner import AlignedPhoto, PhotoAligner
from facever.faces.photo_source import PhotoSource
from facever.processes import start_worker

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class AlignRecipe:
    """How photos become crops: what each worker needs to make its ``PhotoAligner``.

    Attributes:
        detector: A network, or none for photos that are crops already.
        face: Which face to take when a photo has several.
        by_landmarks: Use those of the photos in place of the network.
        max_pixels: See ``read_photo``.
        device: Where the network runs, by torch's name.
    """

    detector: Detector
    face: FaceRule
    by_landmarks: bool
    max_pixels: int
    device: str = "cpu"

    @property
    def uses_network(self) -> bool:
        """Whether faces are searched."""
        return not self.by_landmarks and self.detector != "crops"

    def make_aligner(self) -> PhotoAligner:
        """The aligner; loads the network if there is one."""
        detect = None
        if self.uses_network:
            from facever.faces.mtcnn import SPHEREFACE, MtcnnDetector

            settings = SPHEREFACE if self.detector == "mtcnn-sphereface" else None
            detect = MtcnnDetector(settings, self.device).detect
        return PhotoAligner(
            detect=detect,
            by_landmarks=self.by_landmarks,
            face=self.face,
            max_pixels=self.max_pixels,
        )


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
            recipe: How to align.
            num_workers: At least 1.
        """
        self._num_workers = num_workers
        self._recipe = recipe
        self._aligner: PhotoAligner | None = None
        self._pool: ProcessPoolExecutor | None = None
        if num_workers > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                num_workers, context, _start_worker, (recipe,)
            )

    def __enter__(self) -> "AlignWorkers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def align(
        self, batches: Sequence[list[PhotoSource]]
    ) -> Iterator[list[AlignedPhoto]]:
        """Align batches, in their order.

        Raises:
            FaceverError: If a worker is ended from outside, as the system does when
                memory runs out.
        """
        if self._pool is None:
            self._aligner = self._aligner or self._recipe.make_aligner()
            yield from map(self._aligner.align, batches)
            return
        ahead: deque[Future[list[AlignedPhoto]]] = deque()
        try:
            for batch in batches:
                ahead.append(self._pool.submit(_align_in_worker, batch))
                if len(ahead) > self._num_workers * _BATCHES_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise FaceverError(
                f"a worker ended early ({self._num_workers} were at work; is memory "
                "short?): run the same command again, with fewer workers"
            ) from None


_aligner: PhotoAligner


def _start_worker(recipe: AlignRecipe) -> None:
    global _aligner
    start_worker()
    if recipe.uses_network:
        import torch

        torch.set_num_threads(1)
    _aligner = recipe.make_aligner()


def _align_in_worker(batch: list[PhotoSource]) -> list[AlignedPhoto]:
    return _aligner.align(batch)
