from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError, ParameterError
from facever.verification.evaluation import TARGET_FARS, evaluate_pairs
from facever.verification.protocols import read_lfw_pairs
from facever.verification.roc import area_under_curve, roc_curve, tar_at_far
from facever.verification.uncertainty.intervals import (
    Interval,
    bootstrap,
    percentiles,
    wilson,
)
from facever.verification.uncertainty.resampling import (
    Identities,
    RankedPairs,
    resample,
)

TARGETS = (0.1, 0.3, 0.5, 1.0)
PEOPLE = 4
Pairs = dict[str, np.ndarray]


def draw_pairs(seed: int) -> Pairs:
    """Few people, tied scores, pairs without a score, at least one with."""
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.integers(1, 8, size=2)
    left = rng.integers(PEOPLE, size=genuine + impostor)
    other = (left + rng.integers(1, PEOPLE, size=left.size)) % PEOPLE
    same = rng.permutation(left.size) < genuine
    scores = rng.choice([-np.inf, 0.1, 0.2, 0.3, 0.4], size=left.size)
    scores[rng.integers(left.size)] = 0.25
    return {
        "scores": scores,
        "same": same,
        "right": rng.random(left.size) < 0.7,
        "left_identity": left,
        "right_identity": np.where(same, left, other),
    }


def rank(pairs: Pairs) -> tuple[RankedPairs, Identities]:
    people = Identities.of(
        pairs["same"], pairs["left_identity"], pairs["right_identity"]
    )
    return RankedPairs.of(pairs["scores"], pairs["same"], pairs["right"]), people


def written_out(
    pairs: Pairs, drawn: tuple[int, ...]
) -> dict[bool, list[tuple[float, bool]]]:
    """Score and judgement of each pair of the people drawn, copy by copy."""
    lists: dict[bool, list[tuple[float, bool]]] = {True: [], False: []}
    for score, same, right, left, other in zip(*pairs.values(), strict=True):
        for i, first in enumerate(drawn):
            if same and first == left:
                lists[True].append((score, right))
            for j, second in enumerate(drawn):
                if not same and i != j and (first, second) == (left, other):
                    lists[False].append((score, right))
    return lists


def slow_measures(pairs: Pairs, drawn: tuple[int, ...]) -> list[float] | None:
    """Accuracy, AUC and TARs by counting; None if a kind is not there."""
    lists = written_out(pairs, drawn)
    if not (lists[True] and lists[False]):
        return None
    accuracy = sum(
        Fraction(int((pairs["same"] == kind).sum()), len(pairs["same"]))
        * Fraction(sum(bool(right) for _, right in lists[kind]), len(lists[kind]))
        for kind in (True, False)
    )
    genuine, impostor = ([score for score, _ in lists[kind]] for kind in (True, False))
    wins = sum(2 * (g > i) + (g == i) for g in genuine for i in impostor)
    rates = [
        tuple(sum(s > t for s in kind) / len(kind) for kind in (impostor, genuine))
        for t in (-9.0, *(s for s in genuine + impostor if np.isfinite(s)), 9.0)
    ]
    tar = [max(tar for far, tar in rates if far <= target) for target in TARGETS]
    return [float(accuracy), wins / (2 * len(genuine) * len(impostor)), *tar]


seeds = st.integers(0, 100_000)
quickly = settings(max_examples=40, deadline=None)


@quickly
@given(seeds, st.tuples(*[st.integers(0, PEOPLE - 1)] * PEOPLE))
def test_measures_of_given_multiplicities_are_those_of_pairs_written_out(
    seed: int, drawn: tuple[int, ...]
) -> None:
    pairs = draw_pairs(seed)
    ranked, people = rank(pairs)
    known = np.unique([pairs["left_identity"], pairs["right_identity"]])
    counts = Counter(drawn)
    multiplicities = np.array([counts[person] for person in known])
    weights = ranked.sort(people.weigh(multiplicities))
    lists = written_out(pairs, drawn)
    assert [w.sum() for w in weights] == [len(lists[True]), len(lists[False])]
    assert people.num_identities == len(known)
    expected = slow_measures(pairs, drawn)
    if expected is not None:
        found = ranked.measure(*weights, TARGETS)
        numbers = [float(found.accuracy), float(found.auc), *found.tar]
        assert numbers == pytest.approx(expected, abs=1e-12)


@quickly
@given(seeds)
def test_each_person_once_gives_the_numbers_of_the_roc_module(seed: int) -> None:
    pairs = draw_pairs(seed)
    ranked, people = rank(pairs)
    once = np.ones(people.num_identities, dtype=np.int64)
    found = ranked.measure(*ranked.sort(people.weigh(once)), TARGETS)
    roc = roc_curve(pairs["scores"], pairs["same"])
    assert float(found.accuracy) == pairs["right"].mean()
    assert float(found.auc) == area_under_curve(roc)
    for answer, tar in zip(tar_at_far(roc, TARGETS), found.tar, strict=True):
        assert answer.tar is None or answer.tar == tar


@quickly
@given(seeds)
def test_one_draw_is_one_of_all_possible_draws(seed: int) -> None:
    pairs = draw_pairs(seed)
    result = bootstrap(**pairs, targets=TARGETS, num_draws=1, seed=seed)
    people = np.unique([pairs["left_identity"], pairs["right_identity"]]).tolist()
    possible = [
        slow_measures(pairs, drawn)
        for drawn in combinations_with_replacement(people, len(people))
    ]
    enough = [target >= 1 / (~pairs["same"]).sum() for target in TARGETS]
    assert [interval is not None for interval in result.tar] == enough
    shown = [True, True, *enough]
    ends = [i for i in (result.accuracy, result.auc, *result.tar) if i is not None]
    assert all(interval.low == interval.high for interval in ends)
    assert any(
        [i.low for i in ends] == pytest.approx(np.array(measures)[shown], abs=1e-12)
        for measures in possible
        if measures is not None
    )


@quickly
@given(seeds)
def test_order_sides_and_names_change_nothing(seed: int) -> None:
    pairs = draw_pairs(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs["same"]))
    shuffled = {name: column[order] for name, column in pairs.items()}
    shuffled["left_identity"], shuffled["right_identity"] = (
        10 * shuffled["right_identity"] - 7,
        10 * shuffled["left_identity"] - 7,
    )
    before = bootstrap(**pairs, targets=TARGETS, num_draws=8)
    assert bootstrap(**shuffled, targets=TARGETS, num_draws=8) == before


def three_people() -> Pairs:
    """A and C are known again, B is not; the one impostor pair shows A and B."""
    return {
        "scores": np.array([0.9, 0.1, 0.8, 0.2]),
        "same": np.array([True, True, True, False]),
        "right": np.array([True, False, True, True]),
        "left_identity": np.array([0, 1, 2, 0]),
        "right_identity": np.array([0, 1, 2, 1]),
    }


def test_draws_by_hand(types_unchecked: None) -> None:
    # Only draws with A and B leave the impostor pair: AAB (3 orders), ABB (3) and ABC
    # (6). ABB has 1/3 of its genuine pairs right, the others 2/3, and three pairs of
    # four are genuine: accuracy 1/2 in a quarter of the draws and 3/4 in the others.
    pairs = three_people()
    wide = bootstrap(**pairs, targets=[1.0], level=0.6)
    assert (wide.accuracy.low, wide.accuracy.high) == (0.5, 0.75)
    assert (wide.auc.low, wide.auc.high) == pytest.approx((1 / 3, 2 / 3))
    assert wide.tar == [Interval(1.0, 1.0, 0.6)]
    narrow = bootstrap(**pairs, targets=[0.5], level=0.4)
    assert narrow.accuracy == Interval(0.75, 0.75, 0.4)
    assert narrow.tar == [None]
    assert (narrow.num_identities, narrow.num_draws, narrow.seed) == (3, 1000, 0)


def test_a_seed_repeats_its_draws_and_another_does_not() -> None:
    pairs = three_people()
    one, again, other = (
        bootstrap(**pairs, targets=TARGETS, num_draws=7, seed=seed).auc
        for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_all_right() -> None:
    pairs = three_people() | {"right": np.ones(4, dtype=bool)}
    result = bootstrap(**pairs, targets=TARGETS, num_draws=50)
    assert result.accuracy == Interval(1.0, 1.0, 0.95)
    assert wilson(4, 4).low < 0.6


def test_bad_input() -> None:
    pairs = three_people()
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(ParameterError, match="level must be"):
            bootstrap(**pairs, targets=TARGETS, level=level)
        with pytest.raises(ParameterError, match="level must be"):
            wilson(1, 2, level)
    with pytest.raises(ParameterError, match="num_draws must be at least 1, got 0"):
        bootstrap(**pairs, targets=TARGETS, num_draws=0)
    with pytest.raises(ParameterError, match=r"in \(0, 1\], got 0"):
        bootstrap(**pairs, targets=[0.0])
    for right, total in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ParameterError, match=f"got {right} right of {total} pairs"):
            wilson(right, total)
    for pair, kind, shows in ((1, "genuine", "two"), (3, "impostor", "one")):
        wrong = three_people()
        wrong["right_identity"][pair] ^= 1
        says = rf"1 of 4 pairs: pair {pair}, .* is {kind} and shows {shows};"
        with pytest.raises(DataError, match=says):
            bootstrap(**wrong, targets=TARGETS)
    with pytest.raises(DataError, match="finite"):
        bootstrap(**pairs | {"scores": np.full(4, np.nan)}, targets=TARGETS)


@pytest.mark.parametrize(
    ("num_right", "num_pairs", "low", "high"),
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(num_right, num_pairs, low, high) -> None:
    interval = wilson(num_right, num_pairs)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(num_pairs - num_right, num_pairs)
    assert (mirrored.low, mirrored.high) == pytest.approx(
        (1 - interval.high, 1 - interval.low)
    )


def test_wilson_by_hand() -> None:
    # 1 of 4 with z = 2: p = 1/4, (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 +
    # z^2/n) = (3/4 -+ 2 sqrt(7)/8) / 2.
    interval = wilson(1, 4, level=2 * NormalDist().cdf(2) - 1)
    assert interval.low == pytest.approx((3 - 7**0.5) / 8)
    assert interval.high == pytest.approx((3 + 7**0.5) / 8)


@quickly
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_ends_are_where_the_score_test_just_rejects(total, part, level) -> None:
    right = round(part * total)
    interval = wilson(right, total, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    for end in (interval.low, interval.high):
        gap = (right / total - end) ** 2
        assert gap == pytest.approx(z**2 * end * (1 - end) / total, abs=1e-9)
    assert 0 <= interval.low <= right / total <= interval.high <= 1


def test_it_covers_where_the_interval_of_independent_pairs_is_too_narrow(
    types_unchecked: None,
) -> None:
    """People differ in how much like others they look, and each is in many pairs."""
    rng = np.random.default_rng(0)
    num_people, num_sets, num_draws, level = 60, 80, 60, 0.9
    genuine = np.arange(num_people).repeat(4)
    first, second = np.triu_indices(num_people, k=1)
    same = np.arange(genuine.size + first.size) < genuine.size
    people = Identities.of(same, np.append(genuine, first), np.append(genuine, second))
    # A pair scores its people's two traits, noise and, if genuine, 3; above 1.5 it is
    # accepted. The traits have variance 4 in a genuine pair and 2 in an impostor pair.
    chance = NormalDist().cdf
    of_genuine, of_impostor = chance(1.5 / 5**0.5), chance(1.5 / 3**0.5)
    truth = same.mean() * of_genuine + (~same).mean() * of_impostor
    covered = Counter[str]()
    for seed in range(num_sets):
        trait = rng.normal(size=num_people)
        scores = trait[people.left] + trait[people.right] + 3 * same
        scores += rng.normal(size=same.size)
        ranked = RankedPairs.of(scores, same, (scores > 1.5) == same)
        people_drawn = [
            weights for (weights,) in resample([ranked], people, num_draws, seed)
        ]
        pairs_drawn = [
            [
                np.bincount(rng.integers(count, size=count), minlength=count)
                for count in (genuine.size, first.size)
            ]
            for _ in range(num_draws)
        ]
        for what, drawn in (("people", people_drawn), ("pairs", pairs_drawn)):
            accuracy = [float(ranked.measure(*pair, ()).accuracy) for pair in drawn]
            interval = percentiles(accuracy, level)
            covered[what] += interval.low <= truth <= interval.high
    assert 0.8 * num_sets <= covered["people"] <= 0.97 * num_sets
    assert covered["pairs"] <= 0.5 * num_sets


@pytest.mark.realdata
def test_public_embeddings_of_lfw(data_folder: Path) -> None:
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    with np.load(
        data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz", allow_pickle=False
    ) as file:
        result = evaluate_pairs(file["embeddings"], file["images"].tolist(), pairs)
    names = [s.split("/")[0] for s in (*pairs.left, *pairs.right)]
    left, right = np.unique(names, return_inverse=True)[1].reshape(2, -1)
    judged = result.accepted == pairs.same
    found = bootstrap(
        scores=result.scores,
        same=pairs.same,
        right=judged,
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
        num_draws=200,
    )
    assert found.num_identities == 4281
    plain = wilson(int(judged.sum()), len(pairs))
    assert found.accuracy.low < plain.low < result.accuracy
    assert result.accuracy < plain.high < found.accuracy.high
    assert found.auc.low < result.auc < found.auc.high
