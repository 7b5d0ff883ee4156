"""A gallery for many threads: it belongs to one, which the others ask."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from facever.gallery.base import AnyGallery, Place
from facever.gallery.opening import open_gallery

Reply = TypeVar("Reply")


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
        self.name = Path(place).resolve().name
        self._thread = ThreadPoolExecutor(1, "gallery")
        try:
            opening = self._thread.submit(open_gallery, place, model_fingerprint)
            self._gallery = opening.result()
        except BaseException:
            self._thread.shutdown()
            raise

    def ask(self, question: Callable[[AnyGallery], Reply]) -> Reply:
        """Call a function with the gallery, and return or raise what it does.

        Questions are answered one after the other; a change is on disk when this
        returns.
        """
        return self._thread.submit(question, self._gallery).result()

    def close(self) -> None:
        """Close the gallery when all that was asked is answered."""
        self._thread.submit(self._gallery.close)
        self._thread.shutdown()
