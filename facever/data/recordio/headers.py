"""The headers of the records of a ``.rec`` file, as columns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.data.recordio.format import RecordFile
from facever.data.recordio.scan import RecordScan
from facever.data.recordio.writer import HEAD, LABEL_BYTES, MAX_LABEL

HEAD_WORDS = HEAD.size // 4


@dataclass(frozen=True)
class RecordHeaders:
    """What the headers say; a row for each record, in the order of the file.

    Attributes:
        offsets: The byte where each record begins.
        labels: The first or only label of each record.
        num_labels: Number of labels of each record.
        has_others: Whether a record has other labels than the first and, as the second
            of two, InsightFace's mark 0 or 1 of whether the photo is aligned.
        is_photo: Whether a photo follows the labels of each record.
        reasons: The reason why a record gives no photo, by row. Records that describe
            others, as InsightFace's files have them, have no reason.
    """

    offsets: Int64[np.ndarray, " records"]
    labels: Float32[np.ndarray, " records"]
    num_labels: Int64[np.ndarray, " records"]
    has_others: Bool[np.ndarray, " records"]
    is_photo: Bool[np.ndarray, " records"]
    reasons: dict[int, str]


def read_headers(file: RecordFile, scan: RecordScan) -> RecordHeaders:
    """Read the headers of all records.

    A flag of 0 means one label, in the header; a larger one is the number of labels
    behind it, of which the first is the class. The number that a record has for itself
    is not looked at, and no record is refused because of what others say, as MXNet's
    reader does neither: the format has no checksum, and a file that people changed
    looks like a damaged one.

    Args:
        file: The records.
        scan: The places of the records in this file.
    """
    words = file.heads(scan.offsets, HEAD_WORDS + 2)
    floats = words.view("<f4")
    flags = words[:, 0].astype(np.int64)
    labels = np.where(flags > 0, floats[:, HEAD_WORDS], floats[:, 1])
    num_photo_bytes = scan.sizes - HEAD.size - LABEL_BYTES * flags
    is_photo = num_photo_bytes > 0
    describes_others = (num_photo_bytes == 0) & (flags > 1)
    is_identity = (labels >= 0) & (labels <= MAX_LABEL) & (labels == np.floor(labels))
    reasons: dict[int, str] = {}
    for wrong, reason in (
        (num_photo_bytes < 0, "the record is too short for its header"),
        (~is_photo & ~describes_others, "the record holds no photo"),
        (is_photo & ~is_identity, f"its label is no whole number in [0, {MAX_LABEL}]"),
    ):
        for row in np.flatnonzero(wrong).tolist():
            reasons.setdefault(row, reason)
    is_marked = np.isin(floats[:, HEAD_WORDS + 1], (0, 1))
    has_others = (flags > 2) | ((flags == 2) & ~is_marked)
    num_labels = np.maximum(flags, 1)
    return RecordHeaders(
        scan.offsets, labels, num_labels, has_others, is_photo, reasons
    )
