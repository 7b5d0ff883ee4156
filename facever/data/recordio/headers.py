"""The headers of the records of a ``.rec`` file, as columns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.data.recordio.format import MAX_NUMBER, RecordFile
from facever.data.recordio.scan import RecordScan
from facever.data.recordio.writer import HEAD, LABEL_BYTES, MAX_LABEL

_HEAD_WORDS = HEAD.size // 4


@dataclass(frozen=True)
class RecordHeaders:
    """What the headers say; a row for each record, in the order of the file.

    Attributes:
        offsets: The byte where each record begins.
        keys: The names of the records, from the index, or from the headers if there is
            no index; -1 where that is not a name.
        labels: The first or only label of each record.
        is_photo: Whether a photo follows the labels of each record.
        reasons: The reason why a record gives no photo, by row. Records that describe
            others, as InsightFace's files have them, have no reason.
    """

    offsets: Int64[np.ndarray, " records"]
    keys: Int64[np.ndarray, " records"]
    labels: Float32[np.ndarray, " records"]
    is_photo: Bool[np.ndarray, " records"]
    reasons: dict[int, str]


def read_headers(
    file: RecordFile, scan: RecordScan, index: dict[int, int]
) -> RecordHeaders:
    """Read the headers of all records.

    A flag of 0 means one label, in the header; a larger one is the number of labels
    behind it. No record is refused because of what others say, as MXNet's reader
    compares none either: the format has no checksum, and a file that people changed
    looks like a damaged one.

    Args:
        file: The records.
        scan: The places of the records in this file.
        index: The byte of each key; empty without an index.
    """
    words = file.heads(scan.offsets, _HEAD_WORDS + 1)
    floats = words.view("<f4")
    flags = words[:, 0].astype(np.int64)
    labels = np.where(flags > 0, floats[:, _HEAD_WORDS], floats[:, 1])
    num_photo_bytes = scan.sizes - HEAD.size - LABEL_BYTES * flags
    is_photo = num_photo_bytes > 0
    describes_others = (num_photo_bytes == 0) & (flags == 2)
    is_identity = (labels >= 0) & (labels <= MAX_LABEL) & (labels == np.floor(labels))
    reasons: dict[int, str] = {}
    for wrong, reason in (
        (num_photo_bytes < 0, "the record is too short for its header"),
        (~is_photo & ~describes_others, "the record holds no photo"),
        (is_photo & ~is_identity, f"its label is no whole number in [0, {MAX_LABEL}]"),
    ):
        for row in np.flatnonzero(wrong).tolist():
            reasons.setdefault(row, reason)
    own_keys = np.ascontiguousarray(words[:, 2:4]).view("<u8")[:, 0]
    key_at = {offset: key for key, offset in index.items()}
    keys = [
        key_at.get(offset, key if key <= MAX_NUMBER else -1)
        for offset, key in zip(scan.offsets.tolist(), own_keys.tolist(), strict=True)
    ]
    return RecordHeaders(
        offsets=scan.offsets,
        keys=np.array(keys, np.int64),
        labels=labels,
        is_photo=is_photo,
        reasons=reasons,
    )
