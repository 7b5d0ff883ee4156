"""Facts about a crop store, found in little time and memory whatever its size."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from facever.data.store.crop_bytes import decode_crops, row_blocks
from facever.data.store.crop_store import JPEG_SETTING, CropStore
from facever.data.store.face_facts import (
    FaceChoices,
    LandmarkFit,
    face_choices,
    landmark_fit,
)
from facever.progress import Advance, ignore_progress

NUM_MEAN_CROPS = 10_000


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds.

    Attributes:
        num_crops: Number of crops.
        num_identities: Number of identities with at least one crop.
        num_failures: Number of photos in the ledger.
        failures: Number of photos in the ledger for each reason, most frequent first;
            what follows a colon in a reason, such as a size, is left out.
        photos_per_identity: Least, median, mean and most crops of an identity; empty
            without crops.
        histogram: Bins of identities by their number of crops: the bin's first number,
            its last, and the number of identities. Each is twice as wide as the one
            before.
        storage: How crops are stored: ``pixels``, or ``JPEG`` with its quality.
        num_bytes: Size of all files of the store.
        settings: The settings that the crops were made with.
        fingerprint: The store's fingerprint.
        landmark_fit: How well landmarks fit the template; None where none are known.
        face_choices: Photos of several faces; None where no detector looked for them.
    """

    num_crops: int
    num_identities: int
    num_failures: int
    failures: dict[str, int]
    photos_per_identity: dict[str, int | float]
    histogram: list[tuple[int, int, int]]
    storage: str
    num_bytes: int
    settings: dict[str, Any]
    fingerprint: str
    landmark_fit: LandmarkFit | None
    face_choices: FaceChoices | None


def summarise_store(store: CropStore) -> StoreSummary:
    """Count what a store holds, without a look at its pixels."""
    counts = np.bincount(store.labels, minlength=len(store.identities))
    reasons = Counter(reason.split(":")[0] for reason in store.failures.values())
    quality = store.settings.get(JPEG_SETTING)
    files = [path for path in store.folder.iterdir() if path.is_file()]
    return StoreSummary(
        num_crops=len(store),
        num_identities=len(store.identities),
        num_failures=len(store.failures),
        failures=dict(reasons.most_common()),
        photos_per_identity=_spread(counts),
        histogram=_doubling_histogram(counts),
        storage="pixels" if quality is None else f"JPEG {quality}",
        num_bytes=sum(path.stat().st_size for path in files),
        settings=store.settings,
        fingerprint=store.fingerprint,
        landmark_fit=landmark_fit(store),
        face_choices=face_choices(store),
    )


def sample_rows(store: CropStore, count: int, seed: int) -> Int64[np.ndarray, " rows"]:
    """``count`` rows of a store at random, ascending; all if it has no more."""
    drawn = np.random.default_rng(seed).permutation(len(store))[:count]
    rows: Int64[np.ndarray, " rows"] = np.sort(drawn).astype(np.int64)
    return rows


def mean_image(
    store: CropStore,
    rows: Int64[np.ndarray, " rows"],
    advance: Advance = ignore_progress,
) -> Float64[np.ndarray, "high wide 3"]:
    """The mean of the crops of these rows, at least one; values in [0, 255]."""
    total = np.zeros(store.crops.shape[1:], np.float64)
    for block in row_blocks(rows):
        total += decode_crops(store.crops, block).sum(axis=0, dtype=np.int64)
        advance(len(block))
    mean: Float64[np.ndarray, "high wide 3"] = total / len(rows)
    return mean


def _spread(counts: Int64[np.ndarray, " identities"]) -> dict[str, int | float]:
    if not len(counts):
        return {}
    return {
        "least": int(counts.min()),
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "most": int(counts.max()),
    }


def _doubling_histogram(
    counts: Int64[np.ndarray, " identities"],
) -> list[tuple[int, int, int]]:
    bins = Counter(int(count).bit_length() - 1 for count in counts)
    return [
        (2**power, 2 ** (power + 1) - 1, bins[power])
        for power in range(max(bins, default=-1) + 1)
    ]
