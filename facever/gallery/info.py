"""What a gallery holds, in numbers."""

from dataclasses import dataclass
from typing import Any

from facever.gallery.meta import Threshold
from facever.gallery.store import GalleryStore


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery holds.

    Attributes:
        format: Version of the database's layout.
        created: UTC, ISO 8601.
        num_people: Different names.
        num_embeddings: Enrolled photos.
        embedding_size: Numbers in an embedding.
        model_fingerprint: Of the model that made the embeddings, None if unbound.
        model_details: That model's network, mirror rule, preprocessing and the like.
        threshold: Above which cosine a match is the same person; None if none was set.
        index: Kind of index that is searched with.
    """

    format: int
    created: str
    num_people: int
    num_embeddings: int
    embedding_size: int
    model_fingerprint: str | None
    model_details: dict[str, Any]
    threshold: Threshold | None
    index: str


def describe_gallery(store: GalleryStore) -> GalleryInfo:
    """Count what a store holds, in one whole state."""
    with store.reading():
        meta = store.meta()
        num_people, num_embeddings = len(store.names()), store.count()
    return GalleryInfo(
        format=meta.format,
        created=meta.created,
        num_people=num_people,
        num_embeddings=num_embeddings,
        embedding_size=meta.embedding_size,
        model_fingerprint=meta.model_fingerprint,
        model_details=meta.model_details,
        threshold=meta.threshold,
        index=meta.index,
    )
