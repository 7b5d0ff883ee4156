import random
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from facever.errors import DataError, ParameterError
from facever.inference.embeddings_file import read_embeddings
from facever.inference.vectors import unit_vectors
from facever.verification import all_pairs
from facever.verification.model_threshold import (
    check_impostor_pairs,
    check_threshold_pairs,
    choose_model_threshold,
)


def pairs_by_hand(
    embeddings: np.ndarray, labels: np.ndarray
) -> tuple[list[float], list[float]]:
    """Cosines of genuine and of impostor pairs, one pair after the other."""
    genuine, impostor = [], []
    for i in range(len(labels)):
        for j in range(i):
            first, second = embeddings[i], embeddings[j]
            lengths = np.linalg.norm(first) * np.linalg.norm(second)
            cosine = float(first @ second / lengths)
            (genuine if labels[i] == labels[j] else impostor).append(cosine)
    return genuine, impostor


def draw(
    seed: int, people: int, photos: int, spread: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), photos)
    centers = rng.normal(size=(people, 6))
    embeddings = centers[labels] + spread * rng.normal(size=(len(labels), 6))
    # Lengths must not matter.
    embeddings *= rng.uniform(0.1, 30, (len(labels), 1))
    order = rng.permutation(len(labels))
    return embeddings[order].astype(np.float32), labels[order]


@pytest.mark.parametrize("target", [0.5, 0.1, 0.01, 1e-3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_threshold_is_the_lowest_that_keeps_the_rate(
    seed: int, target: float
) -> None:
    embeddings, labels = draw(seed, people=13, photos=4)
    found = choose_model_threshold(embeddings, labels, target)
    genuine, impostor = pairs_by_hand(embeddings.astype(np.float64), labels)
    # 13 * C(4, 2) genuine pairs of C(52, 2).
    assert (len(genuine), len(impostor)) == (78, 1248)
    assert (found.num_genuine, found.num_impostor) == (78, 1248)
    # So many impostors may pass; one more would be too many.
    allowed = int(target * 1248 + 1e-9)
    impostor.sort(reverse=True)
    assert impostor[allowed] - 1e-6 <= found.threshold < impostor[allowed - 1] + 1e-6
    accepted = np.mean([cosine > found.threshold for cosine in genuine])
    assert found.tar == pytest.approx(accepted, abs=1.5 / 78)
    assert found.target_far == target
    assert found.note == ""


def test_auc_is_the_chance_that_a_genuine_pair_scores_higher() -> None:
    embeddings, labels = draw(2, people=5, photos=3)
    genuine, impostor = pairs_by_hand(embeddings.astype(np.float64), labels)
    wins = np.mean([g > i for g in genuine for i in impostor])
    assert choose_model_threshold(embeddings, labels, 0.1).auc == pytest.approx(
        wins, abs=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    people=st.integers(2, 8),
    photos=st.integers(2, 4),
    spread=st.floats(0, 5),
    target=st.floats(0.01, 0.99),
)
def test_the_rate_is_never_above_the_target(
    seed: int, people: int, photos: int, spread: float, target: float
) -> None:
    embeddings, labels = draw(seed, people, photos, spread)
    found = choose_model_threshold(embeddings, labels, target)
    if found.threshold is None:
        assert found.num_impostor < 1 / target
        return
    # Where nobody has a spread all cosines are 1 but for rounding: the same rounding.
    units = unit_vectors(embeddings)
    cosine = units @ units.T
    impostors = cosine[labels[:, None] < labels[None, :]]
    assert (impostors > found.threshold).mean() <= target


@settings(max_examples=60, deadline=None)
@given(
    people=st.lists(st.integers(0, 3), min_size=4, max_size=18),
    corners=st.randoms(use_true_random=False),
    target=st.sampled_from([0.02, 0.1, 0.29, 0.5, 0.97]),
    block=st.sampled_from([1, 7, 30, 2**22]),
)
def test_ties_and_blocks_against_brute_force(
    people: list[int], corners: random.Random, target: float, block: int
) -> None:
    # Of corners of a cube every cosine is a multiple of 1/2: exact, and mostly tied.
    vectors = np.array([corners.choices([-1, 1], k=4) for _ in people], np.float32)
    labels = np.array(people)
    genuine, impostor = pairs_by_hand(vectors.astype(np.float64), labels)
    assume(genuine and len(impostor) >= 1 / target)
    with mock.patch.object(all_pairs, "_BLOCK_SCORES", block):
        found = choose_model_threshold(vectors, labels, target)
    assert (found.num_genuine, found.num_impostor) == (len(genuine), len(impostor))
    wins = [(g > i) + (g == i) / 2 for g in genuine for i in impostor]
    assert found.auc == pytest.approx(sum(wins) / len(wins), abs=1e-12)
    if found.threshold is None:  # No cosine below 1 keeps the rate.
        assert np.mean(np.array(impostor) == 1) > target
        assert found.tar is None
        return
    # The loosest of all thresholds that keep the rate.
    rates = [
        (np.mean(np.array(impostor) > t), np.mean(np.array(genuine) > t))
        for t in (-2, *np.arange(-1, 1.25, 0.5))
    ]
    assert np.mean(np.array(impostor) > found.threshold) <= target
    assert found.tar == max(tar for far, tar in rates if far <= target)
    assert found.tar == np.mean(np.array(genuine) > found.threshold)
    # Midway between two scores, or above all: not where rounding decides.
    assert all(abs(score - found.threshold) >= 0.25 for score in genuine + impostor)


@pytest.mark.realdata
def test_public_embeddings_of_lfw(data_folder: Path) -> None:
    file = read_embeddings(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    people = [image.split("/")[0] for image in file.images[:1500]]
    labels = np.unique(people, return_inverse=True)[1]
    embeddings = file.embeddings[:1500].astype(np.float32)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(1500, k=1)
    cosine = np.einsum("ij,ij->i", units[first], units[second], dtype=np.float64)
    same = labels[first] == labels[second]
    with mock.patch.object(all_pairs, "_BLOCK_SCORES", 100_000):
        found = choose_model_threshold(embeddings, labels, 1e-3)
    allowed = int(1e-3 * np.count_nonzero(~same))
    assert np.count_nonzero(cosine[~same] > found.threshold) <= allowed
    assert found.tar == np.mean(cosine[same] > found.threshold)
    assert found.auc == pytest.approx(roc_auc_score(same, cosine), abs=1e-6)


def test_perfectly_apart() -> None:
    # Two people at right angles, three photos each: cosine 1 and 0.
    embeddings = np.array([[2, 0]] * 3 + [[0, 5]] * 3, np.float32)
    labels = np.array([7, 7, 7, 3, 3, 3])
    found = choose_model_threshold(embeddings, labels, 0.2)
    assert (found.num_genuine, found.num_impostor) == (6, 9)
    assert found.auc == 1
    assert found.tar == 1
    # At 0 the nine ties of impostors would be rejected too, but so they are at 1/2.
    assert 0 <= found.threshold < 1


def test_all_the_same_face_has_no_threshold() -> None:
    embeddings = np.ones((6, 4), np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = choose_model_threshold(embeddings, labels, 0.2)
    # All 15 cosines tie: accepting one impostor accepts the nine.
    assert found.auc == 0.5
    assert found.tar is None
    assert found.threshold is None
    assert "one and the same embedding" in found.note


def test_too_few_impostors_say_nothing() -> None:
    embeddings, labels = draw(3, people=3, photos=3)
    # 9 crops: 36 pairs, 9 of them genuine; 1 of 27 is the finest rate.
    found = choose_model_threshold(embeddings, labels, 1 / 28)
    assert found.num_impostor == 27
    assert found.threshold is None
    assert found.tar is None
    assert "28 impostor pairs, there are 27" in found.note
    assert 0 <= found.auc <= 1
    with pytest.raises(DataError, match=r"28 .* are 27, in 9 crops of 3 .*; give more"):
        check_impostor_pairs(labels, 1 / 28)
    check_impostor_pairs(labels, 1 / 27)
    assert choose_model_threshold(embeddings, labels, 1 / 27).threshold is not None


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0], [4], [], [0, 1, 2]],
    ids=["one identity", "one crop", "none", "no pair of one identity"],
)
def test_crops_without_both_kinds_of_pairs_are_refused(labels: list[int]) -> None:
    known = np.array(labels, dtype=np.int64)
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 3))
    for refuse in (
        lambda: check_threshold_pairs(known),
        lambda: choose_model_threshold(embeddings.astype(np.float32), known, 0.1),
    ):
        with pytest.raises(DataError) as refusal:
            refuse()
        assert f"got {len(labels)} crops" in str(refusal.value)


def test_two_crops_of_one_and_one_of_another_are_enough() -> None:
    check_threshold_pairs(np.array([5, 2, 5]))
    embeddings = np.array([[1, 0], [0, 1], [1, 0.1]], np.float32)
    assert choose_model_threshold(embeddings, np.array([5, 2, 5]), 0.5).auc == 1


@pytest.mark.parametrize("target", [0.0, -0.1, 1.5])
def test_a_rate_that_is_none_is_refused(target: float) -> None:
    embeddings, labels = draw(4, people=3, photos=2)
    with pytest.raises(ParameterError, match=str(target)):
        choose_model_threshold(embeddings, labels, target)


def test_a_network_that_tells_nobody_apart_has_no_threshold() -> None:
    """Its cosines are 1, or by rounding above it, where no threshold can be."""
    labels = np.repeat(np.arange(20), 4)
    found = [
        choose_model_threshold(
            np.tile(direction, (80, 1)).astype(np.float32), labels, 0.01
        )
        for direction in np.random.default_rng(0).normal(size=(40, 12))
    ]
    assert any(each.threshold is None for each in found)
    for each in found:
        assert each.threshold is None or each.threshold < 1
        assert (each.tar is None) == (each.threshold is None) == bool(each.note)
        assert "one and the same embedding" in each.note or each.threshold is not None
