"""URLs of galleries as they may be shown: a password that stands in one never is."""

import re

_USER = re.compile(
    # A user, and all up to the last @; or, where no @ follows, what is no port.
    r"^([a-z+]*:/*[^:/@\[%]*(?::|%3a))(?:.+(?=@)|(?!\d*(?:[/?,]|$)).+)",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(r"([?&][^=&]*(?:password|api_key)[^=&]*=)[^&]*", re.IGNORECASE)


def hide_password(url: str) -> str:
    """A URL with ``***`` where a password may stand, for messages.

    Whoever mistypes a URL may have put a password into it, so this one rather hides too
    much: all between a user's colon and the last ``@``.

    >>> hide_password("postgres://ann:secret/1@db.example/faces?gallery=people")
    'postgres://ann:***@db.example/faces?gallery=people'
    >>> hide_password("postgresql://db.example:5433/faces")
    'postgresql://db.example:5433/faces'
    """
    return _OPTION.sub(r"\1***", _USER.sub(r"\1***", url))
