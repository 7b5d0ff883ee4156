"""How close photos lie to the center of their identity, and to everybody else's."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from facever.errors import DataError, ParameterError
from facever.inference.vectors import unit_or_zero, unit_vectors
from facever.progress import Advance, ignore_progress

# Scores held at once: 64 MiB of float32.
_BLOCK_SCORES = 2**24
# Bins over [-1, 1]: a threshold from them is at most 3.1e-5 too high.
_NUM_BINS = 2**16
# Opposite photos leave a sum that is rounding alone.
_NO_DIRECTION = 1e-6


@dataclass(frozen=True)
class IdentityCenters:
    """The photos of a set around their identities' centers.

    A center is the unit mean of the unit embeddings of an identity.

    Attributes:
        units: The embeddings at length 1.
        labels: Identity of each photo, in [0, identities).
        num_photos: Number of photos of each identity, at least 1.
        centers: Center of each identity, of length 1; 0 where the mean has no
            direction.
        own_cosine: Cosine of each photo and the center of the *other* photos of its
            identity; NaN where there are no others.
    """

    units: Float32[np.ndarray, "photos dim"]
    labels: Int64[np.ndarray, " photos"]
    num_photos: Int64[np.ndarray, " identities"]
    centers: Float32[np.ndarray, "identities dim"]
    own_cosine: Float32[np.ndarray, " photos"]

    def typical(self, identity: int) -> int:
        """The photo of an identity that lies nearest to its center."""
        rows = np.flatnonzero(self.labels == identity)
        return int(rows[(self.units[rows] @ self.centers[identity]).argmax()])


def find_centers(
    embeddings: Float[np.ndarray, "photos dim"],
    labels: Int64[np.ndarray, " photos"],
) -> IdentityCenters:
    """The centers of a set's identities.

    Each photo is compared with the center without itself: in an identity of two, its
    own share would hide half of what is wrong.

    Args:
        embeddings: Embedding of each photo, of any length but zero.
        labels: Identity of each photo; every number in [0, identities) has a photo.

    Raises:
        DataError: If an embedding is not finite or all zero.
    """
    units = unit_vectors(embeddings)
    num_photos = np.bincount(labels)
    sums = np.zeros((len(num_photos), units.shape[1]), np.float64)
    np.add.at(sums, labels, units)
    others = sums[labels] - units
    own = (unit_or_zero(others, _NO_DIRECTION) * units).sum(axis=1)
    own[num_photos[labels] == 1] = np.nan
    return IdentityCenters(
        units=units,
        labels=labels,
        num_photos=num_photos,
        centers=unit_or_zero(sums, _NO_DIRECTION).astype(np.float32),
        own_cosine=own.astype(np.float32),
    )


@dataclass(frozen=True)
class Strangers:
    """What photos have in common with the centers of other identities.

    Attributes:
        nearest: For each photo, the nearest center of another identity.
        cosine: Cosine of the photo and that center.
    """

    nearest: Int64[np.ndarray, " photos"]
    cosine: Float32[np.ndarray, " photos"]
    _counts: Int64[np.ndarray, " bins"]

    def threshold(self, far: float) -> float:
        """The cosine that at most this share of photos and other centers exceed.

        Args:
            far: False accept rate, in (0, 1), over all pairs of a photo and another
                identity's center.

        Raises:
            ParameterError: If far is out of range.
        """
        if not 0 < far < 1:
            raise ParameterError(f"far must be in (0, 1), got {far}")
        above = self._counts[::-1].cumsum()[::-1]
        # The lowest upper edge of a bin with few enough cosines in the bins above it.
        few = np.append(above[1:], 0) <= far * self._counts.sum()
        return 2 * (int(few.argmax()) + 1) / _NUM_BINS - 1


def compare_with_strangers(
    found: IdentityCenters,
    device: torch.device | str = "cpu",
    advance: Advance = ignore_progress,
) -> Strangers:
    """Compare every photo with every other identity's center.

    The bound is one product of photos x identities x dim multiplications: about a
    minute on 2 CPU cores for 494,414 photos of 10,575 people at 512 dimensions.

    Args:
        found: Photos and centers of at least two identities.
        device: The device to compute on.
        advance: Function that is told the progress, one unit for each photo.

    Raises:
        DataError: If there is one identity only.
    """
    num_identities = len(found.centers)
    if num_identities < 2:
        raise DataError("photos of at least 2 identities are needed to compare them")
    centers = torch.from_numpy(found.centers).to(device)
    labels = torch.from_numpy(found.labels).to(device)
    counts = np.zeros(_NUM_BINS, np.int64)
    nearest = np.empty(len(found.units), np.int64)
    cosine = np.empty(len(found.units), np.float32)
    step = max(1, _BLOCK_SCORES // num_identities)
    for start in range(0, len(found.units), step):
        block = slice(start, start + step)
        scores = torch.from_numpy(found.units[block]).to(device) @ centers.T
        own = labels[block, None]
        bins = ((scores + 1) * (_NUM_BINS / 2)).long().clamp_(0, _NUM_BINS - 1)
        counts += torch.bincount(bins.flatten(), minlength=_NUM_BINS).cpu().numpy()
        taken = torch.bincount(bins.gather(1, own)[:, 0], minlength=_NUM_BINS)
        counts -= taken.cpu().numpy()
        best = scores.scatter_(1, own, -torch.inf).max(dim=1)
        nearest[block] = best.indices.cpu().numpy()
        cosine[block] = best.values.cpu().numpy()
        advance(len(scores))
    return Strangers(nearest, cosine, counts)
