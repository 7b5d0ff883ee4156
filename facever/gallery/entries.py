"""What a gallery holds and answers: entries, filters, matches."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from typing import Any, get_args

from facever.choices import By
from facever.errors import ParameterError
from facever.foreign_files import parse_json
from facever.results import plain_fields


@dataclass(frozen=True)
class Origin:
    """Where an entry's face can be read from again, on this machine; never shown.

    Attributes:
        path: The photo's file, or the file or crop store that holds it; absolute.
        member: Name of the photo within the file or store; None if the file is the
            photo.
        digest: SHA-256 of the photo's bytes when it was enrolled, in hexadecimal; None
            where nobody has looked, as in galleries of facever before it kept them.
    """

    path: str
    member: str | None = None
    digest: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """An enrolled photo, without its embedding.

    Attributes:
        id: The entry's own id, which stays even if the name changes.
        name: The person on the photo.
        source: What the photo is called: a path below some folder, with ``/``.
        added: When it was added, UTC, ISO 8601.
        fields: What else is known of it: JSON values by name.
    """

    id: str
    name: str
    source: str
    added: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """Some of a gallery's entries: those that meet all conditions; by default, all.

    Attributes:
        names: Only photos of these people; empty for anybody.
        fields: Only entries with these values in these fields: text, numbers, true,
            false or null. An entry without the field does not meet null.
        ids: Only entries with these ids; empty for any.
        photos: Only these photos, each as name and source; empty for any.
    """

    names: Sequence[str] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    ids: Sequence[str] = ()
    photos: Sequence[tuple[str, str]] = ()

    @property
    def is_everything(self) -> bool:
        """Whether there is no condition."""
        return not (self.names or self.fields or self.ids or self.photos)


@dataclass(frozen=True)
class Match:
    """An enrolled photo, or person, that resembles a query.

    Attributes:
        name: The person on the photo.
        cosine: The similarity in [-1, 1]; larger is more similar. For a person, the
            best or the mean over their photos.
        source: What the photo is called; for a person, the most similar photo.
        id: The id of that photo's entry.
        fields: What else is known of that photo.
    """

    name: str
    cosine: float
    source: str
    id: str
    fields: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The match as plain values that JSON can hold."""
        return plain_fields(self)


def changed(entry: Entry, name: str | None, fields: Mapping[str, Any] | None) -> Entry:
    """An entry under another name or with other fields.

    Args:
        entry: The entry as it was.
        name: The person on the photo from now on; None keeps the name.
        fields: Values to set; a value of None removes the field. Others stay.
    """
    changes = dict(fields or {})
    kept = {
        key: value
        for key, value in (entry.fields | changes).items()
        if key not in changes or value is not None
    }
    return replace(entry, name=name or entry.name, fields=kept)


def fields_as_json(fields: Mapping[str, Any]) -> str:
    """JSON of fields, as it is stored.

    Raises:
        ParameterError: If a field's name is empty or not text, or a value is not JSON.
    """
    for name in fields:
        if not isinstance(name, str) or not name.strip():
            raise ParameterError(
                f"a field's name must be text that is not empty, got {name!a}"
            )
    try:
        text = json.dumps(dict(fields), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"fields must be JSON values by name, got {dict(fields)!a} ({error})"
        ) from None
    return text


def fields_from_json(text: str) -> dict[str, Any]:
    """The fields of which ``fields_as_json`` made a text.

    Raises:
        ValueError: If the text is anything else.
    """
    fields = parse_json(text)
    if not isinstance(fields, dict):
        raise ValueError("fields are an object")
    return fields


def origin_from_json(text: str) -> Origin:
    """The origin of which ``dataclasses.asdict`` and JSON made a text.

    Raises:
        ValueError: If the text is anything else.
    """
    facts = parse_json(text)
    # Names of files that are no text are kept as surrogates, which pydantic refuses.
    is_origin = isinstance(facts, dict) and {"path"} <= facts.keys() <= _ORIGIN_KEYS
    if not is_origin or not isinstance(facts["path"], str):
        raise ValueError("an origin is an object with a path")
    if not all(fact is None or isinstance(fact, str) for fact in facts.values()):
        raise ValueError("what an origin says is text")
    return Origin(**facts)


_ORIGIN_KEYS = {each.name for each in dataclass_fields(Origin)}


def check_by(by: str) -> None:
    """Refuse an unknown way to score.

    Raises:
        ParameterError: If ``by`` is unknown; the message names the known ways.
    """
    if by not in get_args(By):
        raise ParameterError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")
