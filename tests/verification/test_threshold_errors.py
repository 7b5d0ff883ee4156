from itertools import combinations
from unittest import mock

import numpy as np
import pytest

from facever.progress import ignore_progress
from facever.verification import all_pairs
from facever.verification.groups.clustered_rates import PairSums, clustered_rates
from facever.verification.model_threshold import choose_model_threshold
from facever.verification.threshold_errors import (
    _impostor_sums,
    describe_errors,
    threshold_errors,
)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """People of unlike numbers of photos, of whom some are like each other."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, size=14)
    labels = np.repeat(np.arange(14) * 3, counts)
    centers = rng.normal(size=(14, 5))
    centers[1] = centers[0] + 0.3 * rng.normal(size=5)
    codes = np.repeat(np.arange(14), counts)
    embeddings = centers[codes] + 0.6 * rng.normal(size=(len(codes), 5))
    order = rng.permutation(len(codes))
    return embeddings[order].astype(np.float32), labels[order]


@pytest.mark.parametrize("block", [1, 40, 2**22])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [-1.0, 0.3, 0.8, 0.9999])
def test_against_a_list_of_all_pairs(seed: int, threshold: float, block: int) -> None:
    embeddings, labels = drawn(seed)
    with mock.patch.object(all_pairs, "_BLOCK_SCORES", block):
        found = threshold_errors(embeddings, labels, threshold)
    units = embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    wrong: dict[bool, list[bool]] = {True: [], False: []}
    people: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for i, j in combinations(range(len(labels)), 2):
        same = bool(labels[i] == labels[j])
        accepted = float(units[i] @ units[j]) > threshold
        wrong[same].append(accepted != same)
        people[same].append((int(labels[i]), int(labels[j])))
    for same, rate in ((False, found.fmr), (True, found.fnmr)):
        left, right = np.array(people[same]).T
        [expected] = clustered_rates([PairSums.of(np.array(wrong[same]), left, right)])
        assert rate.num_errors == expected.num_errors
        assert rate.num_pairs == expected.num_pairs
        if same:
            assert rate.num_people == expected.num_people
        else:
            assert rate.num_people == found.num_people == 14
        assert rate.design_effect == pytest.approx(expected.design_effect, rel=1e-6)
        assert rate.interval is not None
        assert expected.interval is not None
        assert rate.interval.low == pytest.approx(expected.interval.low, abs=1e-9)
        assert rate.interval.high == pytest.approx(expected.interval.high, abs=1e-9)
    assert found.num_photos == len(labels)


@pytest.mark.parametrize("seed", range(4))
def test_sums_without_a_list_are_those_of_a_list(seed: int) -> None:
    embeddings, labels = drawn(seed)
    order = np.argsort(labels, kind="stable")
    codes = np.unique(labels[order], return_inverse=True)[1]
    units = embeddings[order] / np.linalg.norm(embeddings[order], axis=1, keepdims=True)
    pairs = [(i, j) for i, j in combinations(range(len(codes)), 2)]
    left, right = np.array([(i, j) for i, j in pairs if codes[i] != codes[j]]).T
    wrong = (units[left] * units[right]).sum(1) > 0.5
    found = _impostor_sums(units, codes, 0.5, ignore_progress)
    expected = PairSums.of(wrong, codes[left], codes[right])
    assert found.num_errors == expected.num_errors > 0
    assert found.num_pairs == expected.num_pairs
    assert found.num_people == expected.num_people
    assert found.num_together == expected.num_together
    assert found.together == pytest.approx(expected.together, rel=1e-9)


def test_a_score_at_the_threshold_is_not_accepted() -> None:
    """Cosines of exactly 0 and 1, two of each kind."""
    embeddings = np.array([[2, 0], [3, 0], [0, 1], [0, 5]], np.float32)
    for labels, num_genuine_ties in (([0, 0, 1, 1], 0), ([0, 1, 0, 1], 2)):
        at_0 = threshold_errors(embeddings, np.array(labels), 0.0)
        assert at_0.fnmr.num_errors == num_genuine_ties
        # Of the impostor pairs those are accepted whose cosine is 1.
        assert at_0.fmr.num_errors == num_genuine_ties
        at_1 = threshold_errors(embeddings, np.array(labels), 1.0)
        assert at_1.fnmr.num_errors == at_1.fnmr.num_pairs == 2
        assert at_1.fmr.num_errors == 0


def test_pairs_of_one_kind_alone() -> None:
    embeddings = np.eye(3, dtype=np.float32)
    one_person = threshold_errors(embeddings, np.zeros(3, np.int64), 0.5)
    assert (one_person.fmr.num_pairs, one_person.fmr.rate) == (0, None)
    assert one_person.fnmr.num_errors == 3
    strangers = threshold_errors(embeddings, np.arange(3), 0.5)
    assert (strangers.fnmr.num_pairs, strangers.fnmr.rate) == (0, None)
    assert strangers.fmr.num_pairs == 3


def test_a_chosen_threshold_makes_the_errors_that_it_was_chosen_for() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 5)
    centers = rng.normal(size=(60, 16))
    embeddings = centers[labels] + 0.7 * rng.normal(size=(300, 16))
    embeddings = embeddings.astype(np.float32)
    chosen = choose_model_threshold(embeddings, labels, 1e-3)
    assert chosen.threshold is not None
    found = threshold_errors(embeddings, labels, chosen.threshold)
    assert found.fmr.num_pairs == chosen.num_impostor
    assert found.fmr.num_errors == int(1e-3 * chosen.num_impostor)
    assert found.fnmr.rate == pytest.approx(1 - chosen.tar)
    # Few people answer for many pairs.
    assert found.fmr.design_effect is not None
    assert found.fmr.design_effect > 1


def test_errors_in_words() -> None:
    embeddings = np.array([[2, 0], [3, 0], [0, 1]], np.float32)
    errors = threshold_errors(embeddings, np.array([0, 0, 1]), 0.5)
    said = str(describe_errors(errors, "crops", "f"))
    assert said.startswith(
        "2 people of crops, 2 pairs of strangers: it accepts 0.000% of them (95 % "
    )
    assert said.endswith(" of 1 pair of one person")
