"""Which of several ways to use one network is the right one?

Each way, such as another order of the colours, gives every pair a score. The ways are
compared by their *separation*: how far the mean scores of genuine and of impostor pairs
lie apart, in standard deviations. That speaks of every pair. The area under the ROC
curve of a good network is decided by a handful of pairs: on the 2,200 pairs of LFW's
DevTrain it is larger for SFace on pixels divided by 256 (0.9992) than on those that it
was trained on (0.9991), and the separation is not (5.81 and 6.01).

All ways see the same pairs, so what makes pairs hard is common to them and cancels. A
bootstrap measures all ways in the same draws of people (see ``uncertainty``), and
judges the gap between two ways by how much it varies over the draws. There are many
gaps, and the largest of many is large by chance: the p-value of a gap is the share of
draws in which any gap is off by as many of its own standard deviations as that.

So that this takes minutes, ways that are told apart from the best on a few pairs are
not tried on more, each round at a share of the level. A way whose scores hardly differ
from those of another is not tried on more, either: it would never be told apart.

References:
    Green and Swets, Signal detection theory and psychophysics, 1966 (the separation,
    d').
    Hsu, Multiple comparisons: theory and methods, 1996 (comparisons with the best).
    Westfall and Young, Resampling-based multiple testing, 1993 (the largest of many).
    Jamieson and Talwalkar, Non-stochastic best arm identification, 2016 (rounds).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.verification.evaluation import Evaluation, evaluate_scores
from facever.verification.protocols import PairList
from facever.verification.uncertainty.error_bars import (
    accuracy_interval,
    folder_identities,
)
from facever.verification.uncertainty.resampling import what_to_draw

LEVEL = 0.05
"""How often the right way may be dropped for a worse one, over all rounds."""

USABLE_ACCURACY = 0.9
"""Below it a way to use a face network is wrong, whatever the network."""

ROUNDS = (80, 400, 1200, np.inf)
"""Pairs of each round: half of them genuine, half in each fold; the last has all."""

_NUM_DRAWS = 2000
_SEED = 0

# Scores of two ways that differ by less than this share of their spread, in the mean.
_ALIKE = 0.02
# Below the rounding of a cosine of float32 vectors.
_ROUNDING = 1e-7
# A gap up to this does not matter, however surely it is there.
_SMALLEST_GAP = 0.01

Score = Callable[[Sequence[int], PairList], Float64[np.ndarray, "ways pairs"]]
"""Gets ways and pairs; gives each way's scores, -inf where a photo is missing."""


@dataclass(frozen=True)
class Standing:
    """How far a way came.

    Attributes:
        evaluation: Its numbers in the last round that it was in.
        separation: Likewise.
        p_value: The p-value of its gap to the best of that round.
        alike: The way whose scores are nearly its own and which went on for both; None
            if there is none.
    """

    evaluation: Evaluation
    separation: float
    p_value: float
    alike: int | None


@dataclass(frozen=True)
class Choice:
    """Which way is right.

    Attributes:
        standings: How each way did.
        best: The way of the largest separation, but for those that are alike.
        equal: The best and those that cannot be told apart from it.
        is_usable: Whether the best may judge a share of ``USABLE_ACCURACY`` right.
    """

    standings: list[Standing]
    best: int
    equal: frozenset[int]
    is_usable: bool

    @property
    def chosen(self) -> int:
        """The first, which is the most common, of the equal ones."""
        return min(self.equal)


def choose_way(
    num_ways: int,
    pairs: PairList,
    score: Score,
    rounds: Sequence[float] = ROUNDS,
) -> Choice:
    """Find the right one of several ways to use a network.

    Args:
        num_ways: Number of ways, the most common first: it is chosen where others are
            as good.
        pairs: Pairs to choose on.
        score: Scores pairs; those that some way cannot score are left out.
        rounds: Pairs of each round, drawn at random and kept in the next; infinity for
            all.

    Raises:
        DataError: If too few pairs can be scored.
    """
    turns = _draw_turns(pairs)
    standings: dict[int, Standing] = {}
    ways = list(range(num_ways))
    for size in rounds:
        some = take_pairs(pairs, turns < size / 4)
        scores = score(ways, some)
        scored: Bool[np.ndarray, " pairs"] = np.all(np.isfinite(scores), axis=0)
        scores, some = scores[:, scored], take_pairs(some, scored)
        stands_for = _find_alike(scores)
        kept = sorted(set(stands_for))
        separations = separate(scores, some.same)
        p_values = dict(zip(kept, judge_gaps(scores[kept], some), strict=True))
        for place, way in enumerate(ways):
            other = stands_for[place]
            standings[way] = Standing(
                evaluate_scores(scores[place], some),
                float(separations[place]),
                float(p_values[other]),
                None if other == place else ways[other],
            )
        best = ways[max(kept, key=lambda place: separations[place])]
        ways = [ways[place] for place in kept if p_values[place] > LEVEL / len(rounds)]
        interval = accuracy_interval(standings[best].evaluation)
        if interval.high < USABLE_ACCURACY:
            break
    equal = set(ways)
    # Who stands for others may have dropped out later, or others stand for him.
    for _ in rounds:
        equal |= {way for way, each in standings.items() if each.alike in equal}
    return Choice(
        [standings[way] for way in range(num_ways)],
        best,
        frozenset(equal),
        interval.high >= USABLE_ACCURACY,
    )


def separate(
    scores: Float64[np.ndarray, "ways pairs"], same: Bool[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " ways"]:
    """How far the means of genuine and impostor pairs lie apart, in deviations.

    Args:
        scores: The score of each pair in each way, finite.
        same: True for genuine pairs.

    Returns:
        The difference of the means over the root of the mean of both variances; 0 where
        all scores are one.

    >>> scores = np.array([[3.0, 5.0, 0.0, 2.0]])
    >>> separate(scores, np.array([True, True, False, False])).round(3)
    array([3.])
    """
    once = np.ones((1, same.size))
    separations: Float64[np.ndarray, " ways"] = _separations(scores, same, once)[0]
    return separations


def judge_gaps(
    scores: Float64[np.ndarray, "ways pairs"], pairs: PairList
) -> Float64[np.ndarray, " ways"]:
    """The p-value of each way's gap to the best, adjusted for the number of ways.

    Args:
        scores: The score of each pair in each way, finite.
        pairs: The pairs.

    Returns:
        In (0, 1]; 1 for the best and for those whose separation is less by no more
        than a hundredth.
    """
    identities = folder_identities(pairs) or (None, None)
    drawn = what_to_draw(pairs.same, *identities)
    rng = np.random.default_rng(_SEED)
    weights = np.array([drawn.draw(rng) for _ in range(_NUM_DRAWS)], np.float64)
    has_both = weights[:, pairs.same].any(axis=1) & weights[:, ~pairs.same].any(axis=1)
    return _p_values(
        separate(scores, pairs.same),
        _separations(scores, pairs.same, weights[has_both]),
    )


def take_pairs(pairs: PairList, taken: Bool[np.ndarray, " pairs"]) -> PairList:
    """Some of the pairs, in their order.

    Raises:
        DataError: If a fold is left without genuine or without impostor pairs.
    """
    rows = np.flatnonzero(taken)
    return PairList(
        [pairs.left[row] for row in rows],
        [pairs.right[row] for row in rows],
        pairs.same[rows],
        pairs.fold[rows],
    )


def _draw_turns(pairs: PairList) -> Int64[np.ndarray, " pairs"]:
    """The place of each pair in a drawn order of the pairs of its kind and fold."""
    rng = np.random.default_rng(_SEED)
    turns = np.empty(len(pairs), np.int64)
    for fold in range(pairs.num_folds):
        for kind in (True, False):
            own = np.flatnonzero((pairs.fold == fold) & (pairs.same == kind))
            turns[own] = rng.permutation(len(own))
    return turns


def _find_alike(scores: Float64[np.ndarray, "ways pairs"]) -> list[int]:
    """For each way the first whose scores are nearly its own, mostly itself."""
    stands_for: list[int] = []
    for way, own in enumerate(scores):
        kept = sorted(set(stands_for))
        differences = np.abs(scores[kept] - own).mean(axis=1)
        near = np.flatnonzero(differences <= _ALIKE * own.std())
        stands_for.append(kept[near[0]] if near.size else way)
    return stands_for


def _separations(
    scores: Float64[np.ndarray, "ways pairs"],
    same: Bool[np.ndarray, " pairs"],
    weights: Float64[np.ndarray, "draws pairs"],
) -> Float64[np.ndarray, "draws ways"]:
    """The d' of each way in each draw, where a pair counts as often as its weight."""
    means, variances = [], []
    for of_kind in (same, ~same):
        share = weights[:, of_kind] / weights[:, of_kind].sum(axis=1, keepdims=True)
        own = scores[:, of_kind]
        # Shifted, so that little is lost when squares are subtracted.
        shift = own.mean(axis=1, keepdims=True)
        mean = share @ (own - shift).T
        variances.append(share @ ((own - shift) ** 2).T - mean**2)
        means.append(mean + shift.T)
    spread = np.sqrt(np.maximum(sum(variances) / 2, 0))
    separations: Float64[np.ndarray, "draws ways"] = (means[0] - means[1]) / (
        spread + _ROUNDING
    )
    return separations


def _p_values(
    separations: Float64[np.ndarray, " ways"],
    of_draws: Float64[np.ndarray, "draws ways"],
) -> Float64[np.ndarray, " ways"]:
    gaps = separations[:, None] - separations
    drawn = of_draws[:, :, None] - of_draws[:, None, :]
    spread = np.maximum(drawn.std(axis=0), _ROUNDING)
    largest = (np.abs(drawn - gaps) / spread).max(axis=(1, 2))
    own = ((gaps - _SMALLEST_GAP) / spread)[separations.argmax()]
    # The pairs as they are count as one draw more.
    rarer: Int64[np.ndarray, " ways"] = (largest[:, None] >= own).sum(axis=0)
    return (rarer + 1) / (len(largest) + 1)
