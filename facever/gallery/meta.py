"""What all embeddings of a gallery have in common: its metadata."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facever.errors import FileError, GalleryError, ParameterError


@dataclass(frozen=True)
class Threshold:
    """Above which cosine a match is the same person, else nobody.

    Attributes:
        cosine: Accept above it.
        rule: ``far``: for a false accept rate over pairs; ``fpir``: for the share of
            unknown people who are taken for somebody.
        rate: The rate that was allowed, in (0, 1).
        num_embeddings: Embeddings in the gallery when it was set: more people bring
            more false answers.
    """

    cosine: float
    rule: str
    rate: float
    num_embeddings: int


@dataclass(frozen=True)
class GalleryMeta:
    """What all embeddings of a gallery have in common.

    Attributes:
        format: Version of the layout on disk, or in the database.
        gallery_id: Its own, so that no other gallery's index is taken for its.
        embedding_size: Numbers in an embedding.
        model_fingerprint: The model that made the embeddings, None if unbound.
        model_details: What is worth knowing of that model: network, mirror rule,
            preprocessing. For people; the fingerprint is what is compared.
        created: UTC, ISO 8601.
        index: Kind of index to search with.
        threshold: None if none was set.
    """

    format: int
    gallery_id: str
    embedding_size: int
    model_fingerprint: str | None
    model_details: dict[str, Any]
    created: str
    index: str
    threshold: Threshold | None


def new_meta(
    version: int,
    embedding_size: int,
    model_fingerprint: str | None,
    model_details: Mapping[str, Any],
    index: str,
) -> GalleryMeta:
    """The metadata of a gallery that is made now.

    Args:
        version: The format that the gallery is written in.
        embedding_size: Number of values in an embedding, at least 1.
        model_fingerprint: The model whose embeddings, and no others, it takes; None if
            it takes any of the right size.
        model_details: What a person wants to know of that model.
        index: Kind of index to search with.

    Raises:
        ParameterError: If ``embedding_size`` is below 1.
    """
    if embedding_size < 1:
        raise ParameterError(f"embedding_size must be at least 1, got {embedding_size}")
    return GalleryMeta(
        format=version,
        gallery_id=uuid.uuid4().hex,
        embedding_size=embedding_size,
        model_fingerprint=model_fingerprint,
        model_details=dict(model_details),
        created=now(),
        index=index,
        threshold=None,
    )


def meta_from_json(
    values: Callable[[], dict[str, Any]],
    version: int,
    place: Path | str,
    damaged: Callable[[str], FileError],
) -> GalleryMeta:
    """Metadata from what ``dataclasses.asdict`` made of it.

    Args:
        values: Reads it; may raise what reading JSON does.
        version: The format that is understood.
        place: For messages.
        damaged: Makes the error to raise of what is wrong.

    Raises:
        FileError: If it is damaged.
        GalleryError: If another version of facever made it.
    """
    try:
        meta = values()
        number = int(meta["format"])
        if number == version:
            threshold = meta.pop("threshold")
            return GalleryMeta(
                **meta, threshold=None if threshold is None else Threshold(**threshold)
            )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged("its metadata is unreadable") from error
    raise GalleryError(
        f"{place}: this gallery has format {number}, this facever reads format "
        f"{version}; use the facever that made it, or enroll the photos anew"
    )


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Audit:
    """Recall of an index, on photos of the gallery looked up among the others.

    Attributes:
        num_queries: Number of photos that were looked up.
        k: Number of matches of each that were compared.
        recall_at_1: Share of them whose most similar other photo was found.
        recall_at_k: Share of their k most similar other photos that were found.
    """

    num_queries: int
    k: int
    recall_at_1: float
    recall_at_k: float


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery holds.

    Attributes:
        format: Version of the database's layout.
        created: UTC, ISO 8601.
        num_people: Different names.
        num_embeddings: Enrolled photos.
        embedding_size: Numbers in an embedding.
        model_fingerprint: The model that made the embeddings, None if unbound.
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
