"""The photos of a ``.rec`` file, as InsightFace lays them out.

Each record is MXNet's header and a photo; the first label says who is in it. Most files
(CASIA-WebFace, MS1M and others as InsightFace gives them) also have records without a
photo: record 0 says which keys the identities have, and each identity's record says
which photos are its own. They are skipped: photos go by their own labels.

What is broken costs its own record alone: magic numbers, lengths, a cut end and headers
that name no photo or no identity go to the ledger, and so does an image that cannot be
decoded. The format has no checksum, so damage inside a label, or inside an image that
can still be decoded, cannot be seen: it is read as it stands. From the import on the
checksums of the crop store hold.

References:
    mxnet, python/mxnet/recordio.py; insightface, face2rec2.py and image_iter.py.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from facever.data.recordio.format import RecordFile, read_record_index
from facever.data.recordio.headers import RecordHeaders, read_headers
from facever.data.recordio.scan import scan_records
from facever.data.recordio.writer import unpack_record
from facever.errors import DataError, FileError, PhotoError
from facever.faces.photo_source import NoPhoto, PhotoListing, PhotoPart, PhotoSource


@dataclass(frozen=True, slots=True)
class RecordPart:
    """A photo in a ``.rec`` file.

    Attributes:
        offset: The byte where the photo's record begins.
    """

    offset: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"byte {self.offset}"

    def read(self, path: Path) -> bytes:
        """The bytes of the image file.

        Raises:
            PhotoError: If no record begins there.
        """
        try:
            return unpack_record(_open(path).read(self.offset))[1]
        except (FileError, DataError) as error:
            raise PhotoError(str(error)) from None


def list_record_photos(path: Path) -> PhotoListing:
    """List the photos of a ``.rec`` file, with or without the ``.idx`` beside it.

    A photo is named by its key (``00000012``) and an identity by its label, in eight
    digits, so that names sort as the numbers do. What cannot be used is listed with the
    reason, in the order of the file.

    Raises:
        FileError: If the file cannot be read.
        DataError: If there is an ``.idx`` that is not an index.
    """
    file = RecordFile(path)
    scan = scan_records(file)
    index_path = path.with_suffix(".idx")
    index = read_record_index(index_path) if index_path.exists() else {}
    headers = read_headers(file, scan, index)
    key_at = {offset: key for key, offset in index.items()}
    size = path.stat().st_size
    found = {*scan.damages, *headers.offsets.tolist()}
    damages = scan.damages | {
        offset: "no record begins here" if offset < size else "the file ends before it"
        for offset in key_at.keys() - found
    }
    entries = [
        *_entries_of(headers),
        *(_Entry(at, key_at.get(at), "", why) for at, why in damages.items()),
    ]
    entries.sort(key=lambda entry: entry.offset)
    return PhotoListing(list(_name(path, entries)), Counter())


@lru_cache(maxsize=8)
def _open(path: Path) -> RecordFile:
    return RecordFile(path)


class _Entry(NamedTuple):
    offset: int
    key: int | None
    identity: str
    reason: str | None


def _entries_of(headers: RecordHeaders) -> Iterator[_Entry]:
    """The photos, and every record that cannot be used."""
    columns = zip(
        headers.offsets.tolist(),
        headers.keys.tolist(),
        headers.labels.tolist(),
        headers.is_photo.tolist(),
        strict=True,
    )
    for row, (offset, number, label, is_photo) in enumerate(columns):
        key = None if number < 0 else number
        reason = headers.reasons.get(row)
        if reason is not None:
            yield _Entry(offset, key, "", reason)
        elif is_photo:
            yield _Entry(offset, key, f"{int(label):08d}", None)


def _name(path: Path, entries: Sequence[_Entry]) -> Iterator[PhotoSource]:
    """Photos by their keys; by the byte where that is not known or another's."""
    owners: dict[int | None, int] = {}
    for offset, key, _, reason in entries:
        if key not in owners or reason is None:
            owners[key] = offset
    for offset, key, identity, reason in entries:
        known = key is not None and owners[key] == offset
        name = f"{key:08d}" if known else f"byte-{offset}"
        part: PhotoPart = RecordPart(offset)
        if reason is not None:
            part = NoPhoto(f"byte {offset}: {reason}")
        yield PhotoSource(name, identity, path, part)
