import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from facever.errors import DataError, ParameterError
from facever.verification.evaluation import Evaluation, evaluate_pairs, evaluate_scores
from facever.verification.protocols import PairList, read_lfw_pairs
from facever.verification.thresholds import best_threshold

both_ways = pytest.mark.parametrize("pca_components", [None, 3])
seeds = st.integers(0, 10_000)


def training_vectors(vectors, pairs, fold) -> np.ndarray:
    """Of each photo that a pair of another fold names, once."""
    names = {
        name
        for left, right, f in zip(pairs.left, pairs.right, pairs.fold, strict=True)
        if f != fold
        for name in (left, right)
    }
    return np.array([vectors[name] for name in sorted(names)])


def slow_scores(
    embeddings,
    images,
    pairs,
    fold,
    pca_components=None,
    measure="cosine",
    whiten=False,
    subtract_mean=False,
) -> np.ndarray:
    """Scores pair by pair, after scikit-learn's PCA of the other folds' photos."""
    vectors = dict(zip(images, embeddings, strict=True))
    if pca_components is not None:
        pca = PCA(pca_components, whiten=whiten, svd_solver="full")
        pca.fit(training_vectors(vectors, pairs, fold))
        vectors = {
            name: pca.transform(vector[None])[0] for name, vector in vectors.items()
        }
    elif subtract_mean:
        mean = training_vectors(vectors, pairs, fold).mean(axis=0)
        vectors = {name: vector - mean for name, vector in vectors.items()}
    scores = []
    for a, b in zip(pairs.left, pairs.right, strict=True):
        first, second = vectors[a], vectors[b]
        if measure == "euclidean":
            scores.append(-(sum((first - second) ** 2) ** 0.5))
        else:
            lengths = np.linalg.norm(first) * np.linalg.norm(second)
            scores.append(first @ second / lengths)
    return np.array(scores)


@both_ways
def test_all_numbers_against_a_slow_evaluation(draw, pca_components) -> None:
    embeddings, images, pairs = draw(seed=1)
    result = evaluate_pairs(embeddings, images, pairs, pca_components)
    scores, accuracies = np.empty(len(pairs)), []
    for fold in range(pairs.num_folds):
        tested = pairs.fold == fold
        of_fold = slow_scores(embeddings, images, pairs, fold, pca_components)
        scores[tested] = of_fold[tested]
        threshold = best_threshold(of_fold[~tested], pairs.same[~tested])
        assert result.thresholds[fold] == pytest.approx(threshold, abs=1e-9)
        judged = [
            (score > threshold) == same
            for score, same in zip(of_fold[tested], pairs.same[tested], strict=True)
        ]
        accuracies.append(sum(judged) / len(judged))
    np.testing.assert_allclose(result.scores, scores, atol=1e-9)
    assert result.accuracies.tolist() == pytest.approx(accuracies)
    mean = sum(accuracies) / 4
    variance = sum((a - mean) ** 2 for a in accuracies) / 3
    assert result.accuracy == pytest.approx(mean)
    assert result.standard_deviation == pytest.approx(variance**0.5)
    assert result.standard_error == pytest.approx((variance / 4) ** 0.5)
    assert result.auc == pytest.approx(roc_auc_score(pairs.same, scores))
    assert [answer.target_far for answer in result.tar] == [1e-1, 1e-2, 1e-3]
    assert result.tar[0].tar is not None
    assert result.tar[2].tar is None
    assert result.missing == []
    assert result.num_missing_pairs == 0
    # The drawn people must be neither trivial nor hopeless, or this test says little.
    assert 0.6 < result.accuracy < 0.97


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "euclidean"},
        {"subtract_mean": True},
        {"subtract_mean": True, "measure": "euclidean"},
        {"pca_components": 3, "measure": "euclidean"},
        {"pca_components": 3, "whiten": True},
        {"pca_components": 8, "whiten": True, "measure": "euclidean"},
    ],
    ids=str,
)
def test_options_against_a_slow_evaluation(draw, options) -> None:
    embeddings, images, pairs = draw(seed=2)
    result = evaluate_pairs(embeddings, images, pairs, **options)
    differ = False
    for fold in range(pairs.num_folds):
        tested = pairs.fold == fold
        scores = slow_scores(embeddings, images, pairs, fold, **options)
        np.testing.assert_allclose(result.scores[tested], scores[tested], atol=1e-9)
        threshold = best_threshold(scores[~tested], pairs.same[~tested])
        assert result.thresholds[fold] == pytest.approx(threshold, abs=1e-9)
        right = [
            (score > threshold) == same
            for score, same in zip(scores[tested], pairs.same[tested], strict=True)
        ]
        assert result.accuracies[fold] == pytest.approx(sum(right) / len(right))
        differ |= not np.allclose(scores, slow_scores(embeddings, images, pairs, fold))
    assert differ
    assert result.pca_components == options.get("pca_components")
    assert 0.6 < result.accuracy < 0.97


def test_subtracting_the_mean_before_a_pca_changes_nothing(draw) -> None:
    embeddings, images, pairs = draw(seed=3)
    before = evaluate_pairs(embeddings, images, pairs, 3)
    after = evaluate_pairs(embeddings, images, pairs, 3, subtract_mean=True)
    np.testing.assert_array_equal(after.scores, before.scores)


def test_a_distance_does_not_see_the_mean_and_a_cosine_does(draw) -> None:
    embeddings, images, pairs = draw(seed=4)
    for measure, same in (("euclidean", True), ("cosine", False)):
        plain = evaluate_pairs(embeddings, images, pairs, measure=measure)
        centred = evaluate_pairs(
            embeddings, images, pairs, measure=measure, subtract_mean=True
        )
        assert np.allclose(plain.scores, centred.scores) == same


def test_whitening_needs_a_pca(draw) -> None:
    embeddings, images, pairs = draw()
    with pytest.raises(ParameterError, match="whiten needs a PCA"):
        evaluate_pairs(embeddings, images, pairs, whiten=True)


def numbers(result: Evaluation) -> list[object]:
    return [
        result.thresholds.tolist(),
        result.accuracies.tolist(),
        result.roc.false_accepts.tolist(),
        result.roc.true_accepts.tolist(),
        result.auc,
        result.eer,
        result.tar,
    ]


@both_ways
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_order_of_pairs_and_rows_changes_nothing(
    draw, pca_components, seed
) -> None:
    embeddings, images, pairs = draw(seed=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs))
    shuffled = PairList(
        [pairs.left[i] for i in order],
        [pairs.right[i] for i in order],
        pairs.same[order],
        pairs.fold[order],
    )
    rows = rng.permutation(len(images))
    before = evaluate_pairs(embeddings, images, pairs, pca_components)
    after = evaluate_pairs(
        embeddings[rows], [images[i] for i in rows], shuffled, pca_components
    )
    assert numbers(after) == numbers(before)
    np.testing.assert_array_equal(after.scores, before.scores[order])


@both_ways
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_swapping_the_members_of_pairs_changes_nothing(
    draw, pca_components, seed
) -> None:
    embeddings, images, pairs = draw(seed=seed)
    swap = np.random.default_rng(seed).random(len(pairs)) < 0.5
    members = [
        (b, a) if s else (a, b)
        for a, b, s in zip(pairs.left, pairs.right, swap, strict=True)
    ]
    swapped = dataclasses.replace(
        pairs, left=[a for a, _ in members], right=[b for _, b in members]
    )
    before = evaluate_pairs(embeddings, images, pairs, pca_components)
    after = evaluate_pairs(embeddings, images, swapped, pca_components)
    assert numbers(after) == numbers(before)
    np.testing.assert_array_equal(after.scores, before.scores)


@both_ways
@pytest.mark.parametrize("tested", [0, 2])
def test_labels_of_the_tested_fold_move_nothing_in_it(
    draw, pca_components, tested: int
) -> None:
    embeddings, images, pairs = draw(seed=5)
    flipped = dataclasses.replace(pairs, same=pairs.same ^ (pairs.fold == tested))
    before = evaluate_pairs(embeddings, images, pairs, pca_components)
    after = evaluate_pairs(embeddings, images, flipped, pca_components)
    assert after.thresholds[tested] == before.thresholds[tested]
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.accuracies[tested] == pytest.approx(1 - before.accuracies[tested])
    others = np.arange(pairs.num_folds) != tested
    assert (after.thresholds[others] != before.thresholds[others]).any()


@both_ways
def test_photos_of_the_tested_fold_move_neither_its_threshold_nor_its_pca(
    draw, pca_components
) -> None:
    embeddings, images, pairs = draw(seed=6)
    tested = 1
    elsewhere = {
        name
        for a, b, f in zip(pairs.left, pairs.right, pairs.fold, strict=True)
        if f != tested
        for name in (a, b)
    }
    mine = [row for row, image in enumerate(images) if image not in elsewhere]
    spoiled = embeddings.copy()
    spoiled[mine] = np.random.default_rng(0).normal(size=(len(mine), 8)) * 3
    before = evaluate_pairs(embeddings, images, pairs, pca_components)
    after = evaluate_pairs(spoiled, images, pairs, pca_components)
    assert after.thresholds[tested] == pytest.approx(before.thresholds[tested])
    assert not np.allclose(
        after.scores[pairs.fold == tested], before.scores[pairs.fold == tested]
    )


def test_shifting_and_scaling_scores_changes_no_accuracy(draw) -> None:
    """Cosine c, (1 + c) / 2 and minus the squared distance, 2c - 2, judge alike."""
    embeddings, images, pairs = draw(seed=7)
    cosine = evaluate_pairs(embeddings, images, pairs).scores
    cosine = np.round(cosine * 2**20) / 2**20  # So that the arithmetic is exact.
    before = evaluate_scores(cosine, pairs)
    for moved in ((1 + cosine) / 2, 2 * cosine - 2):
        after = evaluate_scores(moved, pairs)
        assert after.accuracies.tolist() == before.accuracies.tolist()
        assert (after.auc, after.eer) == (before.auc, before.eer)


@both_ways
def test_length_of_embeddings_and_extension_of_photos(draw, pca_components) -> None:
    embeddings, images, pairs = draw(seed=8)
    before = evaluate_pairs(embeddings, images, pairs, pca_components)
    other_names = [image.replace(".jpg", ".PNG") for image in images]
    after = evaluate_pairs(8 * embeddings, other_names, pairs, pca_components)
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-12)
    assert after.accuracies.tolist() == before.accuracies.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_precisions(draw, dtype) -> None:
    embeddings, images, pairs = draw(seed=9)
    stored = embeddings.astype(dtype)
    expected = evaluate_pairs(stored.astype(np.float64), images, pairs)
    found = evaluate_pairs(stored, images, pairs)
    np.testing.assert_array_equal(found.scores, expected.scores)


@both_ways
def test_a_missing_photo_never_shifts_a_fold(draw, pca_components) -> None:
    embeddings, images, pairs = draw(seed=10)
    gone = pairs.left[0]
    keep = [row for row, image in enumerate(images) if image != gone]
    result = evaluate_pairs(
        embeddings[keep], [images[row] for row in keep], pairs, pca_components
    )
    affected = np.array(
        [gone in both for both in zip(pairs.left, pairs.right, strict=True)]
    )
    assert result.missing == [gone]
    assert result.num_missing_pairs == affected.sum() > 0
    assert np.isneginf(result.scores[affected]).all()
    assert np.isfinite(result.scores[~affected]).all()
    assert not result.accepted[affected].any()
    if pca_components is None:
        whole = evaluate_pairs(embeddings, images, pairs)
        np.testing.assert_array_equal(result.scores[~affected], whole.scores[~affected])
    for fold in range(pairs.num_folds):
        mine = pairs.fold == fold
        right = result.accepted[mine] == pairs.same[mine]
        assert result.accuracies[fold] == pytest.approx(right.sum() / 30)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"measure": "euclidean"},
        {"subtract_mean": True},
        {"pca_components": 3},
        {"pca_components": 3, "whiten": True, "measure": "euclidean"},
    ],
    ids=str,
)
def test_by_lowest_a_missing_pair_scores_as_the_least_similar_one(
    draw, options
) -> None:
    embeddings, images, pairs = draw(seed=10)
    gone = pairs.left[0]
    keep = [row for row, image in enumerate(images) if image != gone]
    fewer = embeddings[keep], [images[row] for row in keep], pairs
    rejected = evaluate_pairs(*fewer, **options)
    result = evaluate_pairs(*fewer, missing_rule="lowest", **options)
    affected = np.isneginf(rejected.scores)
    assert affected.sum() == result.num_missing_pairs > 0
    assert result.missing == rejected.missing == [gone]
    assert (result.missing_rule, rejected.missing_rule) == ("lowest", "reject")
    np.testing.assert_array_equal(result.scores[~affected], rejected.scores[~affected])
    # Where a photo is missing its partner stands twice: it still trains the PCA.
    stand_ins = dataclasses.replace(
        pairs,
        left=[
            b if a == gone else a for a, b in zip(pairs.left, pairs.right, strict=True)
        ],
        right=[
            a if b == gone else b for a, b in zip(pairs.left, pairs.right, strict=True)
        ],
    )
    for fold in range(pairs.num_folds):
        of_fold = slow_scores(*fewer[:2], stand_ins, fold, **options)
        lowest = of_fold[~affected].min()
        mine = affected & (pairs.fold == fold)
        np.testing.assert_allclose(result.scores[mine], lowest, atol=1e-9)
        filled = np.where(affected, lowest, of_fold)
        training = pairs.fold != fold
        threshold = best_threshold(filled[training], pairs.same[training])
        assert result.thresholds[fold] == pytest.approx(threshold, abs=1e-9)


def test_by_error_a_missing_photo_ends_the_evaluation(draw) -> None:
    embeddings, images, pairs = draw(seed=10)
    whole = evaluate_pairs(embeddings, images, pairs, missing_rule="error")
    plain = evaluate_pairs(embeddings, images, pairs)
    np.testing.assert_array_equal(whole.scores, plain.scores)
    gone = {pairs.left[0], pairs.right[7]}
    keep = [row for row, image in enumerate(images) if image not in gone]
    for pca_components in (None, 3):
        with pytest.raises(DataError, match="2 photos of the pairs") as caught:
            evaluate_pairs(
                embeddings[keep],
                [images[row] for row in keep],
                pairs,
                pca_components,
                missing_rule="error",
            )
        assert repr(min(gone)) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_rules_for_ready_scores_that_are_missing(draw) -> None:
    _, _, pairs = draw(seed=11)
    scores = np.linspace(-1, 1, len(pairs))[np.argsort(np.argsort(pairs.same))]
    scores[[3, 40]] = -np.inf
    least = scores[np.isfinite(scores)].min()
    result = evaluate_scores(scores, pairs, ["A/1"], missing_rule="lowest")
    assert result.scores[[3, 40]].tolist() == [least, least]
    assert result.num_missing_pairs == 2
    assert result.missing == ["A/1"]
    by_hand = evaluate_scores(np.where(np.isneginf(scores), least, scores), pairs)
    assert numbers(result) == numbers(by_hand)
    assert by_hand.num_missing_pairs == 0
    with pytest.raises(DataError, match="2 pairs have no score"):
        evaluate_scores(scores, pairs, ["A/1"], missing_rule="error")
    with pytest.raises(DataError, match="at least one training pair with a score"):
        evaluate_scores(np.full(len(pairs), -np.inf), pairs, missing_rule="lowest")


def test_missing_genuine_pairs_cost_accuracy_and_missing_impostors_do_not(draw) -> None:
    _, _, pairs = draw(seed=11)
    scores = np.where(pairs.same, 0.8, 0.2)
    assert evaluate_scores(scores, pairs).accuracy == 1
    genuine, impostor = scores.copy(), scores.copy()
    genuine[np.flatnonzero(pairs.same)[:6]] = -np.inf
    impostor[np.flatnonzero(~pairs.same)[:6]] = -np.inf
    assert evaluate_scores(genuine, pairs).accuracy == pytest.approx(114 / 120)
    assert evaluate_scores(impostor, pairs).accuracy == 1


def test_all_embeddings_equal(draw) -> None:
    _, images, pairs = draw()
    result = evaluate_pairs(np.ones((len(images), 8)), images, pairs)
    assert (result.auc, result.eer, result.accuracy) == (0.5, 0.5, 0.5)


def test_an_embedding_at_the_mean_of_the_pca_has_no_direction(draw) -> None:
    _, images, pairs = draw()
    result = evaluate_pairs(np.ones((len(images), 8)), images, pairs, 2)
    np.testing.assert_array_equal(result.scores, 0)


def test_bad_embeddings(draw) -> None:
    embeddings, images, pairs = draw()
    row = images.index(pairs.left[3])
    for value, says in ((np.nan, "NaN"), (np.inf, "NaN or infinity"), (0, "zeros")):
        broken = embeddings.copy()
        broken[row] = value
        with pytest.raises(DataError, match=says) as caught:
            evaluate_pairs(broken, images, pairs)
        assert repr(pairs.left[3]) in str(caught.value)
    with pytest.raises(DataError, match="got 72 embeddings and 71 images"):
        evaluate_pairs(embeddings, images[:-1], pairs)
    twice = [*images[:-1], images[0].replace(".jpg", ".png")]
    with pytest.raises(DataError, match="rows 1 and 72"):
        evaluate_pairs(embeddings, twice, pairs)
    odd = [f"{image.removesuffix('.jpg')} old.jpg" for image in images]
    with pytest.raises(DataError, match="no pair has embeddings of both") as caught:
        evaluate_pairs(embeddings, odd, pairs)
    name = pairs.sources[0].removesuffix(".jpg")
    says = f"not there: {name}.jpg; a similar name there: {name} old.jpg"
    assert says in str(caught.value)
    with pytest.raises(DataError, match="of no photo at all"):
        evaluate_pairs(np.empty((0, 8)), [], pairs)
    with pytest.raises(ParameterError, match="between 1 and 8"):
        evaluate_pairs(embeddings, images, pairs, 9)


def test_nan_in_a_row_that_no_pair_names_is_no_matter(draw) -> None:
    embeddings, images, pairs = draw()
    more = np.vstack([embeddings, np.full((1, 8), np.nan)])
    result = evaluate_pairs(more, [*images, "other/1.jpg"], pairs)
    assert result.accuracy == evaluate_pairs(embeddings, images, pairs).accuracy


def test_nan_among_ready_scores(draw) -> None:
    _, _, pairs = draw()
    scores = np.linspace(-1, 1, len(pairs))
    scores[7] = np.nan
    with pytest.raises(DataError, match="finite"):
        evaluate_scores(scores, pairs)


@pytest.mark.realdata
@pytest.mark.parametrize("pca_components", [None, 64])
def test_public_embeddings_of_lfw(data_folder: Path, pca_components) -> None:
    pairs = read_lfw_pairs(data_folder / "lfw-protocol" / "pairs.txt")
    with np.load(
        data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz", allow_pickle=False
    ) as file:
        embeddings, images = file["embeddings"], file["images"].tolist()
    result = evaluate_pairs(embeddings, images, pairs, pca_components)
    assert 0.985 <= result.accuracy <= 0.992
    assert result.missing == []
    assert all(answer.tar is not None for answer in result.tar)
