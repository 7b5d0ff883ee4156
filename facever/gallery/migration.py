"""Embeddings of another model for all of a gallery, from where its faces came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facever.data.store.crop_store import CropStore
from facever.errors import FaceverError
from facever.faces.aligner import PhotoAligner
from facever.faces.photo_source import PhotoSource
from facever.gallery.enrollment import FaceSource, PhotoFaces, StoreFaces
from facever.gallery.entries import Entry, Origin
from facever.gallery.folder.gallery import Gallery
from facever.inference.embedder import Embedder
from facever.progress import Advance, ignore_progress


@dataclass(frozen=True)
class Reembedding:
    """What could be embedded anew.

    Attributes:
        embeddings: By the entry's id.
        missing: Entries whose face cannot be read any more, and the reason, by id.
    """

    embeddings: dict[str, Float[np.ndarray, " dim"]]
    missing: dict[str, tuple[Entry, str]]


def reembed(
    gallery: Gallery,
    embedder: Embedder,
    aligner: PhotoAligner,
    advance: Advance = ignore_progress,
) -> Reembedding:
    """Embed every entry's face anew; the gallery stays as it is.

    Args:
        gallery: To read from, of any model.
        embedder: Of the new model.
        aligner: For entries that come from photos.
        advance: Progress, one unit an entry.
    """
    found = Reembedding({}, {})
    groups: dict[str | None, list[tuple[Entry, Origin]]] = {}
    for entry in gallery.entries():
        origin = gallery.origin(entry.id)
        if origin is None:
            found.missing[entry.id] = entry, "it was enrolled as an embedding"
            advance()
        else:
            store = None if origin.crop is None else origin.path
            groups.setdefault(store, []).append((entry, origin))
    for store, members in groups.items():
        if store is None:
            photos = [
                PhotoSource(entry.source, entry.name, Path(origin.path))
                for entry, origin in members
            ]
            faces: FaceSource = PhotoFaces(photos, aligner, embedder)
            rows = {entry.id: row for row, (entry, _) in enumerate(members)}
        else:
            try:
                crops = CropStore.open(store)
            except FaceverError:
                _lack(found, members, "its crop store is gone or damaged", advance)
                continue
            faces = StoreFaces(crops, embedder)
            row_of = {source: row for row, source in enumerate(crops.sources)}
            gone = [m for m in members if m[1].crop not in row_of]
            _lack(found, gone, "its crop store has no such crop any more", advance)
            rows = {
                entry.id: row_of[origin.crop]
                for entry, origin in members
                if origin.crop is not None and origin.crop in row_of
            }
        _embed(found, faces, rows, dict((e.id, e) for e, _ in members), advance)
    return found


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
