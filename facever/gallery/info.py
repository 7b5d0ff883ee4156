"""What a gallery holds, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facever.gallery.meta import GalleryMeta, Threshold


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


def describe_gallery(meta: GalleryMeta, names: Mapping[str, int]) -> GalleryInfo:
    """Put together what a gallery holds.

    Args:
        meta: Its metadata.
        names: How many embeddings each person has.
    """
    return GalleryInfo(
        format=meta.format,
        created=meta.created,
        num_people=len(names),
        num_embeddings=sum(names.values()),
        embedding_size=meta.embedding_size,
        model_fingerprint=meta.model_fingerprint,
        model_details=meta.model_details,
        threshold=meta.threshold,
        index=meta.index,
    )
