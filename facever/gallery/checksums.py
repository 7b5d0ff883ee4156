"""Checksums of what a gallery keeps: what is read is what was enrolled.

A CRC-32 finds every flipped bit and every damage of up to 32 bits in a row, and misses
one in four billion of all others. They find accidents, not forgers.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

# No UTF-8 text holds these bytes, so no two lists of texts are joined to the same.
_BETWEEN = b"\xff"
_NOTHING = b"\xfe"


def entry_checksum(texts: Iterable[str | None]) -> int:
    """CRC-32 of an entry's texts: id, name, source, added, fields and origin.

    >>> entry_checksum(["1", "Ann"]) == entry_checksum(["1A", "nn"])
    False
    """
    parts = (_NOTHING if text is None else text.encode() for text in texts)
    return zlib.crc32(_BETWEEN.join(parts))


def embedding_checksum(entry_id: str, embedding: bytes) -> int:
    """CRC-32 of an entry's embedding, and of whose it is."""
    return zlib.crc32(embedding, zlib.crc32(entry_id.encode()))


def meta_checksum(values: Mapping[str, Any]) -> int:
    """CRC-32 of a gallery's metadata, as ``dataclasses.asdict`` gives it."""
    return zlib.crc32(json.dumps(dict(values), sort_keys=True).encode())
