"""A gallery for many threads: it belongs to one, which the others ask."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32

from facever.choices import By
from facever.gallery.base import AnyGallery, Place
from facever.gallery.entries import Match
from facever.gallery.meta import Threshold
from facever.gallery.opening import open_gallery
from facever.serving.batches import Batches

Reply = TypeVar("Reply")


class Search(NamedTuple):
    """A search for one face; see ``AnyGallery.search``."""

    embedding: Float32[np.ndarray, " dim"]
    k: int
    by: By


class FoundPeople(NamedTuple):
    """The matches of a face, and the gallery's threshold as it was then."""

    matches: list[Match]
    threshold: Threshold | None


class GalleryThread:
    """An open gallery and the thread that opened it, the only one that may use it.

    With a gallery for each thread, all embeddings would be in memory once for each.
    """

    def __init__(self, place: Place, model_fingerprint: str) -> None:
        """Open a gallery.

        Args:
            place: The gallery's folder or URL.
            model_fingerprint: Fingerprint of the model that the gallery is searched
                with.

        Raises:
            FileError: If there is no gallery at ``place``, or it is damaged.
            GalleryError: If another version of facever made it.
            MismatchError: If it was made for another model.
        """
        self._thread = ThreadPoolExecutor(1, "gallery")
        self._searches = Batches(self._thread, self._search_all, _are_alike)
        try:
            opening = self._thread.submit(open_gallery, place, model_fingerprint)
            self._gallery = opening.result()
            self.name = self._gallery.title
        except BaseException:
            self._thread.shutdown()
            raise

    def submit(self, question: Callable[[AnyGallery], Reply]) -> "Future[Reply]":
        """Let the thread call a function with the gallery.

        Questions are answered one after the other; a change is on disk when it is
        answered.
        """
        return self._thread.submit(question, self._gallery)

    def ask(self, question: Callable[[AnyGallery], Reply]) -> Reply:
        """Call a function with the gallery, and return or raise what it does."""
        return self.submit(question).result()

    def search(self, wanted: Search) -> "Future[FoundPeople]":
        """Search for a face; searches that wait for the thread are done together."""
        return self._searches.submit(wanted)

    def warm_up(self) -> None:
        """Have the index read, or built, before somebody waits for it."""

        def search_for_nobody(gallery: AnyGallery) -> None:
            gallery.search(np.eye(1, gallery.info().embedding_size), k=1)

        self.submit(search_for_nobody)

    def close(self) -> None:
        """Close the gallery when all that was asked is answered."""
        self._thread.submit(self._gallery.close)
        self._thread.shutdown()

    def _search_all(self, searches: Sequence[Search]) -> list[FoundPeople]:
        embeddings = np.stack([wanted.embedding for wanted in searches])
        found = self._gallery.search(embeddings, searches[0].k, searches[0].by)
        threshold = self._gallery.threshold()
        return [FoundPeople(matches, threshold) for matches in found]


def _are_alike(searches: Sequence[Search], wanted: Search) -> bool:
    return (searches[0].k, searches[0].by) == (wanted.k, wanted.by)
