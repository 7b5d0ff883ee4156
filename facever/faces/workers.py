"""Align batches of photos in several processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait

import cv2
import numpy as np
from jaxtyping import Float64

from facever.errors import FaceverError
from facever.faces.aligner import AlignedPhoto, Detector, PhotoAligner
from facever.faces.detection import FaceRule, MtcnnDetector
from facever.faces.sources import PhotoSource

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class AlignRecipe:
    """How photos become crops: what each worker needs to make its ``PhotoAligner``.

    Attributes:
        detector: A network, or none for photos that are crops already.
        face: Which face to take when a photo has several.
        landmarks: To be used in place of the network, by source.
        max_pixels: See ``read_photo``.
    """

    detector: Detector
    face: FaceRule
    landmarks: Mapping[str, Float64[np.ndarray, "5 2"]] | None
    max_pixels: int

    @property
    def uses_network(self) -> bool:
        """Whether faces are searched."""
        return self.landmarks is None and self.detector == "mtcnn"

    def make_aligner(self) -> PhotoAligner:
        """The aligner; loads the network if there is one."""
        return PhotoAligner(
            detect=MtcnnDetector().detect if self.uses_network else None,
            landmarks=self.landmarks,
            face=self.face,
            max_pixels=self.max_pixels,
        )


def align_batches(
    recipe: AlignRecipe, batches: Sequence[list[PhotoSource]], num_workers: int
) -> Iterator[list[AlignedPhoto]]:
    """Align batches of photos, in their order.

    With one worker in this process, otherwise in that many others with one thread each:
    the steps of the cascade are too small to share.

    Args:
        recipe: How.
        batches: What.
        num_workers: At least 1.

    Raises:
        FaceverError: If a worker is ended from outside, as the system does when memory
            runs out.
    """
    num_workers = min(num_workers, len(batches))
    if num_workers == 1:
        aligner = recipe.make_aligner()
        for batch in batches:
            yield aligner.align(batch)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _start_worker, (recipe,)) as pool:
        try:
            ahead: deque[Future[list[AlignedPhoto]]] = deque()
            for batch in batches:
                ahead.append(pool.submit(_align_in_worker, batch))
                if len(ahead) > num_workers * _BATCHES_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise FaceverError(
                f"a worker ended early ({num_workers} were at work; is memory short?): "
                "run the same command again, with fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_aligner: PhotoAligner


def _start_worker(recipe: AlignRecipe) -> None:
    global _aligner
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    cv2.setNumThreads(1)
    if recipe.uses_network:
        import torch

        torch.set_num_threads(1)
    _aligner = recipe.make_aligner()


def _end_with_parent() -> None:
    """End this worker when the run is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _align_in_worker(batch: list[PhotoSource]) -> list[AlignedPhoto]:
    return _aligner.align(batch)
