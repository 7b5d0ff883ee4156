"""Align batches of photos in several processes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from facever.choices import Detector, FaceRule
from facever.faces.aligner import AlignedPhoto, PhotoAligner
from facever.faces.photo_source import PhotoSource
from facever.processes import WorkerPool


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

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.close()

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


_aligner: PhotoAligner


def _make_aligner(recipe: AlignRecipe) -> None:
    global _aligner
    if recipe.uses_network:
        import torch

        torch.set_num_threads(1)
    _aligner = recipe.make_aligner()


def _align_in_worker(batch: list[PhotoSource]) -> list[AlignedPhoto]:
    return _aligner.align(batch)
