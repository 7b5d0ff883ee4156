"""The photos of a ``.rec`` file, as MXNet and InsightFace read them.

Each record is MXNet's header and a photo; the first label says who is in it. The
``.idx`` says which record has which key; without one, records are counted from 0 in
the order of the file, as MXNet's ``rec2idx`` does. The number in a header is not
looked at: who copies records seldom changes it.

Most files (CASIA-WebFace, MS1M and others as InsightFace gives them) also have records
without a photo. Record 0 says where the keys of the identities begin, and the photos
end. InsightFace's dataset leaves out photos with higher keys, and so does this reader,
which says so. Each identity's record says which photos are its own; nobody reads that,
as photos go by their own labels.

What is broken costs its own record alone: magic numbers, lengths, a cut end and headers
that name no photo or no identity go to the ledger, and so does an image that cannot be
decoded. The format has no checksum, so damage inside a label, or inside an image that
can still be decoded, cannot be seen: it is read as it stands. From the import on the
checksums of the crop store hold.

References:
    mxnet, python/mxnet/recordio.py and tools/rec2idx.py; insightface, face2rec2.py and
    arcface_torch/dataset.py, MXFaceDataset.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from facever.choices import DEFAULT_MAX_PIXELS
from facever.data.recordio.format import PART_HEAD, RecordFile, read_record_index
from facever.data.recordio.headers import (
    HEAD_WORDS,
    RecordHeaders,
    read_headers,
)
from facever.data.recordio.scan import scan_records
from facever.data.recordio.writer import HEAD, MAX_LABEL, unpack_record
from facever.errors import DataError, FileError, PhotoError
from facever.faces.photo_source import NoPhoto, PhotoListing, PhotoPart, PhotoSource

_SHORTEST_RECORD = PART_HEAD.size + 4 * HEAD_WORDS


@dataclass(frozen=True, slots=True)
class RecordPart:
    """A photo in a ``.rec`` file.

    Attributes:
        offset: The byte where the photo's record begins.
        num_labels: Number of labels in it, at least 1.
    """

    offset: int
    num_labels: int = 1

    @property
    def where(self) -> str:
        """The place in words."""
        return f"byte {self.offset}"

    def read(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
        """The bytes of the image file.

        Raises:
            PhotoError: If no record begins there.
        """
        try:
            return unpack_record(_open(path).read(self.offset))[1]
        except (FileError, DataError) as error:
            raise PhotoError(str(error)) from None

    def extra_labels(self, path: Path) -> Float32[np.ndarray, " labels"]:
        """The labels behind the first."""
        num_words = HEAD_WORDS + self.num_labels
        [words] = _open(path).heads(np.array([self.offset]), num_words)
        labels: Float32[np.ndarray, " labels"] = words[HEAD_WORDS + 1 :].view("<f4")
        return labels


def list_record_photos(path: Path) -> PhotoListing:
    """List the photos of a ``.rec`` file, with or without the ``.idx`` beside it.

    A photo is named by its key (``00000012``) and an identity by its label, in eight
    digits, so that names sort as the numbers do. What cannot be used is listed with the
    reason, in the order of the file. What index and record 0 leave out is counted in
    the notes.

    Raises:
        FileError: If the file cannot be read.
        DataError: If there is an ``.idx`` that is not an index.
    """
    file = RecordFile(path)
    scan = scan_records(file)
    headers = read_headers(file, scan)
    row_at = dict(zip(headers.offsets.tolist(), range(len(scan.offsets)), strict=True))
    found_damages = _apart(scan.damages)
    index_path = path.with_suffix(".idx")
    if not index_path.exists():
        keys = dict(enumerate(sorted({*row_at, *found_damages})))
        entries = _entries(headers, row_at, found_damages, keys)
        return _listing(path, headers, list(_joined(entries, scan.sizes)))
    index = read_record_index(index_path)
    notes: list[str] = []
    first = _first_identity(headers, row_at.get(index.get(0, -1)))
    # What cannot be read there would be no photo either: it is not missed.
    beyond = {key: at for key, at in index.items() if key >= first}
    rows_beyond = [row_at[at] for at in beyond.values() if at in row_at]
    if left_out := _count_photos(headers, rows_beyond):
        notes.append(
            f"{left_out} photos are left out, as InsightFace leaves them: record 0 "
            f"says that the photos end before key {first:.0f}"
        )
    unlisted = row_at.keys() - set(index.values())
    if left_out := _count_photos(headers, [row_at[at] for at in unlisted]):
        notes.append(
            f"{left_out} photos are left out: {index_path.name} does not list them"
        )
    keys = {key: at for key, at in index.items() if key not in beyond}
    damages = dict(found_damages)
    for at in set(keys.values()) - row_at.keys() - damages.keys():
        ends = at >= file.num_bytes
        damages[at] = "the file ends before it" if ends else "no record begins here"
    return _listing(path, headers, _entries(headers, row_at, damages, keys), notes)


@lru_cache(maxsize=8)
def _open(path: Path) -> RecordFile:
    return RecordFile(path)


def _apart(damages: dict[int, str]) -> dict[int, str]:
    """Damages in the file's order, one of those between which no photo can lie."""
    places: dict[int, str] = {}
    before = -_SHORTEST_RECORD
    for at, reason in damages.items():
        if at - before >= _SHORTEST_RECORD:
            places[at] = reason
        before = at
    return places


class _Entry(NamedTuple):
    offset: int
    name: str
    identity: str
    reason: str | None
    row: int = -1


def _first_identity(headers: RecordHeaders, row: int | None) -> float:
    """The key at which photos end; infinity where no record 0 says so."""
    if row is None or headers.is_photo[row] or row in headers.reasons:
        return math.inf
    first = headers.labels[row]
    # Beyond 2^24 the label is rounded, and a photo may seem to be the first identity.
    return float(first if first <= MAX_LABEL else first + np.spacing(first))


def _count_photos(headers: RecordHeaders, rows: list[int]) -> int:
    return int(np.count_nonzero(headers.is_photo[rows]))


def _entries(
    headers: RecordHeaders,
    row_at: dict[int, int],
    damages: dict[int, str],
    keys: dict[int, int],
) -> list[_Entry]:
    """The photos, and all that is no photo and should be one, in the file's order."""
    entries: list[_Entry] = []
    labels, is_photo = headers.labels.tolist(), headers.is_photo.tolist()
    for key, at in keys.items():
        row = row_at.get(at, -1)
        reason = damages.get(at) if row < 0 else headers.reasons.get(row)
        if reason is not None:
            entries.append(_Entry(at, f"{key:08d}", "", reason, row))
        elif is_photo[row]:
            identity = f"{int(labels[row]):08d}"
            entries.append(_Entry(at, f"{key:08d}", identity, None, row))
    for at in damages.keys() - set(keys.values()):
        entries.append(_Entry(at, f"byte-{at}", "", damages[at]))
    return sorted(entries)


def _joined(
    entries: list[_Entry], sizes: Int64[np.ndarray, " records"]
) -> Iterator[_Entry]:
    """The entries, one in the place of several records too short for a header.

    A stranger's file can hold millions of those, each of eight bytes.
    """

    def is_short(entry: _Entry) -> bool:
        return entry.row >= 0 and bool(sizes[entry.row] < HEAD.size)

    for short, run in groupby(entries, is_short):
        first, *others = run
        if short and others:
            reason = f"{1 + len(others)} records in a row are too short for a header"
            yield first._replace(reason=reason)
        else:
            yield from (first, *others)


def _listing(
    path: Path,
    headers: RecordHeaders,
    entries: list[_Entry],
    notes: Iterable[str] = (),
) -> PhotoListing:
    parts: Iterator[PhotoPart] = (
        RecordPart(entry.offset, int(headers.num_labels[entry.row]))
        if entry.reason is None
        else NoPhoto(f"byte {entry.offset}: {entry.reason}")
        for entry in entries
    )
    photos = [
        PhotoSource(entry.name, entry.identity, path, part)
        for entry, part in zip(entries, parts, strict=True)
    ]
    good = [entry.row for entry in entries if entry.reason is None]
    if num_others := int(np.count_nonzero(headers.has_others[good])):
        label_note = (
            f"{num_others} photos have labels behind the first, which is the person; "
            "facever align --extra-labels FILE.csv keeps them"
        )
        notes = (*notes, label_note)
    return PhotoListing(photos, Counter(), notes=tuple(notes))
