"""Groups under one threshold: the rates of each, how far apart they are, and tests.

Stated rules:

- There is one threshold for all: that of a stated false match rate over all impostor
  pairs. It is taken as given, so intervals and tests do not know that it was chosen on
  these pairs.
- Only pairs that could be compared count, as in ISO/IEC 19795-1. Photos without an
  embedding are counted for each group.
- A group's rates are those of pairs with both photos in it. Pairs with a photo in each
  of two groups have rates of their own; where the attribute is a person's there are no
  genuine ones among them.
- Tests of one attribute are corrected together, those of both rates: if no group of the
  attribute differs, the chance of any p-value below 5 % is at most 5 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.errors import DataError
from facever.progress import Advance, ignore_progress
from facever.verification.evaluation import Evaluation
from facever.verification.groups.attributes import Attribute, PairGroups
from facever.verification.groups.clustered_rates import (
    ClusteredRate,
    PairSums,
    clustered_rates,
)
from facever.verification.groups.deals import (
    MemberPairs,
    Members,
    compare_two_groups,
)
from facever.verification.groups.differentials import (
    Differentials,
    differentials,
    garbe,
    gini,
)
from facever.verification.roc import roc_curve, tar_at_far
from facever.verification.uncertainty.error_bars import folder_identities
from facever.verification.uncertainty.many_tests import holm

DEFAULT_GROUPS_FAR = 1e-3
_NUM_DEALS = 1000
# The smallest corrected p-value is that of all tests times one deal.
_DEALS_FOR_A_TEST = 100


@dataclass(frozen=True)
class ByChance:
    """What a coefficient comes to if groups are dealt at random.

    Attributes:
        median: Half of the deals give less.
        high: 95 % of the deals give less.
    """

    median: float
    high: float


@dataclass(frozen=True)
class GroupTest:
    """Whether two groups differ in a rate, see ``deals``.

    Attributes:
        rate: ``fmr`` or ``fnmr``.
        first: A group.
        second: Another group.
        difference: The rate of the first less that of the second.
        p_value: The test's own p-value.
        corrected: The p-value with Holm's correction for all tests of the attribute.
    """

    rate: str
    first: str
    second: str
    difference: float
    p_value: float
    corrected: float


@dataclass(frozen=True)
class RateOfGroups:
    """One error rate by groups.

    Attributes:
        of: The rate of each two groups, by their places, the lower first; a group's own
            rate is that of the group and itself.
        differentials: How far the groups' own rates are apart.
        gini_by_chance: What their Gini coefficient would be by chance; None where
            nothing could be dealt.
    """

    of: Mapping[tuple[int, int], ClusteredRate]
    differentials: Differentials
    gini_by_chance: ByChance | None

    def own(self, group: int) -> ClusteredRate:
        """The rate of the pairs within a group."""
        return self.of[group, group]


@dataclass(frozen=True)
class ComparedGroups:
    """What an attribute's groups have in common and what not.

    Attributes:
        attribute: The attribute.
        num_people: Number of people in each group; None where photos' names do not
            say who is on them.
        num_missing: Number of photos in each group that have no embedding.
        num_in_several: Number of people with photos in several groups.
        fmr: The false match rates, of impostor pairs.
        fnmr: The false non-match rates, of genuine pairs.
        garbe: The Gini aggregation rate of both; None where a rate has none.
        garbe_by_chance: What it would be by chance.
        tests: The tests of every two groups.
        num_deals: How often groups were dealt for each test.
    """

    attribute: Attribute
    num_people: tuple[int, ...] | None
    num_missing: tuple[int, ...]
    num_in_several: int
    fmr: RateOfGroups
    fnmr: RateOfGroups
    garbe: float | None
    garbe_by_chance: ByChance | None
    tests: tuple[GroupTest, ...]
    num_deals: int


@dataclass(frozen=True)
class GroupComparison:
    """Groups of the pairs of an evaluation, by one attribute or several.

    Attributes:
        model: The name of the evaluation.
        target_far: The false match rate asked for, over all impostor pairs.
        threshold: The threshold that it gives, one for all groups.
        fmr: False match rate of all impostor pairs that could be compared.
        fnmr: False non-match rate of all genuine pairs that could be compared.
        compared: What each attribute's groups have in common and what not.
        seed: Seed of the deals.
        notes: How photos were matched with groups, a line each.
    """

    model: str
    target_far: float
    threshold: float
    fmr: float
    fnmr: float
    compared: tuple[ComparedGroups, ...]
    seed: int
    notes: tuple[str, ...]


def num_tests(groups: PairGroups) -> int:
    """Number of tests that ``compare_groups`` makes of groups."""
    sizes = [len(attribute.groups) for attribute in groups.attributes]
    return sum(size * (size - 1) for size in sizes)


def compare_groups(
    name: str,
    evaluation: Evaluation,
    groups: PairGroups,
    target_far: float = DEFAULT_GROUPS_FAR,
    seed: int = 0,
    advance: Advance = ignore_progress,
) -> GroupComparison:
    """Compare the error rates of groups under one threshold; see the head of this file.

    Where photos' names do not say who is on them, pairs are taken for independent.

    Args:
        name: The name of the evaluation.
        evaluation: The scores of the pairs.
        groups: The groups of the same pairs.
        target_far: The false match rate over all impostor pairs that gives the
            threshold, in (0, 1].
        seed: Seed of the deals, 0 or more.
        advance: Called with the number of tests done since the last call.

    Raises:
        ParameterError: If ``target_far`` is out of range.
        DataError: If too few impostor pairs could be compared for ``target_far``.
    """
    pairs, compared = evaluation.pairs, evaluation.compared
    scores, same = evaluation.scores[compared], pairs.same[compared]
    [at_far] = tar_at_far(roc_curve(scores, same), [target_far])
    if at_far.threshold is None:
        raise DataError(f"groups: {at_far.note}; give a higher --groups-far")
    wrong = (evaluation.scores > at_far.threshold) != pairs.same
    people = folder_identities(pairs)
    return GroupComparison(
        model=name,
        target_far=target_far,
        threshold=at_far.threshold,
        fmr=float(wrong[compared & ~pairs.same].mean()),
        fnmr=float(wrong[compared & pairs.same].mean()),
        compared=tuple(
            _compare(attribute, evaluation, wrong, people, seed, advance)
            for attribute in groups.attributes
        ),
        seed=seed,
        notes=groups.notes,
    )


def _compare(
    attribute: Attribute,
    evaluation: Evaluation,
    wrong: Bool[np.ndarray, " pairs"],
    people: tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]] | None,
    seed: int,
    advance: Advance,
) -> ComparedGroups:
    pairs = evaluation.pairs
    # Without people every pair stands for itself, on both of its sides.
    left, right = people or (np.arange(len(pairs)),) * 2
    inside = evaluation.compared & (attribute.left >= 0) & (attribute.right >= 0)
    kinds = {
        kind: _Pairs(
            wrong[of_kind],
            (left[of_kind], right[of_kind]),
            (attribute.left[of_kind], attribute.right[of_kind]),
        )
        for kind, of_kind in (
            ("fmr", inside & ~pairs.same),
            ("fnmr", inside & pairs.same),
        )
    }
    num_groups = len(attribute.groups)
    rates = {kind: _rates(of_kind, num_groups) for kind, of_kind in kinds.items()}
    ginis = {kind: gini(_own_rates(of, num_groups)[None]) for kind, of in rates.items()}
    chance = _deal_ginis(kinds, num_groups, seed)
    [both] = garbe(ginis["fmr"], ginis["fnmr"]).tolist()
    fmr, fnmr = (
        RateOfGroups(
            rates[kind],
            differentials(_own_rates(rates[kind], num_groups)),
            _by_chance(chance[kind]),
        )
        for kind in ("fmr", "fnmr")
    )
    num_deals = max(_NUM_DEALS, _DEALS_FOR_A_TEST * num_groups * (num_groups - 1))
    everybody = None if people is None else _count_people(attribute, people)
    return ComparedGroups(
        attribute=attribute,
        num_people=None if everybody is None else everybody[0],
        num_missing=_count_missing(attribute, evaluation),
        num_in_several=0 if everybody is None else everybody[1],
        fmr=fmr,
        fnmr=fnmr,
        garbe=None if np.isnan(both) else both,
        garbe_by_chance=_by_chance(garbe(chance["fmr"], chance["fnmr"])),
        tests=_tests(attribute, kinds, num_deals, seed, advance),
        num_deals=num_deals,
    )


@dataclass(frozen=True)
class _Pairs:
    """The pairs of one kind: which are errors, who is on them, and in which groups."""

    wrong: Bool[np.ndarray, " pairs"]
    people: tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]
    groups: tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]

    def take(self, kept: Bool[np.ndarray, " pairs"]) -> "_Pairs":
        """Some of the pairs."""
        return _Pairs(
            self.wrong[kept],
            (self.people[0][kept], self.people[1][kept]),
            (self.groups[0][kept], self.groups[1][kept]),
        )


def _rates(pairs: _Pairs, num_groups: int) -> dict[tuple[int, int], ClusteredRate]:
    low, high = np.minimum(*pairs.groups), np.maximum(*pairs.groups)
    cells = list(combinations_with_replacement(range(num_groups), 2))
    sums = []
    for one, other in cells:
        kept = pairs.take((low == one) & (high == other))
        sums.append(PairSums.of(kept.wrong, *kept.people))
    return dict(zip(cells, clustered_rates(sums), strict=True))


def _own_rates(
    rates: Mapping[tuple[int, int], ClusteredRate], num_groups: int
) -> Float64[np.ndarray, " groups"]:
    own = [rates[group, group].rate for group in range(num_groups)]
    return np.array([np.nan if rate is None else rate for rate in own])


def _members(
    kinds: Sequence[_Pairs], num_groups: int
) -> tuple[Members, list[MemberPairs]]:
    """Who is on pairs of some kinds, in which group, and the pairs by them."""
    ends = [
        people * num_groups + groups
        for pairs in kinds
        for people, groups in zip(pairs.people, pairs.groups, strict=True)
    ]
    codes, places = np.unique(np.concatenate(ends), return_inverse=True)
    parts = np.split(places, np.cumsum([len(end) for end in ends])[:-1])
    members = Members(codes // num_groups, codes % num_groups)
    return members, [
        MemberPairs.of(pairs.wrong, left, right, len(codes))
        for pairs, left, right in zip(kinds, parts[::2], parts[1::2], strict=True)
    ]


def _deal_ginis(
    kinds: Mapping[str, _Pairs], num_groups: int, seed: int
) -> dict[str, Float64[np.ndarray, " deals"]]:
    """The Gini coefficients of both rates in the same deals of all groups."""
    members, pairs = _members(list(kinds.values()), num_groups)
    rng = np.random.default_rng(seed)
    found: dict[str, list[Float64[np.ndarray, " some"]]] = {kind: [] for kind in kinds}
    for dealt in members.deal(_NUM_DEALS, rng):
        for kind, of_kind in zip(kinds, pairs, strict=True):
            found[kind].append(gini(of_kind.within(dealt, num_groups).rates.T))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def _by_chance(dealt: Float64[np.ndarray, " deals"]) -> ByChance | None:
    known = dealt[np.isfinite(dealt)]
    if not known.size:
        return None
    median, high = np.quantile(known, [0.5, 0.95]).tolist()
    return ByChance(median, high)


def _tests(
    attribute: Attribute,
    kinds: Mapping[str, _Pairs],
    num_deals: int,
    seed: int,
    advance: Advance,
) -> tuple[GroupTest, ...]:
    found = []
    for kind, pairs in kinds.items():
        for first, second in combinations(range(len(attribute.groups)), 2):
            of_two = pairs.take(
                np.isin(pairs.groups[0], (first, second))
                & np.isin(pairs.groups[1], (first, second))
            )
            left, right = ((side == second).astype(np.int64) for side in of_two.groups)
            members, [counted] = _members(
                [_Pairs(of_two.wrong, of_two.people, (left, right))], 2
            )
            test = compare_two_groups(members, counted, num_deals, seed)
            if test is not None:
                found.append((kind, first, second, test))
            advance()
    corrected = holm([test.p_value for *_, test in found])
    names = attribute.groups
    return tuple(
        GroupTest(kind, names[one], names[two], test.difference, test.p_value, p_value)
        for (kind, one, two, test), p_value in zip(found, corrected, strict=True)
    )


def _count_people(
    attribute: Attribute,
    people: tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]],
) -> tuple[tuple[int, ...], int]:
    """The people in each group, and those who are in several."""
    everybody = np.concatenate(people)
    groups = np.concatenate([attribute.left, attribute.right])
    there = groups >= 0
    members = np.unique(np.stack([everybody[there], groups[there]]), axis=1)
    in_each = np.bincount(members[1], minlength=len(attribute.groups))
    times = np.unique(members[0], return_counts=True)[1]
    return tuple(in_each.tolist()), int(np.count_nonzero(times > 1))


def _count_missing(attribute: Attribute, evaluation: Evaluation) -> tuple[int, ...]:
    pairs = evaluation.pairs
    group_of = dict(
        zip(
            (*pairs.left, *pairs.right),
            (*attribute.left.tolist(), *attribute.right.tolist()),
            strict=True,
        )
    )
    counts = [0] * len(attribute.groups)
    for photo in evaluation.missing:
        if group_of[photo] >= 0:
            counts[group_of[photo]] += 1
    return tuple(counts)
