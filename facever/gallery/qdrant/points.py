"""What is enrolled as points of a Qdrant collection, and back."""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float32
from qdrant_client import models

from facever.errors import FileError
from facever.gallery.entries import (
    Entry,
    Filter,
    Match,
    Origin,
    fields_as_json,
    fields_from_json,
    origin_from_json,
)

Point = models.Record | models.ScoredPoint

# A point's payload: name, source and added as they are; fields and origin as JSON; its
# number, which grows in the order of adding; and a term of each field, to filter by.
# Qdrant's own match on nested values takes [1, 2] for 1 but not 1.0 for 1, and cannot
# name a field with a quote in it.
INDEXED = ("name", "terms")


def point_id(entry_id: str) -> str | None:
    """The id of an entry's point, None for an id that no gallery gave."""
    try:
        return str(uuid.UUID(hex=entry_id))
    except ValueError:
        return None


def entry_id_of(point: Point) -> str:
    """The id of a point's entry."""
    return uuid.UUID(str(point.id)).hex


def new_id(gallery_id: str, name: str, source: str, attempt: int) -> str:
    """The id for a photo that is added: the same whoever adds it.

    So two processes that add one photo at the same time write one point.

    Args:
        gallery_id: The gallery's own id.
        name: The person on the photo.
        source: What the photo is called.
        attempt: From 0 up, until the id is free: a photo that was renamed keeps its.
    """
    text = json.dumps([name, source, attempt])
    return uuid.uuid5(uuid.UUID(hex=gallery_id), text).hex


def as_point(
    entry: Entry,
    embedding: Float32[np.ndarray, " dim"],
    number: int,
    origin: Origin | None,
) -> models.PointStruct:
    """An entry as it is stored.

    Args:
        entry: An entry whose id is a UUID's 32 digits.
        embedding: An embedding of unit length.
        number: The entry's place in the order of adding.
        origin: Where its face can be read from again.
    """
    payload = changeable(entry) | {
        "source": entry.source,
        "added": entry.added,
        "number": number,
        "origin": None if origin is None else json.dumps(asdict(origin)),
    }
    return models.PointStruct(
        id=str(uuid.UUID(hex=entry.id)), vector=embedding.tolist(), payload=payload
    )


def changeable(entry: Entry) -> dict[str, Any]:
    """The part of an entry's payload that an update changes."""
    return {
        "name": entry.name,
        "fields": fields_as_json(entry.fields),
        "terms": _terms(entry.fields),
    }


def as_entry(point: Point, damaged: Callable[[str], FileError]) -> Entry:
    """The entry of a point.

    Args:
        point: A point with its payload.
        damaged: Makes the error to raise from a description of what is wrong.

    Raises:
        FileError: If the point is not of the form that a gallery writes.
    """
    payload = point.payload or {}
    try:
        name, source, added = (payload[key] for key in ("name", "source", "added"))
        fields = fields_from_json(payload["fields"])
        if (
            all(isinstance(text, str) and text for text in (name, source, added))
            and isinstance(payload["number"], int)
            and isinstance(fields, dict)
            and payload["terms"] == _terms(fields)
        ):
            return Entry(entry_id_of(point), name, source, added, fields)
    except (KeyError, TypeError, ValueError):
        pass
    raise damaged(f"the payload of point {point.id}")


def as_match(point: models.ScoredPoint, damaged: Callable[[str], FileError]) -> Match:
    """A point that was found, with its product with the query as the cosine."""
    entry = as_entry(point, damaged)
    cosine = min(1.0, max(-1.0, float(point.score)))
    return Match(entry.name, cosine, entry.source, entry.id, entry.fields)


def as_origin(point: Point) -> Origin | None:
    """Where a point's face can be read from again, None if nobody said."""
    text = (point.payload or {}).get("origin")
    return None if text is None else origin_from_json(text)


def as_condition(where: Filter) -> models.Filter | None:
    """A filter as Qdrant's; None for everything."""
    if where.is_everything:
        return None
    conditions: list[models.Condition] = [
        _has("terms", term) for term in _terms(where.fields)
    ]
    if where.names:
        conditions.append(_has_one("name", where.names))
    if where.ids:
        ids = [point for key in where.ids if (point := point_id(key)) is not None]
        conditions.append(models.HasIdCondition(has_id=list(ids)))
    if where.photos:
        # The names are what Qdrant has an index of.
        conditions.append(_has_one("name", sorted({name for name, _ in where.photos})))
        photos: list[models.Condition] = [
            models.Filter(must=[_has("name", name), _has("source", source)])
            for name, source in where.photos
        ]
        conditions.append(models.Filter(should=photos))
    return models.Filter(must=conditions)


def _has(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _has_one(key: str, values: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def _terms(fields: Mapping[str, Any]) -> list[str]:
    """A text of each field and its value, the same for 1 and 1.0 as in JSON."""
    fields_as_json(fields)
    return [
        json.dumps([key, _plain(value)], ensure_ascii=False, sort_keys=True)
        for key, value in fields.items()
    ]


def _plain(value: Any) -> Any:
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value
