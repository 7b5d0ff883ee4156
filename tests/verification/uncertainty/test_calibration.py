from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from facever.verification.evaluation import Evaluation, evaluate_pairs, evaluate_scores
from facever.verification.protocols import PairList, read_lfw_pairs
from facever.verification.roc import roc_curve
from facever.verification.uncertainty.calibration import (
    Probabilities,
    fit_logistic,
    least_cost,
    log_likelihood_ratio_cost,
    probabilities_of,
)

quickly = settings(max_examples=25, deadline=None)


def draw_scores(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping kinds with ties; both kinds are there."""
    rng = np.random.default_rng(seed)
    same = rng.permutation(count) < rng.integers(2, count - 1)
    return (rng.normal(size=count) + 1.5 * same).round(1), same


def evaluate(seed: int, num_folds: int = 4) -> Evaluation:
    scores, same = draw_scores(seed, 40 * num_folds)
    fold = np.arange(len(scores)) % num_folds
    names = [f"{place}.jpg" for place in range(2 * len(scores))]
    same[: 2 * num_folds] = np.repeat([True, False], num_folds)
    return evaluate_scores(scores, PairList(names[::2], names[1::2], same, fold))


def measure(evaluation: Evaluation) -> Probabilities:
    found = probabilities_of(evaluation)
    assert found is not None
    return found


def logistic_of_scikit_learn(
    scores: np.ndarray, same: np.ndarray
) -> tuple[float, float]:
    """Each pair twice: genuine with its target's weight, impostor with the rest."""
    targets = np.where(
        same, (same.sum() + 1) / (same.sum() + 2), 1 / ((~same).sum() + 2)
    )
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        np.tile(scores, 2)[:, None],
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


@quickly
@given(st.integers(0, 10_000))
def test_the_curve_is_that_of_scikit_learn(seed: int) -> None:
    scores, same = draw_scores(seed)
    expected = logistic_of_scikit_learn(scores, same)
    assert fit_logistic(scores, same) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.0), (250.0, -4e4), (-1.0, 3.0)])
def test_the_curve_moves_with_the_scale_of_scores(scale: float, shift: float) -> None:
    scores, same = draw_scores(1)
    slope, intercept = fit_logistic(scores, same)
    moved = fit_logistic(scale * scores + shift, same)
    expected = slope / scale, intercept - slope * shift / scale
    assert moved == pytest.approx(expected, rel=1e-6)


def test_kinds_that_do_not_overlap_and_scores_that_are_equal() -> None:
    # Platt's targets are 5/6 and 1/6: a curve through both, at 0 and 1.
    same = np.repeat([True, False], 4)
    slope, intercept = fit_logistic(same * 1.0, same)
    assert (slope, intercept) == pytest.approx((2 * np.log(5), -np.log(5)))
    # One score for all says the mixture, here of targets 5/6 and, twice as many, 1/10.
    same = np.repeat([True, False], [4, 8])
    slope, intercept = fit_logistic(np.full(12, 0.3), same)
    share = (4 * 5 / 6 + 8 / 10) / 12
    assert (slope, intercept) == pytest.approx((0, np.log(share / (1 - share))))


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_all_numbers_against_loops(seed: int) -> None:
    evaluation = evaluate(seed)
    found = measure(evaluation)
    pairs, scores = evaluation.pairs, evaluation.scores
    chances, bits = [], {True: [], False: []}
    for score, same, fold in zip(scores, pairs.same, pairs.fold, strict=True):
        others = pairs.fold != fold
        slope, intercept = found.slopes[fold], found.intercepts[fold]
        assert fit_logistic(scores[others], pairs.same[others]) == (slope, intercept)
        chance = 1 / (1 + np.exp(-(slope * score + intercept)))
        chances.append(chance)
        prior = pairs.same[others].mean()
        ratio = chance / (1 - chance) / (prior / (1 - prior))
        bits[bool(same)].append(np.log2(1 + (1 / ratio if same else ratio)))
    np.testing.assert_allclose(found.probabilities, chances)
    assert found.cllr == pytest.approx((np.mean(bits[True]) + np.mean(bits[False])) / 2)
    assert found.brier == pytest.approx(brier_score_loss(pairs.same, chances))
    error = 0.0
    tenths = [min(int(chance * 10), 9) for chance in chances]
    assert [b.low for b in found.bins] == [n / 10 for n in sorted(set(tenths))]
    for each in found.bins:
        inside = [n for n, tenth in enumerate(tenths) if tenth == round(10 * each.low)]
        share = np.mean([pairs.same[n] for n in inside])
        said = np.mean([chances[n] for n in inside])
        assert (each.num_pairs, each.genuine_share) == (len(inside), share)
        assert each.mean_probability == pytest.approx(said)
        assert each.interval.low <= share <= each.interval.high
        error += len(inside) / len(chances) * abs(said - share)
    assert found.expected_calibration_error == pytest.approx(error)
    assert found.min_cllr <= found.cllr


@quickly
@given(st.integers(0, 10_000))
def test_the_least_cost_is_that_of_scikit_learns_isotonic_curve(seed: int) -> None:
    scores, same = draw_scores(seed)
    shares = IsotonicRegression().fit_transform(scores, same.astype(float))
    prior = same.mean()
    genuine = shares[same] / prior
    genuine = genuine / (genuine + (1 - shares[same]) / (1 - prior))
    impostor = (1 - shares[~same]) / (1 - prior)
    impostor = impostor / (impostor + shares[~same] / prior)
    expected = -(np.log2(genuine).mean() + np.log2(impostor).mean()) / 2
    least = least_cost(roc_curve(scores, same))
    assert least == pytest.approx(expected)
    # No rising map does better, nor does any change of scale of the curve's shape.
    assert least_cost(roc_curve(np.exp(scores), same)) == pytest.approx(least)
    for slope in (0.5, 1.0, 2.0):
        assert least <= log_likelihood_ratio_cost(slope * (scores - 0.7), same) + 1e-12


def test_costs_by_hand() -> None:
    same = np.array([True, True, False, False])
    assert log_likelihood_ratio_cost(np.zeros(4), same) == 1
    # Odds of 3 for the truth: log2(4 / 3) each; of 3 against it: log2(4).
    right = np.log(3) * np.array([1, 1, -1, -1.0])
    assert log_likelihood_ratio_cost(right, same) == pytest.approx(np.log2(4 / 3))
    assert log_likelihood_ratio_cost(-right, same) == pytest.approx(2)
    # All apart: nothing to pay. All equal, or the wrong way round: 1 bit.
    for scores, cost in (([2, 3, 0, 1], 0.0), ([5, 5, 5, 5], 1.0), ([0, 1, 2, 3], 1.0)):
        roc = roc_curve(np.array(scores, dtype=float), same)
        assert least_cost(roc) == pytest.approx(cost)
    # One pair of each kind on top of the other: G I | G I pools I and G to 1/2.
    roc = roc_curve(np.array([4.0, 2.0, 3.0, 1.0]), same)
    assert least_cost(roc) == pytest.approx(0.5)


def test_labels_of_the_tested_fold_do_not_move_its_curve() -> None:
    before = evaluate(5)
    pairs = before.pairs
    flipped = pairs.same ^ (pairs.fold == 2)
    after = evaluate_scores(
        before.scores, PairList(pairs.left, pairs.right, flipped, pairs.fold)
    )
    old, new = measure(before), measure(after)
    moved = (old.slopes != new.slopes) | (old.intercepts != new.intercepts)
    assert moved.tolist() == [True, True, False, True]
    tested = pairs.fold == 2
    np.testing.assert_array_equal(old.probabilities[tested], new.probabilities[tested])


def test_pairs_without_a_score_are_left_out_and_counted() -> None:
    whole = evaluate(6)
    scores = whole.scores.copy()
    gone = np.arange(len(scores)) % 7 == 3
    scores[gone] = -np.inf
    found = measure(evaluate_scores(scores, whole.pairs))
    assert found.num_without_score == gone.sum()
    assert np.isnan(found.probabilities).tolist() == gone.tolist()
    # Folds keep their numbers, so the rest alone gives the same.
    kept, pairs = ~gone, whole.pairs
    rest = PairList(
        [name for name, k in zip(pairs.left, kept, strict=True) if k],
        [name for name, k in zip(pairs.right, kept, strict=True) if k],
        pairs.same[kept],
        pairs.fold[kept],
    )
    alone = measure(evaluate_scores(scores[kept], rest))
    assert (found.cllr, found.min_cllr) == (alone.cllr, alone.min_cllr)
    assert found.bins == alone.bins


def test_none_where_one_kind_alone_has_scores() -> None:
    whole = evaluate(7, num_folds=2)
    pairs = whole.pairs
    scores = np.where(pairs.same & (pairs.fold == 1), -np.inf, whole.scores)
    assert probabilities_of(evaluate_scores(scores, pairs)) is None


@pytest.mark.realdata
def test_public_embeddings_of_lfw(data_folder: Path) -> None:
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    with np.load(
        data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz", allow_pickle=False
    ) as file:
        evaluation = evaluate_pairs(file["embeddings"], file["images"].tolist(), pairs)
    found = measure(evaluation)
    others = pairs.fold != 3
    expected = logistic_of_scikit_learn(evaluation.scores[others], pairs.same[others])
    assert (found.slopes[3], found.intercepts[3]) == pytest.approx(expected, rel=1e-4)
    assert found.min_cllr < found.cllr < 0.1
    assert found.expected_calibration_error < 0.01
