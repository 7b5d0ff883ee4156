"""From photos, crops or embeddings to entries of a gallery, a batch at a time."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from facever.choices import DEFAULT_FACE, FaceRule, OneFace
from facever.data.sources.videos import name_in_file
from facever.data.store.crop_store import CropStore
from facever.errors import FileError, GalleryError
from facever.faces.photo_source import PhotoSource
from facever.gallery.base import AnyGallery, NamedPhoto
from facever.gallery.entries import Origin
from facever.inference.embedder import Embedder
from facever.progress import Advance, ignore_progress

_BATCH = 32
_EMBEDDINGS_BATCH = 8192

# Photos that the gallery is asked for together: a database is slow to answer for each.
_ASKED_AT_ONCE = 1000


@runtime_checkable
class FaceSource(Protocol):
    """Faces to enroll or to look up.

    Attributes:
        names: The person of each face.
        sources: What each face's photo is called where it is shown and stored; never a
            path of this machine.
        origins: Where each face can be read from again.
        batch: Number of faces to ask for at a time.
        several: How many faces were found on each photo that shows more than one, by
            its source, of the rows that were embedded.
        notes: What is to be known of where they come from, a line each.
    """

    names: list[str]
    sources: list[str]
    origins: Sequence[Origin | None]
    batch: int
    several: dict[str, int]
    notes: tuple[str, ...]

    def digest(self, row: int) -> str | None:
        """SHA-256 of what a face is read from; None if it is not to be had."""
        ...

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows, or the reason why it has none."""
        ...


class PhotoFaces:
    """One face of each photo."""

    batch = _BATCH
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        photos: Sequence[PhotoSource],
        embedder: Embedder,
        by_landmarks: bool = False,
        face: OneFace = DEFAULT_FACE,
    ) -> None:
        """Take photos.

        Args:
            photos: The photos, as ``list_photos`` gives them.
            embedder: The embedder that finds and embeds the faces.
            by_landmarks: Whether to use the landmarks that the photos' sources list.
            face: Which face to take of a photo that has several.
        """
        self.names = [as_unicode(photo.identity) for photo in photos]
        self.sources = [as_unicode(photo.source) for photo in photos]
        self.origins: Sequence[Origin | None] = [
            Origin(str(photo.path.resolve()), name_in_file(photo)) for photo in photos
        ]
        self._photos = photos
        self._embedder = embedder
        self._by_landmarks = by_landmarks
        self._face = face
        self.several: dict[str, int] = {}

    def digest(self, row: int) -> str | None:
        """SHA-256 of a photo's bytes; None if it cannot be read."""
        try:
            return self._photos[row].digest()
        except OSError:
            return None

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows, or the reason why it has none."""
        return {
            row: found if isinstance(found, str) else found[0]
            for row, found in self._embed(rows, self._face).items()
        }

    def embed_all(
        self, rows: Sequence[int]
    ) -> dict[int, Float[np.ndarray, "faces dim"] | str]:
        """The embeddings of all faces of each of these photos, the largest first."""
        return self._embed(rows, "all")

    def _embed(
        self, rows: Sequence[int], face: FaceRule
    ) -> dict[int, Float[np.ndarray, "faces dim"] | str]:
        photos = [self._photos[row] for row in rows]
        read = self._embedder.read(photos, face, self._by_landmarks)
        for row, photo in zip(rows, read, strict=True):
            if photo.num_found > 1:
                self.several[self.sources[row]] = photo.num_found
        return {
            row: photo.embeddings if photo.reason is None else photo.reason
            for row, photo in zip(rows, read, strict=True)
        }


class StoreFaces:
    """The crops of a store."""

    batch = _BATCH
    notes: tuple[str, ...] = ()

    def __init__(self, store: CropStore, embedder: Embedder) -> None:
        folder = str(store.folder.resolve())
        self.names = [as_unicode(store.identities[label]) for label in store.labels]
        self.sources = [as_unicode(source) for source in store.sources]
        self.origins: Sequence[Origin | None] = [
            Origin(folder, source) for source in store.sources
        ]
        self.several: dict[str, int] = {}
        self._crops = store.crops_for(embedder.template)
        self._embedder = embedder

    def digest(self, row: int) -> str | None:
        """SHA-256 of a crop's pixels."""
        return hashlib.sha256(self._crops[row].tobytes()).hexdigest()

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows."""
        return _embed(self._embedder, {row: self._crops[row] for row in rows})


class EmbeddingFaces:
    """Faces that somebody has embedded already."""

    batch = _EMBEDDINGS_BATCH
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
    ) -> None:
        self.names, self.sources = list(names), list(sources)
        self.origins: Sequence[Origin | None] = [None] * len(self.names)
        self.several: dict[str, int] = {}
        self.embeddings = embeddings

    def digest(self, row: int) -> str | None:
        """None: a photo is not known by what others embedded."""
        return None

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows."""
        return {row: self.embeddings[row] for row in rows}


@dataclass(frozen=True)
class Enrollment:
    """What ``enroll`` did.

    Attributes:
        num_added: Photos or crops that are new in the gallery.
        num_known: Photos or crops that were enrolled under their name already.
        left_out: The source of each photo that was not enrolled, and the reason.
        changed: The source of each known photo whose file has other bytes than when it
            was enrolled.
        num_replaced: How many of these were embedded again; the others stay as they
            were enrolled.
        several: How many faces there are on each new photo that shows more than one.
        alike: Photos that are the same, byte by byte, under several names, each as the
            names and sources.
        renamed: What new photos are called whose source another photo of their person
            has already, by that source.
    """

    num_added: int
    num_known: int
    left_out: dict[str, str]
    changed: list[str] = field(default_factory=list)
    num_replaced: int = 0
    several: dict[str, int] = field(default_factory=dict)
    alike: list[list[NamedPhoto]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)


def enroll(
    gallery: AnyGallery,
    faces: FaceSource,
    fields: Mapping[str, Any] | None = None,
    advance: Advance = ignore_progress,
    replaces: bool = False,
) -> Enrollment:
    """Embed faces and add them to a gallery, in batches that are on disk when done.

    Faces that are there already are not looked for again, so an enrollment that was
    killed can be run again and continues where it stopped. A source of the same name
    from another place that still exists is another photo: it is enrolled as
    ``source~2``. A photo whose file has changed since is told, or embedded again.

    Args:
        gallery: A gallery that is open for the model that makes the embeddings.
        faces: The faces to enroll, with names.
        fields: What else is known of all of the faces.
        advance: Progress, one unit for each face, known ones included.
        replaces: Whether a photo whose bytes have changed is embedded again; its id,
            name, source and fields stay.

    Raises:
        MismatchError: If the gallery is of another model, or of another size.
        FileError: If the gallery cannot be read or changed any more; the message says
            how many were enrolled by then.
        GalleryError: If others keep on changing it; the message says so, too.
    """
    if isinstance(faces, EmbeddingFaces):
        # Of another size or model, they are refused even if all of them are known.
        gallery.add([], faces.embeddings[:0], [])
    left_out: dict[str, str] = {}
    places: list[_Place] = []
    photos = list(zip(faces.names, faces.sources, strict=True))
    for row in range(len(photos)):
        if row % _ASKED_AT_ONCE == 0:
            known = _Known(gallery, photos[row : row + _ASKED_AT_ONCE])
        place = _find_place(known, faces, row, faces.digest(row))
        places.append(place)
        if place.known is not None and not (replaces and place.is_changed):
            advance(1)
    changed = [row for row, place in enumerate(places) if place.is_changed]
    new = [row for row, place in enumerate(places) if place.known is None]
    to_do = sorted([*new, *changed]) if replaces else new
    num_enrolled = 0
    try:
        for start in range(0, len(to_do), faces.batch):
            rows = to_do[start : start + faces.batch]
            embedded = faces.embed(rows)
            reasons = {row: e for row, e in embedded.items() if isinstance(e, str)}
            left_out |= {faces.sources[row]: reason for row, reason in reasons.items()}
            well = {row: e for row, e in embedded.items() if not isinstance(e, str)}
            added = {row: e for row, e in well.items() if places[row].known is None}
            if added:
                gallery.add(
                    [faces.names[row] for row in added],
                    np.stack(list(added.values())),
                    [places[row].source for row in added],
                    [fields or {}] * len(added),
                    [places[row].origin for row in added],
                )
                num_enrolled += len(added)
            other = {places[row].known: row for row in well if row not in added}
            if other:
                gallery.replace(
                    [entry_id for entry_id in other if entry_id is not None],
                    np.stack([well[row] for row in other.values()]),
                    [places[row].origin for row in other.values()],
                )
                num_enrolled += len(other)
            advance(len(rows))
        alike = _find_alike(gallery, places)
    except (FileError, GalleryError) as error:
        # The gallery speaks of the change that failed, and knows of none before.
        if num_enrolled == 0:
            raise
        raise type(error)(
            f"{error}; {num_enrolled:,} of {len(to_do):,} were enrolled before and "
            "stay; the same command goes on"
        ) from error
    num_failed_new = sum(faces.sources[row] in left_out for row in new)
    num_failed = len(left_out) - num_failed_new
    return Enrollment(
        num_added=len(new) - num_failed_new,
        num_known=len(places) - len(new),
        left_out=left_out,
        changed=[faces.sources[row] for row in changed],
        num_replaced=len(changed) - num_failed if replaces else 0,
        several=dict(faces.several),
        alike=alike,
        renamed={
            faces.sources[row]: places[row].source
            for row in new
            if places[row].source != faces.sources[row]
            and faces.sources[row] not in left_out
        },
    )


def _embed(
    embedder: Embedder, crops: dict[int, UInt8[np.ndarray, "high wide 3"]]
) -> dict[int, Float[np.ndarray, " dim"] | str]:
    if not crops:
        return {}
    embeddings = embedder.embed_crops(np.stack(list(crops.values())))
    return dict(zip(crops, embeddings, strict=True))


@dataclass(frozen=True)
class _Place:
    """What a photo is called in the gallery.

    Attributes:
        source: Its source there.
        known: Its id, if it is enrolled.
        origin: Where its face can be read from, with the digest of now.
        is_changed: Whether it is enrolled, and its bytes were others then.
    """

    source: str
    known: str | None
    origin: Origin | None
    is_changed: bool = False


class _Known:
    """What a gallery has of some photos, for which it is asked together."""

    def __init__(self, gallery: AnyGallery, photos: Sequence[NamedPhoto]) -> None:
        self._gallery = gallery
        self._photos = set(photos)
        self._ids = gallery.ids_of(photos)
        self._origins = gallery.origins(list(self._ids.values()))

    def find(self, name: str, source: str) -> str | None:
        """The id of a photo, one of these or not, None if it is not enrolled."""
        if (name, source) in self._photos:
            return self._ids.get((name, source))
        return self._gallery.find(name, source)

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        if entry_id in self._origins:
            return self._origins[entry_id]
        return self._gallery.origin(entry_id)


def _find_place(
    gallery: _Known, faces: FaceSource, row: int, digest: str | None
) -> _Place:
    name, source, origin = faces.names[row], faces.sources[row], faces.origins[row]
    origin = origin and replace(origin, digest=digest)
    for number in count(1):
        asked = source if number == 1 else f"{source}~{number}"
        known = gallery.find(name, asked)
        if known is None:
            return _Place(asked, None, origin)
        enrolled = gallery.origin(known)
        then = enrolled and enrolled.digest
        is_same = then is not None and then == digest
        if is_same or not _elsewhere(enrolled, origin, asked):
            is_changed = None not in (then, digest) and not is_same
            return _Place(asked, known, origin, is_changed)
    raise AssertionError("unreachable")


def _elsewhere(enrolled: Origin | None, asked: Origin | None, source: str) -> bool:
    """Whether the two are different photos, as far as their places say.

    A photo that is gone from where it was enrolled from has been moved, and perhaps
    edited on the way. But a name without a folder, such as ``1.jpg``, says too little
    for that: with other bytes in another place it is another photo.
    """
    if enrolled is None or asked is None or enrolled == asked:
        return False
    is_bare = "/" not in source and None not in (enrolled.digest, asked.digest)
    return is_bare or Path(enrolled.path).exists()


def _find_alike(
    gallery: AnyGallery, places: Sequence[_Place]
) -> list[list[NamedPhoto]]:
    """The photos of these places that are enrolled under several names."""
    digests = {place.origin.digest for place in places if place.origin}
    found = gallery.photos_of({digest for digest in digests if digest is not None})
    return [
        photos for photos in found.values() if len({name for name, _ in photos}) > 1
    ]


def as_unicode(text: str) -> str:
    """Text that can be stored, for file names that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
