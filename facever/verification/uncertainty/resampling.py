"""Draws of people or pairs, and a model's measures when pairs count several times.

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
        right: Index of the second photo's, which is the first's in a genuine pair.
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
        """Number the people.

        Raises:
            DataError: If the people contradict ``same``.
        """
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

    def draw(self, rng: np.random.Generator) -> Int64[np.ndarray, " pairs"]:
        """Draw people with replacement; how often each pair counts then."""
        drawn = rng.integers(self.num_identities, size=self.num_identities)
        return self.weigh(np.bincount(drawn, minlength=self.num_identities))

    def weigh(
        self, multiplicities: Int64[np.ndarray, " identities"]
    ) -> Int64[np.ndarray, " pairs"]:
        """How often each pair counts when identity i was drawn multiplicities[i]."""
        weights: Int64[np.ndarray, " pairs"] = multiplicities[self.left]
        return weights * np.where(
            self.left == self.right, 1, multiplicities[self.right]
        )


@dataclass(frozen=True)
class IndependentPairs:
    """Pairs of unknown people.

    Each draw has the numbers of genuine and of impostor pairs that the list has, since
    the protocol fixed both.

    Attributes:
        same: True for genuine pairs.
    """

    same: Bool[np.ndarray, " pairs"]
    num_identities: None = None

    def draw(self, rng: np.random.Generator) -> Int64[np.ndarray, " pairs"]:
        """Draw pairs of each kind with replacement; how often each counts then."""
        weights = np.empty(self.same.size, np.int64)
        for of_kind in (self.same, ~self.same):
            count = int(np.count_nonzero(of_kind))
            drawn = rng.integers(count, size=count)
            weights[of_kind] = np.bincount(drawn, minlength=count)
        return weights


Drawn = Identities | IndependentPairs


def what_to_draw(
    same: Bool[np.ndarray, " pairs"],
    left_identity: Int64[np.ndarray, " pairs"] | None,
    right_identity: Int64[np.ndarray, " pairs"] | None,
) -> Drawn:
    """People where they are known, otherwise pairs; errors as ``Identities.of``."""
    if left_identity is None or right_identity is None:
        return IndependentPairs(same)
    return Identities.of(same, left_identity, right_identity)


@dataclass(frozen=True)
class Measures:
    """The measures of a draw, exact, so that the difference of two can be 0."""

    accuracy: Fraction
    auc: Fraction
    tar: list[float]


@dataclass(frozen=True)
class RankedPairs:
    """One model's pairs, sorted once for the measures of many draws.

    Attributes:
        genuine: Places of the genuine pairs, by falling score.
        impostor: Places of the impostor pairs, by falling score.
        genuine_right: True for genuine pairs that are judged right.
        impostor_right: True for impostor pairs that are judged right.
        above: Genuine pairs that score higher than each impostor pair.
        not_below: Genuine pairs that score as high or higher.
        num_scored: Genuine and impostor pairs whose score is not ``-inf``.
    """

    genuine: Int64[np.ndarray, " genuine"]
    impostor: Int64[np.ndarray, " impostor"]
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
    ) -> "RankedPairs":
        """Sort the pairs."""
        order = np.argsort(-scores)
        genuine, impostor = order[same[order]], order[~same[order]]
        # searchsorted wants rising numbers.
        genuine_fall, impostor_fall = -scores[genuine], -scores[impostor]
        return cls(
            genuine=genuine,
            impostor=impostor,
            genuine_right=right[genuine],
            impostor_right=right[impostor],
            above=np.searchsorted(genuine_fall, impostor_fall, side="left"),
            not_below=np.searchsorted(genuine_fall, impostor_fall, side="right"),
            num_scored=(
                int(np.count_nonzero(genuine_fall < np.inf)),
                int(np.count_nonzero(impostor_fall < np.inf)),
            ),
        )

    def sort(self, weights: Int64[np.ndarray, " pairs"]) -> Weights:
        """How often each genuine and each impostor pair counts, by falling score."""
        return weights[self.genuine], weights[self.impostor]

    def measure(
        self,
        genuine: Int64[np.ndarray, " genuine"],
        impostor: Int64[np.ndarray, " impostor"],
        targets: Sequence[float],
    ) -> Measures:
        """The measures when each pair counts that often, and each kind at least once.

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
    rankings: Sequence[RankedPairs], drawn: Drawn, num_draws: int, seed: int
) -> Iterator[list[Weights]]:
    """Draw people or pairs, and weigh the same pairs as each model ranks them.

    Raises:
        ParameterError: If ``num_draws`` is below 1.
    """
    if num_draws < 1:
        raise ParameterError(f"num_draws must be at least 1, got {num_draws}")
    rng = np.random.default_rng(seed)
    num_drawn = 0
    while num_drawn < num_draws:
        of_pairs = drawn.draw(rng)
        weights = [ranking.sort(of_pairs) for ranking in rankings]
        # A genuine and an impostor pair show three people at most, who are drawn
        # together more than once in five times: this comes to an end.
        if all(of_kind.any() for of_kind in weights[0]):
            num_drawn += 1
            yield weights
