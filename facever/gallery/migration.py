"""Embeddings of another model for all of a gallery, from where its faces came from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import STORE_FILE
from facever.errors import FaceverError, MismatchError
from facever.faces.photo_source import PhotoSource
from facever.gallery.base import AnyGallery
from facever.gallery.enrollment import FaceSource, PhotoFaces, StoreFaces
from facever.gallery.entries import Entry, Origin
from facever.inference.embedder import Embedder
from facever.progress import Advance, ignore_progress

NO_PHOTO = "it was enrolled as an embedding"
"""Why an entry can never be embedded again."""


@dataclass(frozen=True)
class Reembedding:
    """The faces that could be embedded again, and those that could not.

    Attributes:
        embeddings: The new embeddings by the entries' ids.
        missing: Entries whose face cannot be read any more, and the reason, by id.
    """

    embeddings: dict[str, Float[np.ndarray, " dim"]]
    missing: dict[str, tuple[Entry, str]]


def reembed(
    gallery: AnyGallery,
    embedder: Embedder,
    advance: Advance = ignore_progress,
) -> Reembedding:
    """Embed every entry's face again; the gallery stays as it is.

    Args:
        gallery: The gallery to read from, of any model.
        embedder: The new model's; it finds the faces of photos, too.
        advance: Progress, one unit for each entry.
    """
    found = Reembedding({}, {})
    groups: dict[str | None, list[tuple[Entry, Origin]]] = {}
    entries = gallery.entries()
    origins = gallery.origins([entry.id for entry in entries])
    for entry in entries:
        origin = origins.get(entry.id)
        if origin is None:
            found.missing[entry.id] = entry, NO_PHOTO
            advance()
        else:
            container = None if origin.member is None else origin.path
            groups.setdefault(container, []).append((entry, origin))
    for container, members in groups.items():
        if container is None:
            photos = [
                PhotoSource(entry.source, entry.name, Path(origin.path))
                for entry, origin in members
            ]
            faces: FaceSource = PhotoFaces(photos, embedder)
            rows = {entry.id: row for row, (entry, _) in enumerate(members)}
        else:
            try:
                faces, row_of = _open(container, embedder)
            except MismatchError as error:
                _lack(found, members, str(error), advance)
                continue
            except FaceverError:
                _lack(found, members, "its file or store is gone or damaged", advance)
                continue
            gone = [m for m in members if m[1].member not in row_of]
            _lack(found, gone, "its file or store does not hold it any more", advance)
            rows = {
                entry.id: row_of[origin.member]
                for entry, origin in members
                if origin.member is not None and origin.member in row_of
            }
        _embed(found, faces, rows, dict((e.id, e) for e, _ in members), advance)
    return found


def _open(container: str, embedder: Embedder) -> tuple[FaceSource, dict[str, int]]:
    """The faces of a crop store or of a file of photos, and the row of each source."""
    if (Path(container) / STORE_FILE).exists():
        store = CropStore.open(container)
        return StoreFaces(store, embedder), _rows(store.sources)
    listing = find_photos(container)
    faces = PhotoFaces(listing.photos, embedder, listing.has_landmarks)
    return faces, _rows(photo.source for photo in listing.photos)


def _rows(sources: Iterable[str]) -> dict[str, int]:
    return {source: row for row, source in enumerate(sources)}


def _lack(
    found: Reembedding,
    members: list[tuple[Entry, Origin]],
    reason: str,
    advance: Advance,
) -> None:
    for entry, _ in members:
        found.missing[entry.id] = entry, reason
    advance(len(members))


def _embed(
    found: Reembedding,
    faces: FaceSource,
    rows: dict[str, int],
    entries: dict[str, Entry],
    advance: Advance,
) -> None:
    ids = list(rows)
    for start in range(0, len(ids), faces.batch):
        some = ids[start : start + faces.batch]
        embedded = faces.embed([rows[entry_id] for entry_id in some])
        for entry_id in some:
            embedding = embedded[rows[entry_id]]
            if isinstance(embedding, str):
                found.missing[entry_id] = entries[entry_id], embedding
            else:
                found.embeddings[entry_id] = embedding
        advance(len(some))
