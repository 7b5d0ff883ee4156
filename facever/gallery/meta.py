"""What all embeddings of a gallery have in common: its metadata."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter

from facever.errors import FileError, GalleryError, ParameterError

_AS_WRITTEN = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Threshold:
    """The cosine above which a match is the same person; up to it, it is nobody.

    Attributes:
        cosine: The cosine above which a match is accepted.
        rule: What it was chosen for. ``far``: a false accept rate over pairs; ``fpir``:
            the share of unknown people who are taken for somebody.
        rate: The rate that was allowed, in (0, 1).
        num_embeddings: Number of embeddings in the gallery when it was chosen: more
            people bring more false answers.
    """

    __pydantic_config__: ClassVar = _AS_WRITTEN

    cosine: Annotated[float, Field(ge=-1, le=1)]
    rule: str
    rate: float
    num_embeddings: int


@dataclass(frozen=True)
class GalleryMeta:
    """What all embeddings of a gallery have in common.

    Attributes:
        format: Version of the layout on disk, or in the database.
        gallery_id: The gallery's own id, which its index must have, too.
        embedding_size: Number of values in an embedding.
        model_fingerprint: The model that made the embeddings; None if the gallery takes
            any of the right size.
        model_details: What is worth knowing of that model: network, mirror rule,
            preprocessing. For people; the fingerprint is what is compared.
        created: When it was made, UTC, ISO 8601.
        index: Kind of index to search with.
        threshold: The threshold of a search; None if none was set.
    """

    __pydantic_config__: ClassVar = _AS_WRITTEN

    format: int
    gallery_id: str
    embedding_size: Annotated[int, Field(ge=1)]
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
        model_details: Facts about that model for people to read.
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
        values: Reads the values, and may raise what reading JSON raises.
        version: The format that this facever reads.
        place: Where the gallery is, for messages.
        damaged: Makes the error to raise from a description of what is wrong.

    Raises:
        FileError: If the metadata is damaged.
        GalleryError: If another version of facever made it.
    """
    try:
        meta = values()
        number = int(meta["format"])
        if number == version:
            return _METAS.validate_python(meta)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise damaged("its metadata is unreadable") from error
    raise GalleryError(
        f"{place}: this gallery has format {number}, this facever reads format "
        f"{version}; use the facever that made it, or enroll the photos again"
    )


def threshold_from_json(values: Any) -> Threshold | None:
    """A threshold from what ``dataclasses.asdict`` made of it, or None from None.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        return _THRESHOLDS.validate_python(values)
    except ValueError:
        raise ValueError(
            f"a threshold is a cosine with rule and rate, got {values!a}"
        ) from None


_METAS = TypeAdapter(GalleryMeta)
_THRESHOLDS: TypeAdapter[Threshold | None] = TypeAdapter(Threshold | None)


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Audit:
    """Recall of an index, on photos of the gallery looked up among the others.

    Attributes:
        num_queries: Number of photos that were looked up.
        k: Number of matches of each photo that were compared.
        recall_at_1: Share of the photos whose most similar other photo was found.
        recall_at_k: Share of the photos' k most similar other photos that were found.
        candidates: Number of photos that a graph in PostgreSQL gives, of which the
            nearest are taken; None with any other index.
    """

    num_queries: int
    k: int
    recall_at_1: float
    recall_at_k: float
    candidates: int | None = None


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery holds.

    Attributes:
        format: Version of the database's layout.
        created: When it was made, UTC, ISO 8601.
        num_people: Number of enrolled people.
        num_embeddings: Number of enrolled photos.
        embedding_size: Number of values in an embedding.
        model_fingerprint: The model that made the embeddings; None if the gallery takes
            any of the right size.
        model_details: That model's network, mirror rule, preprocessing and the like.
        threshold: The threshold of a search; None if none was set.
        index: Kind of index that was asked for.
        index_in_use: Kind of index that is searched with: in a folder few embeddings
            are searched exactly, and ``auto`` chooses by their number.
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
    index_in_use: str


def describe_gallery(
    meta: GalleryMeta, names: Mapping[str, int], index_in_use: str
) -> GalleryInfo:
    """Put together what a gallery holds.

    Args:
        meta: The gallery's metadata.
        names: How many embeddings each person has.
        index_in_use: Kind of index that it is searched with.
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
        index_in_use=index_in_use,
    )
