"""Names of people and photos as names of files, on any system, and never outside.

A name becomes percent-encoded UTF-8, as in a URL: letters and digits of any script stay
as they are; what a file system could take for something else is written as ``%2F`` and
the like. ``urllib.parse.unquote(name, errors="surrogateescape")`` gives the name back.
A name that would be longer than file systems allow is cut and gets a part of its
SHA-256 behind ``%~``; that one cannot be turned back.
"""

import hashlib

_FORBIDDEN = frozenset('/\\:*?"<>|%')
_MAX_BYTES = 200


def file_name(name: str) -> str:
    """A name for a file or folder that holds nothing but it: no separator, no ``..``.

    Encoded are separators, ``%``, the characters that Windows forbids, control
    characters and bytes that are no text, a dot at the start, and a dot or space at the
    end. The empty name becomes ``%``. Different names stay different.
    """
    if not name:
        return "%"
    last = len(name) - 1
    encoded = "".join(
        _percent(letter)
        if letter in _FORBIDDEN
        or not letter.isprintable()
        or (place == 0 and letter == ".")
        or (place == last and letter in ". ")
        else letter
        for place, letter in enumerate(name)
    )
    content = encoded.encode()
    if len(content) <= _MAX_BYTES:
        return encoded
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]
    start = content[: _MAX_BYTES - 34].decode(errors="ignore")
    return f"{start}%~{digest}"


class DistinctNames:
    """File names of one folder, different also where upper and lower case are one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def give(self, name: str, number: int) -> str:
        """The file name of a name; ``~`` and the number behind it if it is taken."""
        chosen = file_name(name)
        while chosen.casefold() in self._taken:
            chosen = f"{chosen}~{number}"
        self._taken.add(chosen.casefold())
        return chosen


def _percent(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode(errors="surrogateescape"))
