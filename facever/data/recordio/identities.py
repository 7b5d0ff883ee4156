"""Compare the labels of photos with the records of their identities.

InsightFace's identity records say which keys the photos of each identity have, one
identity after the other. A photo's label and its identity's record are two witnesses
for who is in it. The rule is that of one fault: where they differ, the majority of the
identity's photos is right, and a record of an identity that does not meet the next one
is wrong. A photo about which doubt is left is refused: it is better in the ledger than
under another person's name.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64

from facever.data.recordio.headers import RecordTable

_NO_RANGE = "no record of an identity names its key"
_TORN_RANGES = "its limits contradict the other identities or the labels of its photos"


@dataclass(frozen=True)
class _Identity:
    """A record of an identity.

    Attributes:
        row: In the table.
        key: Its own.
        start: Key of its first photo.
        stop: Key behind its last photo.
    """

    row: int
    key: int
    start: int
    stop: int


_Claims = dict[int, list[tuple[int, _Identity]]]


class _Photos:
    """The usable photos, by key."""

    def __init__(self, table: RecordTable) -> None:
        self.rows = table.usable(table.is_photo)
        self.keys: Int64[np.ndarray, " photos"] = table.keys[self.rows]
        self.labels = table.labels[self.rows, 0].astype(np.int64)

    def span(self, identity: _Identity, grow: int = 0) -> slice:
        """Where the photos of an identity stand.

        Args:
            identity: Its limits may have been rounded.
            grow: 1 for all that may be its photos, -1 for those that surely are.
        """
        start = identity.start - grow * rounding_of(identity.start)
        stop = identity.stop + grow * rounding_of(identity.stop)
        first, last = np.searchsorted(self.keys, [start, max(start, stop)])
        return slice(int(first), int(last))

    def is_run(self, identity: _Identity) -> bool:
        """Whether its photos have one label and those beside them have others."""
        span = self.span(identity)
        part = self.labels[span]
        if not len(part) or (part != part[0]).any():
            return False
        beside = [*self.labels[: span.start][-1:], *self.labels[span.stop :][:1]]
        return all(label != part[0] for label in beside)


def check_identities(table: RecordTable, num_damages: int) -> None:
    """Refuse the photos whose label is in doubt, and the identities that are wrong.

    Without records of identities nothing is refused.

    Args:
        table: Gets the reasons.
        num_damages: Places of the file where a record may have been.
    """
    identities = _find_identities(table)
    if not identities:
        return
    first_key = identities[0].key
    photos = _Photos(table)
    identities = _refuse_torn(table, identities, photos)
    _judge(table, identities, photos, first_key)
    _refuse_doubles(table)
    _count_missing(table, identities, num_damages)


def rounding_of(key: int) -> int:
    """How far a key may be from what a 32-bit float says of it: 0 up to 2^24."""
    return int(np.spacing(np.float32(key)) // 2)


def _find_identities(table: RecordTable) -> list[_Identity]:
    """Identities whose keys are where they should be, by key."""
    rows = table.usable(table.is_range)
    is_header = table.keys[rows] == 0
    headers, rows = rows[is_header], rows[~is_header]
    keys = table.keys[rows]
    double = np.isin(rows, rows[1:][keys[1:] == keys[:-1]])
    out = ~_adjacent(keys)
    for header in headers:
        start, stop = map(int, table.labels[header])
        slack = rounding_of(stop)
        outside = (keys < start - slack) | (keys >= stop + slack)
        whole = not table.reasons and abs(stop - start - len(keys)) <= 2 * slack
        if 2 * outside.sum() > len(keys) or not (outside.any() or whole):
            table.reasons[int(header)] = "its limits are not those of the identities"
        else:
            out = outside
    for row in rows[out | double]:
        table.reasons[int(row)] = "the header is damaged: its key is no identity's"
    return [
        _Identity(int(row), int(table.keys[row]), *map(int, table.labels[row]))
        for row in rows[~(out | double)]
    ]


def _adjacent(keys: Int64[np.ndarray, " keys"]) -> Bool[np.ndarray, " keys"]:
    """Whether the next or the last key is one away, or there is one key only."""
    steps = np.diff(keys) == 1
    adjacent = np.ones(len(keys), dtype=np.bool_)
    if len(keys) > 1:
        adjacent[:-1] = steps
        adjacent[-1] = False
        adjacent[1:] |= steps
    return adjacent


def _refuse_torn(
    table: RecordTable, identities: list[_Identity], photos: _Photos
) -> list[_Identity]:
    """Refuse identities that do not begin where the one before ends.

    The first begins with the first photo, and the last ends where the identities begin.
    """
    ends = [identity.stop for identity in identities]
    suspects: list[list[_Identity]] = []
    first_photo = int(photos.keys[0]) if len(photos.keys) else 1
    start = identities[0].start
    if not 1 <= start <= first_photo + rounding_of(start):
        suspects.append(identities[:1])
    if not _meet(ends[-1], identities[0].key):
        suspects.append(identities[-1:])
    for place, (one, other) in enumerate(pairwise(identities)):
        if other.key == one.key + 1 and not _meet(ends[place], other.start):
            suspects.append([one, other])
    torn: set[int] = set()
    for group in suspects:
        wrong = [identity.row for identity in group if not photos.is_run(identity)]
        torn |= set(wrong or (identity.row for identity in group))
    for row in torn:
        table.reasons[row] = _TORN_RANGES
    return [identity for identity in identities if identity.row not in torn]


def _meet(stop: int, start: int) -> bool:
    return abs(stop - start) <= 2 * rounding_of(max(stop, start))


def _judge(
    table: RecordTable, identities: list[_Identity], photos: _Photos, first_key: int
) -> None:
    """Refuse photos whose label is not that of most photos of their identity."""
    num_photos = len(photos.keys)
    sure = np.zeros(num_photos, dtype=np.bool_)
    seen = np.zeros(num_photos, dtype=np.bool_)
    reasons: dict[int, str] = {}
    claims: _Claims = {}
    for identity in identities:
        part = photos.labels[photos.span(identity, -1)]
        if not len(part):
            part = photos.labels[photos.span(identity)]
        if not len(part):
            continue
        span = photos.span(identity, 1)
        seen[span] = True
        label, num_own = _most_common(part)
        own = photos.labels[span] == label
        if 2 * num_own <= len(part):
            own[:] = False
            why = f"the photos of its identity (record {identity.key}) disagree"
        else:
            claims.setdefault(label, []).append((num_own, identity))
            why = f"the label of its identity (record {identity.key}) is {label}"
        sure[span] |= own
        reasons |= {span.start + int(place): why for place in np.flatnonzero(~own)}
    _refuse_shared(photos, claims, sure, reasons)
    for place in map(int, np.flatnonzero(~seen)):
        label, key = int(photos.labels[place]), int(photos.keys[place])
        # Its identity's record may be lost: then nobody else has the label.
        sure[place] = 0 < key < first_key and label not in claims
        reasons[place] = _NO_RANGE
    for place in map(int, np.flatnonzero(~sure)):
        row, label = int(photos.rows[place]), int(photos.labels[place])
        table.reasons[row] = f"its label is {label}, but {reasons[place]}"


def _most_common(labels: Int64[np.ndarray, " photos"]) -> tuple[int, int]:
    if (labels == labels[0]).all():
        return int(labels[0]), len(labels)
    values, counts = np.unique(labels, return_counts=True)
    best = int(np.argmax(counts))
    return int(values[best]), int(counts[best])


def _refuse_shared(
    photos: _Photos,
    claims: _Claims,
    sure: Bool[np.ndarray, " photos"],
    reasons: dict[int, str],
) -> None:
    """Of identities that have one label believe the one with most photos."""
    num_claims = sum(map(len, claims.values()))
    shared = {label: claim for label, claim in claims.items() if len(claim) > 1}
    if sum(map(len, shared.values())) > max(2, num_claims / 2):
        # A file made of an unsorted list: an identity is a run of photos there.
        return
    for label, claim in shared.items():
        most = max(num_own for num_own, _ in claim)
        believed = [identity for num_own, identity in claim if num_own == most]
        for _, identity in claim:
            if believed != [identity]:
                span = photos.span(identity)
                sure[span] &= photos.labels[span] != label
                reasons |= dict.fromkeys(
                    range(span.start, span.stop), "two identities have this label"
                )


def _refuse_doubles(table: RecordTable) -> None:
    rows = table.usable(table.is_photo)
    for one, other in pairwise(rows.tolist()):
        if table.keys[one] == table.keys[other]:
            table.reasons[other] = (
                f"its key {table.keys[one]} is that of the record at byte "
                f"{table.offsets[one]} too"
            )


def _count_missing(
    table: RecordTable, identities: list[_Identity], num_damages: int
) -> None:
    """Say where photos are missing, if no damage explains that."""
    keys = np.unique(table.keys[table.is_photo])
    limits = np.array([[each.start, each.stop] for each in identities], dtype=np.int64)
    limits = limits.reshape(-1, 2)
    found = np.diff(np.searchsorted(keys, limits), axis=1)[:, 0]
    missing = limits[:, 1] - limits[:, 0] - found
    if missing.sum() <= num_damages + len(table.reasons):
        return
    for place in np.flatnonzero(missing):
        identity = identities[place]
        table.reasons[identity.row] = (
            f"{missing[place]} of its {identity.stop - identity.start} photos are not "
            "in the file"
        )
