"""URLs of galleries as they may be shown: a password that stands in one never is."""

import re

_SCHEME = r"\A(?:[^:/@]*:?/+)?"
# A user's name, in which %3A would be the colon before a password.
_NAME = r"(?:[^:/?#@\[%]|%(?!3a))*"
# An empty password is none.
_PLAIN = re.compile(_SCHEME + _NAME + "(?::|%3a)?", re.IGNORECASE)
_USER = re.compile(rf"({_SCHEME}(?:{_NAME}(?::|%3a))?)", re.IGNORECASE)
# Where no @ follows, what stands behind a colon may be a port.
_NO_PORT = re.compile(
    rf"({_SCHEME}{_NAME}(?::|%3a))(?!\d*(?:[/?,]|$)).+", re.IGNORECASE | re.DOTALL
)
_OPTION = re.compile(
    r"((?:passw|pwd|secret|token|api.?key)[^=&]*=)[^&]*", re.IGNORECASE | re.DOTALL
)


def hide_password(url: str) -> str:
    """A URL with ``***`` where a password may stand, for messages.

    Whoever mistypes a URL may have put a password into it, so this one rather hides too
    much: all between a user's colon and the last ``@``, or all before it where no
    user's name can be made out.

    >>> hide_password("postgres://ann:secret/1@db.example/faces?gallery=people")
    'postgres://ann:***@db.example/faces?gallery=people'
    >>> hide_password("postgres://ann@corp:secret@db.example/faces")
    'postgres://***@db.example/faces'
    >>> hide_password("postgresql://ann@db.example:5433/faces")
    'postgresql://ann@db.example:5433/faces'
    >>> hide_password("postgresql://ann:@db.example/faces")
    'postgresql://ann:@db.example/faces'
    """
    before, _, after = url.rpartition("@")
    if not before:
        url = _NO_PORT.sub(r"\1***", url)
    elif not _PLAIN.fullmatch(before):
        shown = _USER.match(before)
        assert shown  # It matches the empty text, too.
        url = f"{shown[1]}***@{after}"
    return _OPTION.sub(r"\1***", url)
