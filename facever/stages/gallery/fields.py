"""Fields of entries as people type them: ``key=value``."""

import json
from collections.abc import Sequence
from typing import Any

from facever.errors import ParameterError


def parse_fields(texts: Sequence[str]) -> dict[str, Any]:
    """Values by key: each is taken as JSON if it is JSON, else as text.

    >>> parse_fields(["team=red", "age=7", "left=null"])
    {'team': 'red', 'age': 7, 'left': None}

    Raises:
        ParameterError: If there is no ``=``, or no key before it.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ParameterError(f"a field must be written key=value, got {text!r}")
        try:
            fields[key] = json.loads(value)
        except json.JSONDecodeError:
            fields[key] = value
    return fields
