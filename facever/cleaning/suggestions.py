"""What looks wrong in a set of face photos, from the embeddings alone.

Every list is a suggestion with its score, for a person to look at. Thresholds come from
the set itself: from the cosines between photos and the centers of *other* identities,
of which a stated share (the false accept rate) may lie above.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64

from facever.cleaning.alike import AlikePairs, find_alike
from facever.cleaning.centers import IdentityCenters, Strangers, compare_with_strangers
from facever.errors import DataError, ParameterError
from facever.progress import Advance, ignore_progress


@dataclass(frozen=True)
class CleaningRules:
    """The cosines from which on something is suggested.

    Attributes:
        duplicate: Two photos above this cosine are near-duplicates, in (0, 1).
        outlier_far: A photo is an outlier unless its cosine to its own center is above
            the threshold for this false accept rate, in (0, 1).
        alike_far: Two identities are alike where the cosine of their centers is above
            the threshold for this false accept rate, in (0, 1).
    """

    duplicate: float = 0.95
    outlier_far: float = 1e-3
    alike_far: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("duplicate", "outlier_far", "alike_far"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ParameterError(f"{name} must be in (0, 1), got {value}")


@dataclass(frozen=True)
class Outliers:
    """Photos that do not look like the others of their identity, the worst first.

    Attributes:
        rows: Rows of the photos.
        own_cosine: Cosine with the center of the identity's other photos.
        nearest: The other identity whose center is nearest.
        nearest_cosine: Cosine with the nearest center.
    """

    rows: Int64[np.ndarray, " outliers"]
    own_cosine: Float32[np.ndarray, " outliers"]
    nearest: Int64[np.ndarray, " outliers"]
    nearest_cosine: Float32[np.ndarray, " outliers"]


@dataclass(frozen=True)
class Suggestions:
    """What ``inspect_set`` found.

    Attributes:
        duplicates: Pairs of photos that are near-duplicates.
        outliers: Photos that are outliers in their identity.
        lookalikes: Pairs of identities that look alike, candidates to be merged.
        num_photos: Number of photos of each identity.
        outlier_threshold: The cosine below which a photo is an outlier, as the rules
            give it.
        alike_threshold: The cosine above which identities look alike, as the rules give
            it.
    """

    duplicates: AlikePairs
    outliers: Outliers
    lookalikes: AlikePairs
    num_photos: Int64[np.ndarray, " identities"]
    outlier_threshold: float
    alike_threshold: float


def inspect_set(
    found: IdentityCenters,
    rules: CleaningRules,
    device: torch.device | str = "cpu",
    advance: Advance = ignore_progress,
) -> Suggestions:
    """Find near-duplicates, outliers and look-alike identities of one set.

    Args:
        found: The centers, as ``find_centers`` gives them.
        rules: The cosines from which on something is suggested.
        device: The device to compute on.
        advance: Function that is told the progress, two units for each photo.

    Raises:
        DataError: If there is one identity only.
    """
    strangers = compare_with_strangers(found, device, advance)
    outlier_threshold = strangers.threshold(rules.outlier_far)
    alike_threshold = strangers.threshold(rules.alike_far)
    return Suggestions(
        duplicates=find_alike(
            found.units, rules.duplicate, device=device, advance=advance
        ),
        outliers=_find_outliers(found, strangers, outlier_threshold),
        lookalikes=find_alike(found.centers, alike_threshold, device=device),
        num_photos=found.num_photos,
        outlier_threshold=outlier_threshold,
        alike_threshold=alike_threshold,
    )


@dataclass(frozen=True)
class Overlap:
    """Identities of a training set that look like one of a test set.

    Attributes:
        identities: Left is an identity of the training set, right one of the test set.
        duplicates: Left is a photo of the training set, right one of the test set.
        alike_threshold: The cosine above which identities are listed.
    """

    identities: AlikePairs
    duplicates: AlikePairs
    alike_threshold: float


def find_overlap(
    ours: IdentityCenters,
    theirs: IdentityCenters,
    rules: CleaningRules,
    device: torch.device | str = "cpu",
    advance: Advance = ignore_progress,
) -> Overlap:
    """Find people of a test set among those of a training set.

    The threshold is that of the training set's own strangers.

    Args:
        ours: The training set, as ``find_centers`` gives it.
        theirs: The test set, embedded by the same model.
        rules: The cosines from which on something is suggested.
        device: The device to compute on.
        advance: Function that is told the progress, two units for each photo of the
            training set.

    Raises:
        DataError: If the embeddings are of different size, or the training set has one
            identity.
    """
    sizes = ours.units.shape[1], theirs.units.shape[1]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"embeddings of {sizes[0]} and {sizes[1]} dimensions cannot be compared: "
            "embed both sets with one model"
        )
    strangers = compare_with_strangers(ours, device, advance)
    threshold = strangers.threshold(rules.alike_far)
    return Overlap(
        find_alike(ours.centers, threshold, theirs.centers, device),
        find_alike(ours.units, rules.duplicate, theirs.units, device, advance),
        threshold,
    )


def _find_outliers(
    found: IdentityCenters, strangers: Strangers, threshold: float
) -> Outliers:
    # NaN, a photo that is alone, compares as False.
    rows = np.flatnonzero(found.own_cosine <= threshold)
    rows = rows[np.argsort(found.own_cosine[rows], kind="stable")]
    return Outliers(
        rows, found.own_cosine[rows], strangers.nearest[rows], strangers.cosine[rows]
    )
