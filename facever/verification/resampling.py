"""Draws of identities, and what a model's pairs say when they count so often.

See ``intervals`` for what is drawn and why.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.errors import DataError, ParameterError

Weights = tuple[Int64[np.ndarray, " genuine"], Int64[np.ndarray, " impostor"]]


@dataclass(frozen=True)
class Identities:
    """Who is on the photos of each pair, numbered from 0 without gaps.

    Attributes:
        left: Index of the first photo's identity.
        right: Index of the second photo's identity.
        num_identities: Number of people.
    """

    left: Int64[np.ndarray, " pairs"]
    right: Int64[np.ndarray, " pairs"]
    num_identities: int

    @classmethod
    def of(
        cls,
        same: Bool[np.ndarray, " pairs"],
        left_identity: Int64[np.ndarray, " pairs"],
        right_identity: Int64[np.ndarray, " pairs"],
    ) -> "Identities":
        """Number them; a DataError if they contradict ``same``."""
        wrong = np.flatnonzero((left_identity == right_identity) != same)
        if wrong.size:
            pair = int(wrong[0])
            kind, shows = ("genuine", "two") if same[pair] else ("impostor", "one")
            raise DataError(
                f"the identities contradict {wrong.size} of {same.size} pairs: pair "
                f"{pair}, counted from 0, is {kind} and shows {shows}; give each "
                "person one identity"
            )
        known, place = np.unique([left_identity, right_identity], return_inverse=True)
        left, right = place.reshape(2, -1)
        return cls(left, right, len(known))


@dataclass(frozen=True)
class Measures:
    """What a draw says; exact, so that the difference of two models can be 0."""

    accuracy: Fraction
    auc: Fraction
    tar: list[float]


@dataclass(frozen=True)
class RankedPairs:
    """One model's pairs, sorted once for the measures of many draws.

    Attributes:
        genuine_identity: Of the genuine pairs, by falling score.
        impostor_identities: Of the impostor pairs, by falling score.
        genuine_right: True for genuine pairs that are judged right.
        impostor_right: True for impostor pairs that are judged right.
        above: Genuine pairs that score higher than each impostor pair.
        not_below: Genuine pairs that score as high or higher.
        num_scored: Genuine and impostor pairs whose score is not ``-inf``.
    """

    genuine_identity: Int64[np.ndarray, " genuine"]
    impostor_identities: Int64[np.ndarray, "2 impostor"]
    genuine_right: Bool[np.ndarray, " genuine"]
    impostor_right: Bool[np.ndarray, " impostor"]
    above: Int64[np.ndarray, " impostor"]
    not_below: Int64[np.ndarray, " impostor"]
    num_scored: tuple[int, int]

    @classmethod
    def of(
        cls,
        scores: Float64[np.ndarray, " pairs"],
        same: Bool[np.ndarray, " pairs"],
        right: Bool[np.ndarray, " pairs"],
        people: Identities,
    ) -> "RankedPairs":
        """Sort the pairs."""
        order = np.argsort(-scores)
        genuine, impostor = order[same[order]], order[~same[order]]
        # searchsorted wants rising numbers.
        genuine_fall, impostor_fall = -scores[genuine], -scores[impostor]
        return cls(
            genuine_identity=people.left[genuine],
            impostor_identities=np.stack([people.left, people.right])[:, impostor],
            genuine_right=right[genuine],
            impostor_right=right[impostor],
            above=np.searchsorted(genuine_fall, impostor_fall, side="left"),
            not_below=np.searchsorted(genuine_fall, impostor_fall, side="right"),
            num_scored=(
                int(np.count_nonzero(genuine_fall < np.inf)),
                int(np.count_nonzero(impostor_fall < np.inf)),
            ),
        )

    def weigh(self, multiplicities: Int64[np.ndarray, " identities"]) -> Weights:
        """How often each pair counts when identity i was drawn multiplicities[i]."""
        left, right = self.impostor_identities
        return (
            multiplicities[self.genuine_identity],
            multiplicities[left] * multiplicities[right],
        )

    def measure(
        self,
        genuine: Int64[np.ndarray, " genuine"],
        impostor: Int64[np.ndarray, " impostor"],
        targets: Sequence[float],
    ) -> Measures:
        """The measures of pairs that count so often, neither kind not at all.

        The accuracy mixes the kinds as they are mixed without weights: the protocol
        fixed how many pairs there are of each.
        """
        accepted = np.concatenate([[0], np.cumsum(genuine)])
        rejected = np.cumsum(impostor)
        all_genuine, all_impostor = int(accepted[-1]), int(rejected[-1])
        genuine_right = Fraction(int(genuine @ self.genuine_right), all_genuine)
        impostor_right = Fraction(int(impostor @ self.impostor_right), all_impostor)
        num_genuine, num_impostor = len(genuine), len(impostor)
        # An impostor pair loses to the genuine pairs above it, ties counting half.
        twice_losses = impostor @ (accepted[self.above] + accepted[self.not_below])
        return Measures(
            accuracy=(num_genuine * genuine_right + num_impostor * impostor_right)
            / (num_genuine + num_impostor),
            auc=Fraction(int(twice_losses), 2 * all_genuine * all_impostor),
            tar=self._tar(accepted / all_genuine, rejected / all_impostor, targets),
        )

    def _tar(
        self,
        tar: Float64[np.ndarray, " points"],
        far: Float64[np.ndarray, " impostor"],
        targets: Sequence[float],
    ) -> list[float]:
        """TAR at the loosest threshold whose FAR is not above each target."""
        scored_genuine, scored_impostor = self.num_scored
        too_many = np.searchsorted(far[:scored_impostor], targets, side="right")
        # The threshold is the score of the first impostor pair that is one too many:
        # what is tied with it is rejected too. Without one, all that have a score pass.
        above = np.append(self.above[:scored_impostor], scored_genuine)
        of_targets: list[float] = tar[above[too_many]].tolist()
        return of_targets


def resample(
    rankings: Sequence[RankedPairs], num_identities: int, num_draws: int, seed: int
) -> Iterator[list[Weights]]:
    """Draw identities, and weigh the same pairs as each model ranks them.

    Raises:
        ParameterError: If ``num_draws`` is below 1.
    """
    if num_draws < 1:
        raise ParameterError(f"num_draws must be at least 1, got {num_draws}")
    rng = np.random.default_rng(seed)
    num_drawn = 0
    while num_drawn < num_draws:
        drawn = rng.integers(num_identities, size=num_identities)
        multiplicities = np.bincount(drawn, minlength=num_identities)
        weights = [ranking.weigh(multiplicities) for ranking in rankings]
        # A genuine and an impostor pair show three people at most, who are drawn
        # together more than once in five times: this comes to an end.
        if all(of_kind.any() for of_kind in weights[0]):
            num_drawn += 1
            yield weights
