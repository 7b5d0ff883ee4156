"""What all embeddings of a gallery in Qdrant have in common: its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from facever.errors import FileError, GalleryError
from facever.gallery.meta import GalleryMeta, meta_from_json, new_meta
from facever.gallery.qdrant.collection import Collection
from facever.gallery.qdrant.points import INDEXED

FORMAT = 1
# One text, so that no server merges an old value into a new one.
_KEY = "facever_gallery"


def create_collection(
    collection: Collection,
    embedding_size: int,
    model_fingerprint: str | None,
    model_details: Mapping[str, Any],
) -> None:
    """Make an empty gallery.

    Raises:
        GalleryError: If there is a gallery already, or the server keeps no metadata.
        FileError: If there is another collection of this name, or no server.
    """
    if collection.exists():
        read_collection_meta(collection)
        raise GalleryError(f"{collection.place}: there is a gallery already")
    meta = new_meta(FORMAT, embedding_size, model_fingerprint, model_details, "exact")
    collection.create(embedding_size, _as_metadata(meta), INDEXED)
    if _KEY not in collection.size_and_metadata()[1]:
        raise GalleryError(
            f"{collection.place}: this server keeps no metadata of a collection; use "
            "Qdrant 1.16 or later, and delete the empty collection that was made"
        )


def read_collection_meta(collection: Collection) -> GalleryMeta:
    """Read the collection's metadata.

    Raises:
        FileError: If there is no such collection, or it is damaged or not a gallery.
        GalleryError: If another version of facever made it.
    """
    size, metadata = collection.size_and_metadata()
    if _KEY not in metadata:
        raise FileError(
            f"{collection.place}: this collection is not a gallery; name one that "
            "gallery create or add made"
        )
    meta = meta_from_json(
        lambda: json.loads(metadata[_KEY]),
        FORMAT,
        collection.place,
        collection.damaged,
    )
    if size != meta.embedding_size:
        raise collection.damaged(
            f"its vectors are not of {meta.embedding_size} numbers"
        )
    return meta


def write_collection_meta(collection: Collection, meta: GalleryMeta) -> None:
    """Put other values into the collection's metadata."""
    collection.set_metadata(_as_metadata(meta))


def _as_metadata(meta: GalleryMeta) -> dict[str, str]:
    return {_KEY: json.dumps(asdict(meta))}
