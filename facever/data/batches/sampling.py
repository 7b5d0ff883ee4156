"""Which photos to train on, and in which order: pure functions of a seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from facever.errors import DataError, ParameterError


@dataclass(frozen=True)
class Draw:
    """The photos of one step.

    Attributes:
        photos: Index of each photo in the set.
        copies: How often each photo was drawn before in this epoch.
        epoch: Number of the epoch, from 0.
    """

    photos: Int64[np.ndarray, " batch"]
    copies: Int64[np.ndarray, " batch"]
    epoch: int


class EpochSampler:
    """Batches of a freshly shuffled order each epoch, without replacement.

    An epoch's last photos that do not fill a batch are left out of it; the next epoch
    has another order, so every photo gets its turn. Nothing is remembered between
    calls: a run that resumes at step n sees the very batches of the one that never
    stopped.

    Args:
        num_photos: Number of photos in the set.
        batch_size: Number of photos in a batch, in [1, num_photos].
        seed: Seed of the orders.

    Raises:
        ParameterError: If batch_size is out of range.
    """

    def __init__(self, num_photos: int, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= num_photos:
            raise ParameterError(
                f"batch_size must be in [1, {num_photos}], the number of training "
                f"crops, got {batch_size}; so few are enough to enroll people, not to "
                "train on: facever gallery add"
            )
        self.num_photos = num_photos
        self.batch_size = batch_size
        self.seed = seed
        self.batches_an_epoch = num_photos // batch_size
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def draw(self, step: int) -> Draw:
        """The photos of a step, counted from 0."""
        epoch, place = divmod(step, self.batches_an_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._order = generator.permutation(self.num_photos)
            self._epoch = epoch
        start = place * self.batch_size
        photos = self._order[start : start + self.batch_size]
        return Draw(photos, np.zeros_like(photos), epoch)


class ClassmateSampler:
    """Batches of P identities with K photos each, for heads that compare classmates.

    Each epoch cuts every identity's photos, freshly shuffled, into groups of K and
    shuffles the groups; the last group of an identity is filled up from its first
    photos, so every photo is seen. Like ``EpochSampler`` it remembers nothing.

    Args:
        labels: Class index of each photo.
        batch_size: Number of photos in a batch, P x K, at most the number of photos in
            the set.
        photos_per_identity: Number K of photos of an identity in a batch, at least 2, a
            divisor of batch_size.
        seed: Seed of the orders.

    Raises:
        ParameterError: If an argument is out of range.
    """

    def __init__(
        self,
        labels: Int64[np.ndarray, " photos"],
        batch_size: int,
        photos_per_identity: int,
        seed: int,
    ) -> None:
        if photos_per_identity < 2 or batch_size % photos_per_identity:
            raise ParameterError(
                "photos_per_identity must be at least 2 and divide batch_size, "
                f"{batch_size}, got {photos_per_identity}"
            )
        self.photos_per_identity = photos_per_identity
        self.groups_a_batch = batch_size // photos_per_identity
        self.seed = seed
        self._labels = labels
        counts = np.bincount(labels)
        num_groups = int(np.ceil(counts / photos_per_identity).sum())
        self.batches_an_epoch = num_groups // self.groups_a_batch
        if not self.batches_an_epoch:
            raise ParameterError(
                f"batch_size must be at most {num_groups * photos_per_identity}, the "
                f"training crops in groups of {photos_per_identity}, got {batch_size}"
            )
        self._epoch = -1
        self._groups = np.empty((0, photos_per_identity, 2), np.int64)

    def draw(self, step: int) -> Draw:
        """The photos of a step, counted from 0, classmates side by side."""
        epoch, place = divmod(step, self.batches_an_epoch)
        if epoch != self._epoch:
            self._groups = self._shuffled_groups(epoch)
            self._epoch = epoch
        start = place * self.groups_a_batch
        groups = self._groups[start : start + self.groups_a_batch]
        photos, copies = groups.reshape(-1, 2).T
        return Draw(photos, copies, epoch)

    def _shuffled_groups(self, epoch: int) -> Int64[np.ndarray, "groups members 2"]:
        """The photo of each member, and which copy of it."""
        generator = np.random.default_rng((self.seed, epoch, 3))
        order = generator.permutation(len(self._labels))
        order = order[np.argsort(self._labels[order], kind="stable")]
        groups = []
        for photos in np.split(order, np.cumsum(np.bincount(self._labels))[:-1]):
            short = -len(photos) % self.photos_per_identity
            if len(photos):
                places = np.arange(len(photos) + short)
                copies, place = np.divmod(places, len(photos))
                members = np.stack([photos[place], copies], axis=1)
                groups.append(members.reshape(-1, self.photos_per_identity, 2))
        return generator.permutation(np.concatenate(groups))


@dataclass(frozen=True)
class Split:
    """Which crops to train on, and whose crops are held out.

    Attributes:
        rows: Rows of the store to train on.
        labels: Class index of each of these rows, in [0, num_classes).
        num_classes: Number of identities to train on.
        held_out: Rows of the other identities.
    """

    rows: Int64[np.ndarray, " rows"]
    labels: Int64[np.ndarray, " rows"]
    num_classes: int
    held_out: Int64[np.ndarray, " others"]


def split_identities(
    labels: Int64[np.ndarray, " crops"],
    num_held_out: int,
    seed: int,
    *,
    fewest: int = 2,
) -> Split:
    """Hold out whole identities, drawn by the seed.

    Args:
        labels: Identity of each crop of a store, in [0, identities).
        num_held_out: Number of identities to hold out, at least 0.
        seed: Seed of the draw.
        fewest: Number of identities that must be left, 1 where labels do not matter.

    Returns:
        The split; class indexes number the identities left, in their order.

    Raises:
        ParameterError: If num_held_out is negative.
        DataError: If fewer identities would be left to train on.
    """
    if num_held_out < 0:
        raise ParameterError(f"num_held_out must be >= 0, got {num_held_out}")
    num_identities = int(labels.max()) + 1 if len(labels) else 0
    if num_identities - num_held_out < fewest:
        remedy = "few people"
        if num_identities >= fewest:
            remedy = (
                "data.validation_identities must be at most "
                f"{num_identities - fewest}, got {num_held_out}; few people"
            )
        raise DataError(
            f"training needs at least {fewest} identities, the crops show "
            f"{num_identities}: {remedy} are enrolled in a gallery, not trained on: "
            "facever gallery add"
        )
    drawn = np.random.default_rng((seed, 2)).permutation(num_identities)
    is_held_out = np.zeros(num_identities, bool)
    is_held_out[drawn[:num_held_out]] = True
    class_of = np.cumsum(~is_held_out) - 1
    rows = np.flatnonzero(~is_held_out[labels])
    return Split(
        rows=rows,
        labels=class_of[labels[rows]],
        num_classes=num_identities - num_held_out,
        held_out=np.flatnonzero(is_held_out[labels]),
    )
