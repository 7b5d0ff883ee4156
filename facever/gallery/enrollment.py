"""From photos or crops to entries of a gallery, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from facever.data.crops import CropStore
from facever.faces.aligner import PhotoAligner
from facever.faces.sources import PhotoSource
from facever.gallery.gallery import Gallery
from facever.inference.embedder import Embedder
from facever.progress import Advance, ignore_progress

_BATCH = 32


class PhotoFaces:
    """One face of each photo, the one that the aligner chooses.

    Attributes:
        names: Whose each is.
        sources: Which each is: the photo's whole path.
    """

    def __init__(self, photos: Sequence[PhotoSource], aligner: PhotoAligner) -> None:
        self.names = [_as_unicode(photo.identity) for photo in photos]
        # Whole paths: photo.jpg of one folder is not photo.jpg of another.
        self.sources = [_as_unicode(str(photo.path.resolve())) for photo in photos]
        self._photos = photos
        self._aligner = aligner

    def cut(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "112 96 3"] | str]:
        """The crop of each of these rows, or the reason why there is none."""
        aligned = self._aligner.align([self._photos[row] for row in rows])
        return [photo.reason or photo.crops[0] for photo in aligned]


class StoreFaces:
    """The crops of a store.

    Attributes:
        names: Whose each is.
        sources: Which each is: the store's folder, ``#``, and the photo.
    """

    def __init__(self, store: CropStore) -> None:
        folder = store.folder.resolve()
        self.names = [_as_unicode(store.identities[label]) for label in store.labels]
        self.sources = [_as_unicode(f"{folder}#{source}") for source in store.sources]
        self._crops = store.crops

    def cut(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "112 96 3"] | str]:
        """The crop of each of these rows."""
        return [self._crops[row] for row in rows]


@dataclass(frozen=True)
class Enrollment:
    """What ``enroll`` did.

    Attributes:
        num_added: Photos or crops that are new in the gallery.
        num_known: Those that were enrolled under their name already.
        left_out: The source of each that was not enrolled, and the reason.
    """

    num_added: int
    num_known: int
    left_out: dict[str, str]


def enroll(
    gallery: Gallery,
    faces: PhotoFaces | StoreFaces,
    embedder: Embedder,
    advance: Advance = ignore_progress,
) -> Enrollment:
    """Embed faces and add them to a gallery, in batches that are on disk when done.

    Faces that are there already are not looked at, so an enrollment that was killed
    can be run again and goes on where it was.

    Args:
        gallery: Open for the embedder's model.
        faces: Photos or crops, with names.
        embedder: Makes the embeddings.
        advance: Progress, one unit a face, known ones included.

    Raises:
        MismatchError: If the gallery is of another model.
    """
    new = [
        row
        for row, (name, source) in enumerate(
            zip(faces.names, faces.sources, strict=True)
        )
        if gallery.find(name, source) is None
    ]
    num_known = len(faces.names) - len(new)
    advance(num_known)
    left_out: dict[str, str] = {}
    for start in range(0, len(new), _BATCH):
        rows = new[start : start + _BATCH]
        crops: dict[int, UInt8[np.ndarray, "112 96 3"]] = {}
        for row, crop in zip(rows, faces.cut(rows), strict=True):
            if isinstance(crop, str):
                left_out[faces.sources[row]] = crop
            else:
                crops[row] = crop
        if crops:
            gallery.add(
                [faces.names[row] for row in crops],
                embedder.embed_crops(np.stack(list(crops.values()))),
                [faces.sources[row] for row in crops],
            )
        advance(len(rows))
    return Enrollment(len(new) - len(left_out), num_known, left_out)


def _as_unicode(text: str) -> str:
    """Text that can be stored, for file names that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
