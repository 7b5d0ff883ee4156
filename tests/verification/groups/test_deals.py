from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from facever.verification.groups.clustered_rates import PairSums
from facever.verification.groups.deals import (
    MemberPairs,
    Members,
    compare_two_groups,
)


def draw_members(seed: int, num_groups: int = 3):
    """Few people, some in several groups, and pairs of them, many repeated."""
    rng = np.random.default_rng(seed)
    person, group = [], []
    for number in range(int(rng.integers(2, 6))):
        held = rng.permutation(num_groups)[: int(rng.integers(1, num_groups + 1))]
        person += [number] * len(held)
        group += held.tolist()
    size = int(rng.integers(1, 25))
    left, right = rng.integers(len(person), size=(2, size))
    members = Members(np.array(person), np.array(group))
    return members, rng.random(size) < 0.4, left, right


@settings(max_examples=25)
@given(st.integers(0, 100_000))
def test_sums_within_groups_are_those_of_the_pairs(seed: int) -> None:
    members, wrong, left, right = draw_members(seed)
    rng = np.random.default_rng(seed)
    dealt = rng.integers(3, size=(len(members.person), 4))
    found = MemberPairs.of(wrong, left, right, len(members.person)).within(dealt, 3)
    for group, deal in product(range(3), range(4)):
        labels = dealt[:, deal]
        inside = (labels[left] == group) & (labels[right] == group)
        assert found.errors[group, deal] == np.count_nonzero(wrong & inside)
        assert found.pairs[group, deal] == np.count_nonzero(inside)
        if inside.any():
            # The square is of pairs that share a member, each with itself, too.
            sums = PairSums.of(wrong[inside], left[inside], right[inside])
            own = sums.num_errors * (1 - sums.rate)
            square = found.square[group, deal]
            assert square == pytest.approx(sums.together + own, abs=1e-9)
        else:
            assert np.isnan(found.rates[group, deal])


@given(st.integers(0, 100_000))
def test_a_deal_exchanges_what_people_are(seed: int) -> None:
    members, *_ = draw_members(seed)
    deals = np.concatenate(
        list(members.deal(30, np.random.default_rng(seed))), axis=1
    ).T
    assert len(deals) == 30

    def hands(groups: np.ndarray) -> Counter[tuple[int, ...]]:
        of_person: dict[int, list[int]] = {}
        for person, group in zip(members.person.tolist(), groups.tolist(), strict=True):
            of_person.setdefault(person, []).append(group)
        return Counter(tuple(sorted(held)) for held in of_person.values())

    for deal in deals:
        assert hands(deal) == hands(members.group)


def test_every_deal_is_as_likely() -> None:
    # Four people in one group, three of them in 0, and one person in both.
    members = Members(np.array([0, 1, 2, 3, 4, 4]), np.array([0, 0, 1, 0, 0, 1]))
    [dealt] = members.deal(4000, np.random.default_rng(0))
    counts = Counter(map(tuple, dealt.T.tolist()))
    expected = {
        (*alone, *both)
        for alone in permutations((0, 0, 1, 0))
        for both in permutations((0, 1))
    }
    assert set(counts) == expected
    assert len(expected) == 8
    assert all(abs(count - 500) < 100 for count in counts.values())


def slow_differences(wrong, left, right, labels) -> float:
    """How many standard errors the groups 0 and 1 are apart, by loops."""
    groups = []
    for group in (0, 1):
        kept = [
            place
            for place in range(len(wrong))
            if labels[left[place]] == labels[right[place]] == group
        ]
        groups.append(kept)
    errors = [sum(bool(wrong[place]) for place in kept) for kept in groups]
    if not all(groups):
        return 0.0
    overall = sum(errors) / sum(map(len, groups))
    variance = 0.0
    for kept, number in zip(groups, errors, strict=True):
        rate = number / len(kept)
        square = sum(
            (wrong[one] - rate) * (wrong[other] - rate)
            for one, other in product(kept, repeat=2)
            if {left[one], right[one]} & {left[other], right[other]}
        )
        independent = overall * (1 - overall) / len(kept)
        variance += max(independent, square / len(kept) ** 2)
    rates = [number / len(kept) for number, kept in zip(errors, groups, strict=True)]
    return abs(rates[0] - rates[1]) / variance**0.5 if variance > 1e-12 else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_p_values_against_all_deals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [0, 0, 1, 1, 1, 0]
    left, right = rng.integers(6, size=(2, 40))
    wrong = rng.random(40) < np.where((left % 3 == 0), 0.7, 0.2)
    real = slow_differences(wrong.astype(float), left, right, labels)
    all_deals = [
        slow_differences(wrong.astype(float), left, right, dealt)
        for dealt in set(permutations(labels))
    ]
    share = np.mean([apart >= real - 1e-9 for apart in all_deals])
    found = compare_two_groups(
        Members(np.arange(6), np.array(labels)),
        MemberPairs.of(wrong, left, right, 6),
        3000,
        seed,
    )
    assert found is not None
    assert found.p_value == pytest.approx(share, abs=0.04)


def test_swapping_the_groups_changes_the_sign_alone() -> None:
    rng = np.random.default_rng(5)
    left, right = rng.integers(6, size=(2, 40))
    members = Members(np.arange(6), np.array([0, 0, 0, 1, 1, 1]))
    pairs = MemberPairs.of(rng.random(40) < 0.4, left, right, 6)
    one = compare_two_groups(members, pairs, 2000, 0)
    other = compare_two_groups(
        Members(members.person, 1 - members.group), pairs, 2000, 1
    )
    assert one is not None
    assert other is not None
    assert one.difference == -other.difference
    assert one.p_value == pytest.approx(other.p_value, abs=0.06)


def test_without_pairs_there_is_no_test() -> None:
    people = np.zeros(3, np.int64)
    pairs = MemberPairs.of(np.array([True, False, True]), people, people, 2)
    assert compare_two_groups(Members(np.arange(2), np.arange(2)), pairs, 10, 0) is None


@pytest.mark.parametrize(("small", "is_tested"), [(30, True), (6, False)])
def test_no_test_where_deals_leave_a_group_hardly_a_pair(
    small: int, is_tested: bool
) -> None:
    """Pairs within groups alone: a deal keeps those whose people stay together."""
    rng = np.random.default_rng(0)
    first = np.arange(60).repeat(6)
    inside = first < small
    size = np.where(inside, small, 60 - small)
    start = np.where(inside, 0, small)
    second = start + (first - start + rng.integers(1, size)) % size
    members = Members(np.arange(60), (np.arange(60) >= small).astype(np.int64))
    pairs = MemberPairs.of(rng.random(360) < 0.1, first, second, 60)
    assert (compare_two_groups(members, pairs, 100, 0) is not None) == is_tested


@pytest.mark.parametrize("kind", ["genuine", "impostor"])
def test_p_values_are_uniform_where_groups_say_nothing(
    kind: str, types_unchecked: None
) -> None:
    rng = np.random.default_rng(3)
    people, num_sets = 50, 200
    p_values = []
    for seed in range(num_sets):
        trait = rng.normal(size=people)
        left = np.repeat(np.arange(people), 8)
        right = left
        if kind == "impostor":
            right = (left + rng.integers(1, people, size=left.size)) % people
        wrong = trait[left] + trait[right] + rng.normal(size=left.size) > 1.5
        # A group of 15 people and one of 35, whoever they are.
        members = Members(
            np.arange(people), (rng.permutation(people) < 15).astype(np.int64)
        )
        test = compare_two_groups(
            members, MemberPairs.of(wrong, left, right, people), 99, seed
        )
        assert test is not None
        p_values.append(test.p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < 0.045


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    people = np.arange(60).repeat(5)
    wrong = rng.random(300) < np.where(people < 30, 0.3, 0.05)
    members = Members(np.arange(60), (np.arange(60) >= 30).astype(np.int64))
    found = compare_two_groups(
        members, MemberPairs.of(wrong, people, people, 60), 999, 0
    )
    assert found is not None
    assert found.difference == pytest.approx(
        wrong[people < 30].mean() - wrong[people >= 30].mean()
    )
    assert found.p_value < 0.01
