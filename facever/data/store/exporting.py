"""Export a crop store to forms that other tools read, the same bytes every time.

Crops become PNG, which keeps every pixel, or JPEG. Those of a compressed store are its
JPEGs as they are.
"""

import hashlib
import io
import json
import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from facever.csv_tables import write_csv
from facever.data.recordio.writer import write_record_photos
from facever.data.store.crop_bytes import read_checked_bytes, row_blocks
from facever.data.store.crop_store import CropStore
from facever.data.store.jpeg import JpegCrops, encode_jpeg
from facever.errors import ParameterError
from facever.progress import Advance, ignore_progress

_FORBIDDEN = frozenset('/\\:*?"<>|%')
_MAX_BYTES = 200


def file_name(name: str) -> str:
    """A name for a file or folder that holds nothing but it: no separator, no ``..``.

    Encoded are separators, ``%``, the characters that Windows forbids, control
    characters and bytes that are no text, a dot at the start, and a dot or space at the
    end. The empty name becomes ``%``. Different names stay different.

    >>> file_name("Ann Lee"), file_name("../up"), file_name("50 %")
    ('Ann Lee', '%2E.%2Fup', '50 %25')
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


INDEX_FILE = "index.csv"
RECORDS_NAME = "train.rec"
PROPERTY_FILE = "property"


@dataclass(frozen=True)
class EncodedCrop:
    """A crop as a file of an image format.

    Attributes:
        row: The crop's row in the store.
        suffix: ``.png`` or ``.jpg``.
        content: The bytes of the file.
    """

    row: int
    suffix: str
    content: bytes


def encode_crops(
    store: CropStore, rows: Int64[np.ndarray, " rows"], quality: int | None
) -> Iterator[EncodedCrop]:
    """The crops of these rows of a store.

    Args:
        store: A store of pixels or of JPEGs.
        rows: Rows of the store, in any order.
        quality: The JPEG quality, in [1, 100]; None makes PNG. The JPEGs of a
            compressed store are given as they are, whatever this says.

    Raises:
        DataError: If a crop is damaged.
    """
    for block in row_blocks(rows):
        for row, content in zip(
            block.tolist(), read_checked_bytes(store, block), strict=True
        ):
            if isinstance(store.crops, JpegCrops):
                yield EncodedCrop(row, ".jpg", bytes(content))
                continue
            crop = np.frombuffer(content, np.uint8).reshape(store.template.shape)
            if quality is None:
                yield EncodedCrop(row, ".png", _encode_png(crop))
            else:
                yield EncodedCrop(row, ".jpg", encode_jpeg(crop, quality))


def export_folders(
    store: CropStore,
    out: Path,
    quality: int | None,
    advance: Advance = ignore_progress,
) -> None:
    """Write ``IDENTITY/PHOTO.png`` into an empty folder, and ``index.csv`` beside.

    The name of a file is that of its source, less the identity's folder where it begins
    with that. Both are escaped (see ``file_name``), so that no name leads elsewhere;
    ``index.csv`` says which file is which crop.

    Raises:
        DataError: If a crop is damaged.
    """
    folder_names = DistinctNames()
    folders = [
        folder_names.give(name, label) for label, name in enumerate(store.identities)
    ]
    for folder in folders:
        (out / folder).mkdir()
    names = [DistinctNames() for _ in folders]
    index: list[tuple[int, str, str, str]] = []
    for picture in encode_crops(store, np.arange(len(store)), quality):
        row, label = picture.row, store.labels[picture.row]
        source, identity = store.sources[row], store.identities[label]
        name = names[label].give(source.removeprefix(f"{identity}/"), row)
        path = f"{folders[label]}/{name}{picture.suffix}"
        (out / path).write_bytes(picture.content)
        index.append((row, path, identity, source))
        advance(1)
    write_csv(
        out / INDEX_FILE, ["row", "file", "identity", "source"], index, for_people=True
    )


def export_tar(
    store: CropStore,
    out: Path,
    quality: int | None,
    shard_size: int,
    advance: Advance = ignore_progress,
) -> None:
    """Write ``shard-000000.tar`` and so on, as webdataset reads them.

    A sample is three members with one key, the row: the picture, ``.cls`` with the
    label, and ``.json`` with identity, source, label, landmarks and score (null where
    unknown).

    Raises:
        ParameterError: If ``shard_size``, crops a shard, is below 1.
        DataError: If a crop is damaged.
    """
    if shard_size < 1:
        raise ParameterError(f"shard_size must be at least 1, got {shard_size}")
    whole = encode_crops(store, np.arange(len(store)), quality)
    for number, start in enumerate(range(0, len(store), shard_size)):
        path = out / f"shard-{number:06d}.tar"
        # USTAR: the default format adds headers of its own choice to some names.
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
            for picture in islice(whole, min(shard_size, len(store) - start)):
                key = f"{picture.row:08d}"
                label = str(store.labels[picture.row])
                facts = json.dumps(_facts(store, picture.row))
                _add_member(shard, f"{key}{picture.suffix}", picture.content)
                _add_member(shard, f"{key}.cls", label.encode())
                _add_member(shard, f"{key}.json", facts.encode())
                advance(1)


def export_rec(
    store: CropStore,
    out: Path,
    quality: int | None,
    advance: Advance = ignore_progress,
) -> None:
    """Write ``train.rec``, ``train.idx`` and ``property`` as InsightFace has them.

    Photos are sorted by label, as that layout asks, and have the keys 1 to N;
    ``index.csv`` says which is which. ``property`` is the number of identities, the
    height and the width of the crops.

    Raises:
        DataError: If a crop is damaged.
    """
    rows = np.argsort(store.labels, kind="stable")

    def photos() -> Iterator[tuple[int, bytes]]:
        for picture in encode_crops(store, rows, quality):
            yield int(store.labels[picture.row]), picture.content
            advance(1)

    write_record_photos(out / RECORDS_NAME, photos())
    height, width = store.template.height, store.template.width
    (out / PROPERTY_FILE).write_text(f"{len(store.identities)},{height},{width}\n")
    index = (
        (row, key, store.identity_of(row), store.sources[row])
        for key, row in enumerate(rows.tolist(), start=1)
    )
    write_csv(
        out / INDEX_FILE, ["row", "key", "identity", "source"], index, for_people=True
    )


def _facts(store: CropStore, row: int) -> dict[str, object]:
    landmarks = store.landmarks[row]
    score = float(store.scores[row])
    return {
        "identity": store.identity_of(row),
        "source": store.sources[row],
        "label": int(store.labels[row]),
        "landmarks": None if np.isnan(landmarks).any() else landmarks.tolist(),
        "score": None if math.isnan(score) else score,
    }


def _add_member(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    # The time, owner and mode of a new TarInfo are constants.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def _encode_png(crop: UInt8[np.ndarray, "high wide 3"]) -> bytes:
    encoded, content = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    assert encoded
    return content.tobytes()
