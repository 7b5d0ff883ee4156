"""From photos, crops or embeddings to entries of a gallery, a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from facever.data.store.crop_store import CropStore
from facever.faces.photo_source import PhotoSource
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Origin
from facever.inference.embedder import Embedder
from facever.progress import Advance, ignore_progress

_BATCH = 32
_EMBEDDINGS_BATCH = 8192


@runtime_checkable
class FaceSource(Protocol):
    """Faces to enroll or to look up.

    Attributes:
        names: The person of each face.
        sources: What each face's photo is called where it is shown and stored; never a
            path of this machine.
        origins: Where each face can be read from again.
        batch: Number of faces to ask for at a time.
    """

    names: list[str]
    sources: list[str]
    origins: Sequence[Origin | None]
    batch: int

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows, or the reason why it has none."""
        ...


class PhotoFaces:
    """The largest face of each photo."""

    batch = _BATCH

    def __init__(
        self,
        photos: Sequence[PhotoSource],
        embedder: Embedder,
        by_landmarks: bool = False,
    ) -> None:
        """Take photos.

        Args:
            photos: The photos, as ``list_photos`` gives them.
            embedder: The embedder that finds and embeds the faces.
            by_landmarks: Whether to use the landmarks that the photos' sources list.
        """
        self.names = [_as_unicode(photo.identity) for photo in photos]
        self.sources = [_as_unicode(photo.source) for photo in photos]
        self.origins: Sequence[Origin | None] = [
            Origin(str(photo.path.resolve()), photo.source if photo.part else None)
            for photo in photos
        ]
        self._photos = photos
        self._embedder = embedder
        self._by_landmarks = by_landmarks

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows, or the reason why it has none."""
        photos = [self._photos[row] for row in rows]
        read = self._embedder.read(photos, "largest", self._by_landmarks)
        return {
            row: photo.embeddings[0] if photo.reason is None else photo.reason
            for row, photo in zip(rows, read, strict=True)
        }


class StoreFaces:
    """The crops of a store."""

    batch = _BATCH

    def __init__(self, store: CropStore, embedder: Embedder) -> None:
        folder = str(store.folder.resolve())
        self.names = [_as_unicode(store.identities[label]) for label in store.labels]
        self.sources = [_as_unicode(source) for source in store.sources]
        self.origins: Sequence[Origin | None] = [
            Origin(folder, source) for source in store.sources
        ]
        self._crops = store.crops_for(embedder.template)
        self._embedder = embedder

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows."""
        return _embed(self._embedder, {row: self._crops[row] for row in rows})


class EmbeddingFaces:
    """Faces that somebody has embedded already."""

    batch = _EMBEDDINGS_BATCH

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
    ) -> None:
        self.names, self.sources = list(names), list(sources)
        self.origins: Sequence[Origin | None] = [None] * len(self.names)
        self._embeddings = embeddings

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows."""
        return {row: self._embeddings[row] for row in rows}


@dataclass(frozen=True)
class Enrollment:
    """What ``enroll`` did.

    Attributes:
        num_added: Photos or crops that are new in the gallery.
        num_known: Photos or crops that were enrolled under their name already.
        left_out: The source of each photo that was not enrolled, and the reason.
    """

    num_added: int
    num_known: int
    left_out: dict[str, str]


def enroll(
    gallery: AnyGallery,
    faces: FaceSource,
    fields: Mapping[str, Any] | None = None,
    advance: Advance = ignore_progress,
) -> Enrollment:
    """Embed faces and add them to a gallery, in batches that are on disk when done.

    Faces that are there already are not looked at, so an enrollment that was killed
    can be run again and continues where it stopped. A source of the same name from
    another place that still exists is another photo: it is enrolled as ``source~2``.

    Args:
        gallery: A gallery that is open for the model that makes the embeddings.
        faces: The faces to enroll, with names.
        fields: What else is known of all of the faces.
        advance: Progress, one unit for each face, known ones included.

    Raises:
        MismatchError: If the gallery is of another model.
    """
    left_out: dict[str, str] = {}
    sources: dict[int, str] = {}
    listed = zip(faces.names, faces.sources, faces.origins, strict=True)
    for row, (name, source, origin) in enumerate(listed):
        free = _free_source(gallery, name, source, origin)
        if free is not None:
            sources[row] = free
    new = list(sources)
    num_known = len(faces.names) - len(new)
    advance(num_known)
    for start in range(0, len(new), faces.batch):
        rows = new[start : start + faces.batch]
        embedded = faces.embed(rows)
        reasons = {row: e for row, e in embedded.items() if isinstance(e, str)}
        left_out |= {faces.sources[row]: reason for row, reason in reasons.items()}
        well = {row: e for row, e in embedded.items() if not isinstance(e, str)}
        if well:
            gallery.add(
                [faces.names[row] for row in well],
                np.stack(list(well.values())),
                [sources[row] for row in well],
                [fields or {}] * len(well),
                [faces.origins[row] for row in well],
            )
        advance(len(rows))
    return Enrollment(len(new) - len(left_out), num_known, left_out)


def _embed(
    embedder: Embedder, crops: dict[int, UInt8[np.ndarray, "high wide 3"]]
) -> dict[int, Float[np.ndarray, " dim"] | str]:
    if not crops:
        return {}
    embeddings = embedder.embed_crops(np.stack(list(crops.values())))
    return dict(zip(crops, embeddings, strict=True))


def _free_source(
    gallery: AnyGallery, name: str, source: str, origin: Origin | None
) -> str | None:
    """What to call a photo in the gallery; None if it is enrolled already."""
    for number in count(1):
        asked = source if number == 1 else f"{source}~{number}"
        known = gallery.find(name, asked)
        if known is None:
            return asked
        if not _elsewhere(gallery.origin(known), origin):
            return None
    raise AssertionError("unreachable")


def _elsewhere(enrolled: Origin | None, asked: Origin | None) -> bool:
    """Whether the two are different photos, as far as can be known.

    A photo that is gone from where it was enrolled from has been moved.
    """
    if enrolled is None or asked is None or enrolled == asked:
        return False
    return Path(enrolled.path).exists()


def _as_unicode(text: str) -> str:
    """Text that can be stored, for file names that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
