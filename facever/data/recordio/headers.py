"""The headers of the records of a ``.rec`` file, as columns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt32

from facever.data.recordio.format import MAX_NUMBER, RecordFile
from facever.data.recordio.scan import RecordScan
from facever.data.recordio.writer import HEAD, LABEL_BYTES, MAX_LABEL

_HEAD_WORDS = HEAD.size // 4
_PHOTO_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")


@dataclass
class RecordTable:
    """What the headers say; a row a record, in the order of the file.

    Attributes:
        offsets: The byte where each record begins.
        keys: Their names, from the index, or from the headers without one.
        labels: The first two; what stands for one that is missing has no meaning.
        is_photo: Whether a photo follows the labels.
        is_range: Whether there are two labels and nothing else: record 0 or an
            identity.
        reasons: Why a record cannot be used, by row.
    """

    offsets: Int64[np.ndarray, " records"]
    keys: Int64[np.ndarray, " records"]
    labels: Float32[np.ndarray, "records 2"]
    is_photo: Bool[np.ndarray, " records"]
    is_range: Bool[np.ndarray, " records"]
    reasons: dict[int, str]

    def refuse(self, wrong: Bool[np.ndarray, " records"], reason: str) -> None:
        """Note a reason for these rows, where they have none yet."""
        for row in np.flatnonzero(wrong):
            self.reasons.setdefault(int(row), reason)

    def usable(self, among: Bool[np.ndarray, " records"]) -> Int64[np.ndarray, " rows"]:
        """The rows among these that have no reason against them, by key."""
        usable = among.copy()
        usable[list(self.reasons)] = False
        rows = np.flatnonzero(usable)
        return rows[np.argsort(self.keys[rows], kind="stable")]


def read_table(
    file: RecordFile, scan: RecordScan, index: dict[int, int]
) -> RecordTable:
    """Read the headers, and look for what no writer would write.

    Args:
        file: The records.
        scan: Of the same file.
        index: The byte of each key; empty without an index.
    """
    words = file.heads(scan.offsets, _HEAD_WORDS + 2)
    floats = words.view("<f4")
    flags = words[:, 0].astype(np.int64)
    several = flags > 0
    labels = np.where(several[:, None], floats[:, 6:8], floats[:, 1:2])
    num_photo_bytes = scan.sizes - HEAD.size - LABEL_BYTES * flags
    keys, in_range = _read_keys(words)
    table = RecordTable(
        offsets=scan.offsets,
        keys=keys,
        labels=labels,
        is_photo=num_photo_bytes > 0,
        is_range=(num_photo_bytes == 0) & (flags == 2),
        reasons={},
    )
    table.refuse(num_photo_bytes < 0, "the record is too short for its header")
    table.refuse(~in_range, "the header is damaged: its key is out of range")
    # Where there are several labels, writers leave this field 0 or repeat the first.
    doubled = several & (words[:, 1] != 0) & (words[:, 1] != words[:, 6])
    table.refuse(doubled, "the header is damaged: its label is not the first label")
    _check_lengths(file, scan, table)
    nothing = ~table.is_photo & ~table.is_range
    table.refuse(nothing, "the record holds no photo")
    table.refuse(
        table.is_photo & ~_are_whole(labels[:, 0], MAX_LABEL),
        f"its label is no whole number in [0, {MAX_LABEL}]",
    )
    limits = _are_whole(labels, 2 * MAX_NUMBER).all(axis=1) & (
        labels[:, 0] <= labels[:, 1]
    )
    table.refuse(table.is_range & ~limits, "its limits are no range of keys")
    _check_label_counts(table, flags)
    _check_second_labels(table, several)
    _check_keys(table, index)
    return table


def _read_keys(
    words: UInt32[np.ndarray, "records words"],
) -> tuple[Int64[np.ndarray, " records"], Bool[np.ndarray, " records"]]:
    low, second = np.ascontiguousarray(words[:, 2:6]).view("<u8").T
    in_range = (low <= MAX_NUMBER) & (second == 0)
    return np.minimum(low, MAX_NUMBER).astype(np.int64), in_range


def _are_whole(
    numbers: Float32[np.ndarray, "..."], largest: int
) -> Bool[np.ndarray, "..."]:
    whole: Bool[np.ndarray, "..."] = (
        (numbers >= 0)
        & ~np.signbit(numbers)  # No writer has a negative zero.
        & (numbers <= largest)
        & (numbers == np.floor(numbers))
    )
    return whole


def _check_lengths(file: RecordFile, scan: RecordScan, table: RecordTable) -> None:
    """Find lengths that count some of the zeros that fill up the last word."""
    last_bytes = file.bytes_at(np.maximum(scan.ends - 1, 0))
    for row in np.flatnonzero(table.is_photo & (last_bytes == 0)):
        content = file.read(int(scan.offsets[row]))
        photo = content.rstrip(b"\0")
        if len(content) - len(photo) <= 3 and photo.endswith(_PHOTO_ENDS):
            table.reasons.setdefault(int(row), "the length of the record is wrong")


def _check_label_counts(
    table: RecordTable, flags: Int64[np.ndarray, " records"]
) -> None:
    """A writer gives all photos as many labels; another number moves the photo."""
    counts, num_photos = np.unique(flags[table.is_photo], return_counts=True)
    if len(counts) > 1 and 2 * num_photos.max() > num_photos.sum():
        usual = int(counts[np.argmax(num_photos)])
        wrong = table.is_photo & (flags != usual)
        table.refuse(wrong, f"the header is damaged: it has not {usual} labels")


def _check_second_labels(
    table: RecordTable, several: Bool[np.ndarray, " records"]
) -> None:
    """InsightFace's second label says whether the photo is aligned: 0 or 1."""
    among = several & table.is_photo
    strange = among & ~_are_whole(table.labels[:, 1], 1)
    # In files of other writers it may be anything.
    if 2 * strange.sum() < among.sum():
        table.refuse(strange, "the header is damaged: its second label is not 0 or 1")


def _check_keys(table: RecordTable, index: dict[int, int]) -> None:
    key_at = {offset: key for key, offset in index.items()}
    listed = np.array(
        [
            key_at.get(offset, key)
            for offset, key in zip(
                table.offsets.tolist(), table.keys.tolist(), strict=True
            )
        ],
        dtype=np.int64,
    )
    differ = listed != table.keys
    # Some writers leave the keys in the headers empty.
    if 2 * differ.sum() < len(differ):
        table.refuse(differ, "the header is damaged: the index has another key")
    table.keys = listed
