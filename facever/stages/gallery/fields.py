"""Fields of entries as they are typed: ``key=value``."""

import json
from collections.abc import Sequence
from typing import Any

from facever.errors import ParameterError


def parse_fields(texts: Sequence[str]) -> dict[str, Any]:
    """Values by key; one that is JSON is taken so, any other is text.

    Raises:
        ParameterError: If there is no ``=``, or no key before it.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ParameterError(f"a field must be written key=value, got {text!r}")
        fields[key] = _parse(value)
    return fields


def _parse(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
