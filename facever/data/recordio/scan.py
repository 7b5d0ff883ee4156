"""Find the whole records of a ``.rec`` file, and say what else is in it.

All magic numbers at multiples of 4 bytes are looked up. In a file without damage they
are where the parts begin, each part ends where the next begins, and the bytes that fill
up its last word are zeros. A part that does not fit is damaged; reading goes on at the
next magic number. No damage makes the scan longer or larger than the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt32

from facever.data.recordio.format import (
    FIRST,
    KIND_SHIFT,
    LAST,
    MAGIC,
    MAX_CONTENT_BYTES,
    MIDDLE,
    PART_HEAD,
    WHOLE,
    RecordFile,
)

_WORDS_AT_A_TIME = 1 << 22
_TORN_END = "the record is cut off"
_NO_MAGIC = "expected the magic number of a record"
_TORN_HEAD = "the file ends in the head of a record"
_WRONG_LENGTH = "the length of the record does not lead to the next"
_WRONG_FILL = "the length of the record is wrong: bytes behind its end are not zero"
_WRONG_KIND = "the kind of the record is unknown"
_NO_LAST_PART = "the last part of the record is missing"
_NO_FIRST_PART = "a part of a record whose beginning is missing"
_GOES_ON = "the record goes on in parts that do not belong to it"


@dataclass(frozen=True)
class RecordScan:
    """What a file holds.

    Attributes:
        offsets: The byte where each whole record begins, ascending.
        sizes: The number of bytes of each record's content.
        damages: The reasons why there is no record, by the byte where the damage
            begins.
    """

    offsets: Int64[np.ndarray, " records"]
    sizes: Int64[np.ndarray, " records"]
    damages: dict[int, str]


def scan_records(file: RecordFile) -> RecordScan:
    """Find every whole record of a file."""
    parts = _Parts(file)
    damages = dict(parts.find_damages())
    whole = parts.good & (parts.kinds == WHOLE)
    sizes = parts.lengths.copy()
    for first, last in _join(parts, whole, damages):
        # Between two parts the content has a magic number.
        sizes[first] = parts.lengths[first : last + 1].sum() + 4 * (last - first)
        whole[first] = True
    return RecordScan(
        parts.starts[whole],
        sizes[whole],
        dict(sorted(damages.items())),
    )


class _Parts:
    """The parts of a file, as far as magic numbers tell.

    Attributes:
        starts: The byte where each part begins.
        kinds: The kind of each part, 0 to 7.
        lengths: Number of bytes of each part's content.
        follow: Whether the next part begins where each part ends.
        good: Whether each part's length is right.
    """

    def __init__(self, file: RecordFile) -> None:
        self._words = file.words
        self._num_bytes = file.num_bytes
        self._torn_head = _find_torn_head(file)
        places = _find_magic(file.words)
        # A magic number in the last word has no length behind it.
        places = places[places + 1 < len(file.words)]
        self.starts = 4 * places
        described = file.words[places + 1]
        self.kinds = (described >> KIND_SHIFT).astype(np.int64)
        self.lengths = (described & MAX_CONTENT_BYTES).astype(np.int64)
        self._stops = _stops(self.starts, self.lengths)
        end = self._num_bytes if self._torn_head is None else self._torn_head
        self._next_starts = np.append(self.starts[1:], end)[: len(places)]
        self.follow = self._stops == self._next_starts
        self.good: Bool[np.ndarray, " parts"] = self.follow.copy()

    def find_damages(self) -> Iterator[tuple[int, str]]:
        """What is wrong with single parts; sets ``good``."""
        if self._torn_head is not None:
            yield self._torn_head, _TORN_HEAD
        first = int(self.starts[0]) if len(self.starts) else self._num_bytes
        if first and self._torn_head != 0:
            hidden = self._hidden(0, first)
            yield from ((at, _NO_MAGIC) for at in hidden or [0])
        for row in np.flatnonzero(~self.follow):
            stop, next_start = int(self._stops[row]), int(self._next_starts[row])
            hidden = self._hidden(stop, next_start)
            self.good[row] = bool(hidden)
            if not hidden:
                torn = stop > self._num_bytes and row == len(self.starts) - 1
                yield int(self.starts[row]), _TORN_END if torn else _WRONG_LENGTH
            yield from ((at, _NO_MAGIC) for at in hidden)
        for row in np.flatnonzero(self.good & self._wrong_fill()):
            self.good[row] = False
            yield int(self.starts[row]), _WRONG_FILL
        for row in np.flatnonzero(self.good & (self.kinds > LAST)):
            self.good[row] = False
            yield int(self.starts[row]), _WRONG_KIND

    def _hidden(self, at: int, stop: int) -> list[int]:
        """Parts that fill a gap but for their magic numbers; none if that fails."""
        found = []
        while at + PART_HEAD.size <= stop:
            found.append(at)
            described = int(self._words[at // 4 + 1])
            length = described & MAX_CONTENT_BYTES
            if described >> KIND_SHIFT > LAST or not length:
                return []
            at += PART_HEAD.size + (length + 3) // 4 * 4
        return found if at == stop else []

    def _wrong_fill(self) -> Bool[np.ndarray, " parts"]:
        """Whether the last word of the content has more than zeros behind its end."""
        last = np.minimum(self._stops, self._num_bytes) // 4 - 1
        used = 8 * (self.lengths % 4)
        above = self._words[last].astype(np.int64) >> used
        wrong: Bool[np.ndarray, " parts"] = (used > 0) & (above != 0)
        return wrong


def _join(
    parts: _Parts, whole: Bool[np.ndarray, " parts"], damages: dict[int, str]
) -> Iterator[tuple[int, int]]:
    """The first and the last part of each record in several parts."""
    cut = np.flatnonzero(parts.good & (parts.kinds != WHOLE))
    behind = 0
    for first in map(int, cut):
        if first < behind:
            continue
        behind = first + 1
        if parts.kinds[first] != FIRST:
            damages[int(parts.starts[first])] = _NO_FIRST_PART
            before = first - 1
            if before >= 0 and whole[before] and parts.follow[before]:
                # The kind of what stands before says whole, and is wrong.
                whole[before] = False
                damages[int(parts.starts[before])] = _GOES_ON
            continue
        last = first
        while _goes_on(parts, last, MIDDLE):
            last += 1
        # Records are cut at whole words.
        uneven = (parts.lengths[first : last + 1] % 4).any()
        if _goes_on(parts, last, LAST) and not uneven:
            behind = last + 2
            yield first, last + 1
        else:
            behind = last + 1
            damages[int(parts.starts[first])] = _NO_LAST_PART


def _goes_on(parts: _Parts, row: int, kind: int) -> bool:
    return bool(
        row + 1 < len(parts.starts)
        and parts.follow[row]
        and parts.good[row + 1]
        and parts.kinds[row + 1] == kind
    )


def _find_magic(words: UInt32[np.ndarray, " words"]) -> Int64[np.ndarray, " parts"]:
    """Where the magic number stands; a piece at a time, to stay small."""
    found = [
        start + np.flatnonzero(words[start : start + _WORDS_AT_A_TIME] == MAGIC)
        for start in range(0, len(words), _WORDS_AT_A_TIME)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _stops(
    starts: Int64[np.ndarray, " parts"], lengths: Int64[np.ndarray, " parts"]
) -> Int64[np.ndarray, " parts"]:
    stops: Int64[np.ndarray, " parts"] = (
        starts + PART_HEAD.size + (lengths + 3) // 4 * 4
    )
    return stops


def _find_torn_head(file: RecordFile) -> int | None:
    """Where the file ends in some first bytes of a part, too few for a head."""
    magic = MAGIC.to_bytes(4, "little")
    for size in range(PART_HEAD.size - 1, 0, -1):
        at = file.num_bytes - size
        if at >= 0 and at % 4 == 0:
            tail = file.bytes_at(np.arange(at, file.num_bytes)).tobytes()
            if tail[:4] == magic[:size]:
                return at
    return None
