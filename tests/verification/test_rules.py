"""Each rule beside a loop that does, pair by pair, what the project's code does."""

import dataclasses
import json
import math
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError, ParameterError
from facever.inference.embeddings_file import read_embeddings
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairList, read_lfw_pairs
from facever.verification.rules import RULES, judge, judge_all

REFERENCE = Path(__file__).parents[2] / "eval/reference/lfw-mobilefacenet-rules.json"
GRID = [0.01 * step for step in range(400)]
Trained = list[tuple[float, bool]]  # Cosine or distance, and the truth.

every_rule = pytest.mark.parametrize("name", RULES)
fair_rules = [name for name in RULES if not RULES[name].biased]


def slow_accuracy(pairs: Trained, distance: float) -> float:
    return sum((d < distance) == same for d, same in pairs) / len(pairs)


def slow_facenet(pairs: Trained) -> float:
    accuracies = [slow_accuracy(pairs, distance) for distance in GRID]
    return GRID[accuracies.index(max(accuracies))]


def slow_openface(pairs: Trained) -> float:
    best, best_accuracy = 0.0, 0.0
    for distance in GRID:
        accuracy = slow_accuracy(pairs, distance)
        if accuracy < best_accuracy:
            break
        best, best_accuracy = distance, accuracy
    return best


def slow_sphereface(pairs: Trained) -> float:
    tried = [step / 10_000 for step in range(-10_000, 10_001)]
    right = [sum(s > t if same else s < t for s, same in pairs) for t in tried]
    most = max(right)
    return statistics.fmean(t for t, n in zip(tried, right, strict=True) if n == most)


def slow_facexzoo(pairs: Trained) -> float:
    scores = [score for score, _ in pairs if score > -math.inf]
    step = (max(scores) - min(scores)) / 1000
    best, best_difference = math.nan, -math.inf
    tried = [min(scores) + step * k for k in range(1, 1001)]
    if len({same for _, same in pairs}) == 1:
        return tried[0]  # NumPy's argmax of rates that are all NaN.
    for threshold in tried:
        accepted = [[s > threshold for s, k in pairs if k == kind] for kind in (1, 0)]
        rates = [sum(of_kind) / len(of_kind) for of_kind in accepted]
        if rates[0] - rates[1] > best_difference:
            best, best_difference = threshold, rates[0] - rates[1]
    return best


def between(pairs: Trained) -> list[float]:
    values = sorted({score for score, _ in pairs if score > -math.inf})
    width = (values[-1] - values[0]) or 1.0
    middles = [(a + b) / 2 for a, b in pairwise(values)]
    return [values[0] - width, *middles, values[-1] + width]


def best_between(pairs: Trained) -> list[float]:
    right = [sum((s > t) == same for s, same in pairs) for t in between(pairs)]
    return [t for t, n in zip(between(pairs), right, strict=True) if n == max(right)]


SLOW: dict[str, Callable[[Trained], float]] = {
    "exact": lambda pairs: statistics.fmean(best_between(pairs)),
    "insightface": slow_facenet,
    "sphereface": slow_sphereface,
    "facenet": slow_facenet,
    "facexzoo": slow_facexzoo,
    "openface": slow_openface,
    "in-sample": lambda pairs: best_between(pairs)[0],
}


def is_distance(name: str) -> bool:
    return RULES[name].measure == "squared distance"


def fast_choice(name: str, pairs: Trained) -> float:
    sign = -1 if is_distance(name) else 1
    scores = np.array([sign * score for score, _ in pairs])
    return sign * RULES[name].choose(scores, np.array([same for _, same in pairs]))


@every_rule
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_choice_of_the_threshold_where_ties_and_plateaus_are_the_rule(
    name, data
) -> None:
    # On the grids and between their points, few of them, and pairs without a score.
    if is_distance(name):
        values = st.integers(0, 9).map(lambda i: 0.01 * 23 * i + 0.005 * (i % 2))
        missing = math.inf
    else:
        values = st.integers(-4, 4).map(lambda i: i / 4 + 0.00005 * (i % 2))
        missing = -math.inf
    pair = st.tuples(values | values | st.just(missing), st.booleans())
    pairs = data.draw(st.lists(pair, min_size=1, max_size=12))
    pairs += [(data.draw(values), True), (data.draw(values), False)]
    assert fast_choice(name, pairs) == pytest.approx(SLOW[name](pairs), abs=1e-12)


def test_distances_by_hand() -> None:
    pairs = [(0.105, True), (0.205, False), (0.305, True), (0.405, False)]
    # Up to 0.10 two are right, up to 0.20 three, up to 0.30 two, up to 0.40 three.
    assert fast_choice("facenet", pairs) == pytest.approx(0.11)
    assert fast_choice("insightface", pairs) == pytest.approx(0.11)
    assert fast_choice("openface", pairs) == pytest.approx(0.20)


def test_cosines_by_hand() -> None:
    pairs = [(0.0, False), (0.2, True), (0.4, False), (1.0, True)]
    # Three are right from 0 to 0.2 and from 0.4 to 1, else two.
    assert fast_choice("exact", pairs) == pytest.approx((0.1 + 0.7) / 2)
    assert fast_choice("in-sample", pairs) == pytest.approx(0.1)
    # 0.0001 to 0.1999 and 0.4001 to 0.9999: their ends would be ties.
    mean = (1999 * 0.1 + 5999 * 0.7) / (1999 + 5999)
    assert fast_choice("sphereface", pairs) == pytest.approx(mean)
    # Half of the genuine pairs and none of the impostors, first at 0.400.
    assert fast_choice("facexzoo", pairs) == pytest.approx(0.001)
    assert fast_choice("facexzoo", pairs[2:]) == pytest.approx(0.4006)


def slow_scores(embeddings, images, pairs, folds, fold, measure) -> list[float]:
    """One pair after the other; infinitely unlike where a photo is missing."""
    vectors = dict(zip(images, embeddings.tolist(), strict=True))
    members = list(zip(pairs.left, pairs.right, folds.tolist(), strict=True))
    if measure == "centred cosine":
        training = [
            vectors[name]
            for left, right, f in members
            if f != fold
            for name in (left, right)
            if name in vectors
        ]
        mean = [statistics.fmean(column) for column in zip(*training, strict=True)]
        vectors = {name: list(np.subtract(v, mean)) for name, v in vectors.items()}
    scores = []
    for left, right, _ in members:
        if left not in vectors or right not in vectors:
            scores.append(math.inf if measure == "squared distance" else -math.inf)
            continue
        a, b = (
            [x / math.hypot(*v) for x in v] for v in (vectors[left], vectors[right])
        )
        scores.append(
            math.dist(a, b) ** 2
            if measure == "squared distance"
            else sum(x * y for x, y in zip(a, b, strict=True))
        )
    return scores


@every_rule
@pytest.mark.parametrize("num_missing", [0, 2])
@pytest.mark.parametrize("own_folds", [False, True])
def test_all_numbers_against_a_slow_judge(draw, name, num_missing, own_folds) -> None:
    embeddings, images, pairs = draw(seed=3, folds=3, per_kind=8, dim=3)
    folds = pairs.fold
    if own_folds:
        # All genuine pairs in one fold: without it there are impostor pairs alone.
        theirs = np.where(pairs.same, 0, 1 + pairs.fold % 2)
        pairs = dataclasses.replace(pairs, rule_fold=theirs)
        folds = pairs.fold if name == "exact" else theirs
    gone = {pairs.left[0], pairs.right[-1]} if num_missing else set()
    keep = [row for row, image in enumerate(images) if image not in gone]
    embeddings, images = embeddings[keep], [images[row] for row in keep]
    rule, same = RULES[name], pairs.same.tolist()
    thresholds, accuracies, right_of_all = [], [], []
    for fold in range(3):
        scores = slow_scores(embeddings, images, pairs, folds, fold, rule.measure)
        judged = list(zip(scores, same, folds.tolist(), strict=True))
        threshold = SLOW[name](
            [(s, k) for s, k, f in judged if rule.biased or f != fold]
        )
        accepted = [
            s < threshold if is_distance(name) else s > threshold for s in scores
        ]
        right = [
            a == k for a, k, f in zip(accepted, same, folds, strict=True) if f == fold
        ]
        thresholds.append(threshold)
        accuracies.append(sum(right) / len(right))
        right_of_all += right
    result = judge(embeddings, images, pairs, name)
    assert result.thresholds.tolist() == pytest.approx(thresholds, abs=1e-9)
    assert result.accuracies.tolist() == pytest.approx(accuracies)
    shares = accuracies if not rule.biased else right_of_all
    assert result.accuracy == pytest.approx(statistics.fmean(shares))
    spread = {
        "standard error": statistics.stdev(accuracies) / math.sqrt(3),
        "population deviation": statistics.pstdev(accuracies),
        "none": None,
    }
    assert result.spread == pytest.approx(spread[rule.spread_kind])
    affected = [
        bool(gone & {a, b}) for a, b in zip(pairs.left, pairs.right, strict=True)
    ]
    assert result.num_missing_pairs == sum(affected)
    assert bool(result.num_missing_pairs) == bool(num_missing)
    # Neither trivial nor hopeless, or this test says little.
    assert 0.5 < result.accuracy < 0.97 or own_folds


def test_what_each_project_prints() -> None:
    assert {name: rule.spread_kind for name, rule in RULES.items()} == {
        "exact": "standard error",
        "insightface": "population deviation",
        "sphereface": "none",
        "facenet": "population deviation",
        "facexzoo": "standard error",
        "openface": "population deviation",
        "in-sample": "none",
    }
    assert [name for name in RULES if RULES[name].biased] == ["in-sample"]


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("exact", 0.5), ("facexzoo", 0), ("insightface", 0.5)],
)
def test_a_score_that_equals_the_threshold(monkeypatch, name, accuracy) -> None:
    """All pairs at a right angle, judged at just that."""
    right_angle = -2.0 if is_distance(name) else 0.0
    rule = dataclasses.replace(RULES[name], choose=lambda scores, same: right_angle)
    monkeypatch.setitem(RULES, name, rule)
    pairs = PairList(
        ["a", "a"] * 2,
        ["b", "c"] * 2,
        np.array([True, False] * 2),
        np.array([0, 0, 1, 1]),
    )
    result = judge(3 * np.eye(3), ["a", "b", "c"], pairs, name)
    assert result.accuracies.tolist() == [accuracy, accuracy]


def test_exact_is_our_evaluation(draw) -> None:
    embeddings, images, pairs = draw(seed=4)
    result, expected = (
        judge(embeddings, images, pairs, "exact"),
        evaluate_pairs(embeddings, images, pairs),
    )
    assert result.thresholds.tolist() == expected.thresholds.tolist()
    assert result.accuracies.tolist() == expected.accuracies.tolist()
    assert (result.accuracy, result.spread) == (
        expected.accuracy,
        expected.standard_error,
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_in_sample_is_the_most_that_one_threshold_can_do(draw, seed) -> None:
    embeddings, images, pairs = draw(seed=seed)
    keep = np.flatnonzero((pairs.fold < 3) | (np.arange(len(pairs)) % 2 == 0))
    pairs = PairList(
        [pairs.left[i] for i in keep],
        [pairs.right[i] for i in keep],
        pairs.same[keep],
        pairs.fold[keep],
    )
    results = judge_all(embeddings, images, pairs)
    scores = evaluate_pairs(embeddings, images, pairs).scores
    judged = list(zip(scores.tolist(), pairs.same.tolist(), strict=True))
    tried = [*between(judged), *results["exact"].thresholds]
    best = max(sum((s > t) == k for s, k in judged) for t in tried) / len(judged)
    assert results["in-sample"].accuracy == pytest.approx(best)


@pytest.mark.parametrize("name", fair_rules)
def test_the_tested_fold_does_not_move_its_threshold(draw, name) -> None:
    embeddings, images, pairs = draw(seed=6)
    tested = 1
    elsewhere = {
        photo
        for left, right, fold in zip(pairs.left, pairs.right, pairs.fold, strict=True)
        if fold != tested
        for photo in (left, right)
    }
    mine = [row for row, image in enumerate(images) if image not in elsewhere]
    spoiled = embeddings.copy()
    spoiled[mine] = np.random.default_rng(0).normal(size=(len(mine), 8)) * 3
    flipped = dataclasses.replace(
        pairs, same=np.where(pairs.fold == tested, ~pairs.same, pairs.same)
    )
    before = judge(embeddings, images, pairs, name)
    after = judge(spoiled, images, flipped, name)
    assert after.thresholds[tested] == before.thresholds[tested]
    assert after.accuracies[tested] != before.accuracies[tested]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_pairs_and_of_their_members_changes_nothing(draw, seed) -> None:
    embeddings, images, pairs = draw(seed=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs))
    members = [
        (pairs.left[i], pairs.right[i])[:: 1 if rng.random() < 0.5 else -1]
        for i in order
    ]
    moved = PairList(
        [a for a, _ in members],
        [b for _, b in members],
        pairs.same[order],
        pairs.fold[order],
    )
    before = judge_all(embeddings, images, pairs)
    after = judge_all(embeddings, images, moved)
    for name, result in before.items():
        assert after[name].thresholds == pytest.approx(result.thresholds)
        assert after[name].accuracies == pytest.approx(result.accuracies)


def test_length_matters_to_sphereface_alone(draw) -> None:
    embeddings, images, pairs = draw(seed=8)
    lengths = np.exp2(np.random.default_rng(0).integers(-3, 4, (len(images), 1)))
    before = judge_all(embeddings, images, pairs)
    after = judge_all(lengths * embeddings, images, pairs)
    moved = [
        name
        for name in RULES
        if not np.allclose(after[name].thresholds, before[name].thresholds)
    ]
    assert moved == ["sphereface"]


def test_an_embedding_at_the_mean_has_no_direction(draw) -> None:
    _, images, pairs = draw()
    for result in judge_all(np.ones((len(images), 4)), images, pairs).values():
        assert set(result.accuracies.tolist()) <= {0.0, 0.5}


def test_bad_input(draw) -> None:
    embeddings, images, pairs = draw()
    with pytest.raises(ParameterError, match="in-sample; got 'exakt'"):
        judge(embeddings, images, pairs, "exakt")
    with pytest.raises(DataError, match="NaN"):
        judge_all(np.full_like(embeddings, np.nan), images, pairs)
    with pytest.raises(DataError, match="no pair has embeddings of both"):
        judge_all(embeddings, [f"x/x{n}.jpg" for n in range(72)], pairs)


def test_rows_that_no_pair_names_and_extensions_are_no_matter(draw) -> None:
    embeddings, images, pairs = draw()
    more = np.vstack([np.full((1, 8), np.nan), embeddings])
    names = ["other/1.jpg", *(image.replace(".jpg", ".PNG") for image in images)]
    before = judge_all(embeddings, images, pairs)
    for name, result in judge_all(more, names, pairs).items():
        assert result.thresholds.tolist() == before[name].thresholds.tolist()
        assert result.accuracies.tolist() == before[name].accuracies.tolist()


@pytest.mark.realdata
def test_public_embeddings_of_lfw(data_folder: Path) -> None:
    """The numbers that ``eval/lfw_rules.py`` has kept."""
    kept = json.loads(REFERENCE.read_text(encoding="utf-8"))["rules"]
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    stored = read_embeddings(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    results = judge_all(stored.embeddings, stored.images, pairs)
    assert list(kept) == list(results)
    for name, result in results.items():
        assert 0.985 <= result.accuracy <= 0.992
        assert result.num_missing_pairs == 0
        assert result.accuracies.tolist() == pytest.approx(kept[name]["accuracies"])
        assert result.thresholds.tolist() == pytest.approx(kept[name]["thresholds"])
