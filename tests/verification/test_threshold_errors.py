from itertools import combinations
from unittest import mock

import numpy as np
import pytest

from facever.verification import all_pairs
from facever.verification.groups.clustered_rates import PairSums, clustered_rates
from facever.verification.model_threshold import choose_model_threshold
from facever.verification.threshold_errors import threshold_errors


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
