from fractions import Fraction
from math import comb, exp, fsum, lgamma, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError, ParameterError
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import read_lfw_pairs
from facever.verification.uncertainty.intervals import Interval, bootstrap
from facever.verification.uncertainty.paired import (
    Difference,
    PairedComparison,
    compare_models,
    mcnemar,
)

Columns = dict[str, np.ndarray]
quickly = settings(max_examples=20, deadline=None)
counts = st.integers(0, 60)


def draw_models(seed: int, num_people: int = 6) -> tuple[Columns, Columns, Columns]:
    """Pairs and what two models make of them, the first the better one."""
    rng = np.random.default_rng(seed)
    left = rng.integers(num_people, size=40)
    other = (left + rng.integers(1, num_people, size=left.size)) % num_people
    same = np.arange(left.size) % 2 == 0
    pairs = {
        "same": same,
        "left_identity": left,
        "right_identity": np.where(same, left, other),
    }
    models = []
    for gap in (1.5, 0.7):
        scores = (rng.normal(size=left.size) + gap * same).round(1)
        scores[rng.random(left.size) < 0.1] = -np.inf
        models.append({"scores": scores, "right": (scores > gap / 2) == same})
    return pairs, models[0], models[1]


def compare(
    pairs: Columns, first: Columns, second: Columns, **options: float
) -> PairedComparison:
    return compare_models(
        **pairs,
        first_scores=first["scores"],
        first_right=first["right"],
        second_scores=second["scores"],
        second_right=second["right"],
        **options,
    )


def test_mcnemar_by_hand() -> None:
    # Of six tosses 0 or 1 heads: (1 + 6) / 64, twice.
    assert mcnemar(5, 1) == pytest.approx(14 / 64)
    # None of four: 1 / 16, twice.
    assert mcnemar(0, 4) == pytest.approx(1 / 8)
    assert mcnemar(0, 1) == 1
    assert mcnemar(0, 0) == 1


@given(counts, counts)
def test_mcnemar_is_the_sum_of_binomial_chances(one: int, other: int) -> None:
    tosses = one + other
    tail = sum(Fraction(comb(tosses, k), 2**tosses) for k in range(min(one, other) + 1))
    assert mcnemar(one, other) == pytest.approx(float(min(Fraction(1), 2 * tail)))
    assert mcnemar(one, other) == mcnemar(other, one)


@pytest.mark.parametrize(("one", "other"), [(50_000, 51_000), (700, 2), (3000, 3000)])
def test_mcnemar_of_many(one: int, other: int) -> None:
    tosses = one + other
    logs = (
        lgamma(tosses + 1) - lgamma(k + 1) - lgamma(tosses - k + 1) - tosses * log(2)
        for k in range(min(one, other) + 1)
    )
    expected = min(1.0, 2 * fsum(map(exp, logs)))
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-8)


@quickly
@given(st.integers(0, 10_000))
def test_counts_and_values_against_a_loop(seed: int) -> None:
    pairs, first, second = draw_models(seed)
    found = compare(pairs, first, second, num_draws=5)
    judged = list(zip(first["right"].tolist(), second["right"].tolist(), strict=True))
    assert [
        found.num_both_right,
        found.num_only_first,
        found.num_only_second,
        found.num_both_wrong,
    ] == [
        judged.count(both)
        for both in ((True, True), (True, False), (False, True), (False, False))
    ]
    assert found.mcnemar_p_value == mcnemar(found.num_only_first, found.num_only_second)
    difference = sum(a for a, _ in judged) / 40 - sum(b for _, b in judged) / 40
    assert found.accuracy.value == pytest.approx(difference)
    wins = [
        sum(
            (g > i) + (g == i) / 2
            for g in model["scores"][pairs["same"]]
            for i in model["scores"][~pairs["same"]]
        )
        for model in (first, second)
    ]
    assert found.auc.value == pytest.approx((wins[0] - wins[1]) / 400)


@quickly
@given(st.integers(0, 10_000))
def test_both_models_are_measured_in_the_same_draw(seed: int) -> None:
    pairs, first, second = draw_models(seed)
    options = {"num_draws": 1, "seed": seed}
    found = compare(pairs, first, second, **options)
    one, other = (
        bootstrap(**pairs, **model, targets=(), **options) for model in (first, second)
    )
    for name in ("accuracy", "auc"):
        difference = getattr(one, name).low - getattr(other, name).low
        assert getattr(found, name).interval.low == pytest.approx(difference)


@quickly
@given(st.integers(0, 10_000))
def test_swapping_the_models_flips_the_signs(seed: int) -> None:
    pairs, first, second = draw_models(seed)
    found = compare(pairs, first, second, num_draws=10)
    swapped = compare(pairs, second, first, num_draws=10)

    assert (swapped.num_both_right, swapped.num_both_wrong) == (
        found.num_both_right,
        found.num_both_wrong,
    )
    assert (swapped.num_only_first, swapped.num_only_second) == (
        found.num_only_second,
        found.num_only_first,
    )
    assert swapped.mcnemar_p_value == found.mcnemar_p_value
    for ours, theirs in (
        (found.accuracy, swapped.accuracy),
        (found.auc, swapped.auc),
    ):
        assert theirs.value == -ours.value
        assert theirs.p_value == ours.p_value
        ends = -ours.interval.high, -ours.interval.low
        assert (theirs.interval.low, theirs.interval.high) == pytest.approx(ends)


def test_a_model_beside_itself() -> None:
    pairs, first, _ = draw_models(0)
    found = compare(pairs, first, first, num_draws=50, level=0.9)
    none = Difference(0.0, Interval(0.0, 0.0, 0.9), 1.0)
    assert (found.accuracy, found.auc) == (none, none)
    assert found.mcnemar_p_value == 1
    assert (found.num_only_first, found.num_only_second) == (0, 0)


def test_a_model_that_is_better_in_every_draw() -> None:
    pairs, _, _ = draw_models(0)
    same = pairs["same"]
    perfect = {"scores": same * 1.0, "right": np.ones(40, dtype=bool)}
    hopeless = {"scores": ~same * 1.0, "right": np.zeros(40, dtype=bool)}
    found = compare(pairs, perfect, hopeless, num_draws=99)
    assert found.accuracy == Difference(1.0, Interval(1.0, 1.0, 0.95), 0.02)
    assert found.auc == found.accuracy
    assert found.mcnemar_p_value == pytest.approx(2 / 2**40)


def test_p_value_by_hand(types_unchecked: None) -> None:
    # Two people, a genuine pair each, one impostor pair of both: every draw is the data
    # (see intervals), where each model is right on one genuine pair of its own.
    pairs = {
        "same": np.array([True, True, False]),
        "left_identity": np.array([0, 1, 0]),
        "right_identity": np.array([0, 1, 1]),
    }
    first, second = (
        {"scores": np.array(scores), "right": np.array(scores) > 0.5}
        for scores in ([0.9, 0.1, 0.2], [0.1, 0.9, 0.2])
    )
    found = compare(pairs, first, second, num_draws=9)
    assert found.accuracy == Difference(0.0, Interval(0.0, 0.0, 0.95), 1.0)
    # A third person, whose genuine pair both know, leaves AAB (3 orders) better for
    # the first, ABB (3) for the second and ABC (6) even: p = 2 (1/4 + 1/2), at most 1.
    wider = {
        name: np.append(column, value)
        for (name, column), value in zip(pairs.items(), (True, 2, 2), strict=True)
    }
    first, second = (
        {"scores": np.append(m["scores"], 0.8), "right": np.append(m["right"], True)}
        for m in (first, second)
    )
    even = compare(wider, first, second)
    assert (even.accuracy.value, even.accuracy.p_value) == (0.0, 1.0)
    # If the second fails on the third person, ABB alone, 1/4 of the draws, favours it.
    second["right"][3] = False
    better = compare(wider, first, second, num_draws=1000)
    assert better.accuracy.value == 0.25
    assert better.accuracy.p_value == pytest.approx(0.5, abs=0.06)


def test_bad_input() -> None:
    pairs, first, second = draw_models(0)
    with pytest.raises(ParameterError, match="level must be in"):
        compare(pairs, first, second, level=1.0)
    with pytest.raises(ParameterError, match="num_draws must be at least 1"):
        compare(pairs, first, second, num_draws=0)
    broken = second | {"scores": np.full(40, np.nan)}
    with pytest.raises(DataError, match="finite"):
        compare(pairs, first, broken)
    strangers = pairs | {"right_identity": pairs["right_identity"] + 1}
    with pytest.raises(DataError, match="contradict"):
        compare(strangers, first, second)


@pytest.mark.realdata
def test_public_embeddings_beside_a_part_of_them(data_folder: Path) -> None:
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    with np.load(
        data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz", allow_pickle=False
    ) as file:
        embeddings, images = file["embeddings"], file["images"].tolist()
    whole = evaluate_pairs(embeddings, images, pairs)
    part = evaluate_pairs(embeddings[:, :48], images, pairs)
    names = [source.split("/")[0] for source in (*pairs.left, *pairs.right)]
    left, right = np.unique(names, return_inverse=True)[1].reshape(2, -1)
    found = compare_models(
        same=pairs.same,
        left_identity=left,
        right_identity=right,
        first_scores=whole.scores,
        first_right=whole.accepted == pairs.same,
        second_scores=part.scores,
        second_right=part.accepted == pairs.same,
        num_draws=200,
    )
    assert found.accuracy.value == pytest.approx(whole.accuracy - part.accuracy)
    assert found.accuracy.value > 0
    assert found.accuracy.interval.low > 0
    assert found.accuracy.p_value == pytest.approx(2 / 201)
    assert found.mcnemar_p_value < 1e-6
