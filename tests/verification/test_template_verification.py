import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.protocols.template_lists import TemplatePairs
from facever.verification.protocols.template_pooling import PooledTemplates
from facever.verification.roc import roc_curve
from facever.verification.template_verification import (
    TEMPLATE_FARS,
    TemplateVerification,
    compare_templates,
    verify_templates,
)


def draw(
    seed: int, num_pairs: int = 4000, missing: float = 0.0
) -> tuple[PooledTemplates, TemplatePairs]:
    """Templates of 40 people with five each, of which some are missing.

    Some people are easier to recognise than others.
    """
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(40), 5)
    noise = rng.uniform(0.2, 2, 40)[person, None] * rng.normal(size=(200, 8))
    units = (rng.normal(size=(40, 8))[person] + noise).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    present = rng.random(200) >= missing
    units[~present] = 0
    left, right = rng.integers(200, size=(2, num_pairs)).astype(np.int32)
    right[: num_pairs // 5] = 5 * (left[: num_pairs // 5] // 5)
    pairs = TemplatePairs(left, right, person[left] == person[right])
    return PooledTemplates(units, present), pairs


def verify(pooled: PooledTemplates, pairs: TemplatePairs) -> TemplateVerification:
    return verify_templates(pooled, pairs, compare_templates(pooled, pairs))


@given(st.integers(0, 1000), st.sampled_from([1, 255, 256, 257, 1000]))
def test_scores_against_a_loop(seed: int, num_pairs: int) -> None:
    pooled, pairs = draw(seed, num_pairs, missing=0.1)
    done: list[int] = []
    scores = compare_templates(pooled, pairs, lambda count, note="": done.append(count))
    assert sum(done) == num_pairs
    for left, right, score in zip(pairs.left, pairs.right, scores, strict=True):
        if pooled.present[left] and pooled.present[right]:
            cosine = sum(
                float(a) * float(b)
                for a, b in zip(pooled.units[left], pooled.units[right], strict=True)
            )
            assert score == pytest.approx(cosine, abs=1e-6)
        else:
            assert score == -np.inf


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1]))
def test_tar_at_far_against_all_thresholds(seed: int, missing: float) -> None:
    pooled, pairs = draw(seed, num_pairs=1200, missing=missing)
    found = verify(pooled, pairs)
    genuine, impostor = found.scores[pairs.same], found.scores[~pairs.same]
    thresholds = np.append(found.scores[np.isfinite(found.scores)], -9.0)
    tar, far = (
        np.mean(kind > thresholds[:, None], axis=1) for kind in (genuine, impostor)
    )
    for answer in found.tar:
        if 1 / impostor.size > answer.target_far:
            assert answer.tar is None
            continue
        # The best that any threshold does whose FAR is allowed.
        best = tar[far <= answer.target_far].max()
        assert answer.tar == best
        assert answer.threshold is not None
        assert np.mean(genuine > answer.threshold) == best
        assert np.mean(impostor > answer.threshold) == answer.far
    whole = roc_curve(found.scores, pairs.same)
    np.testing.assert_array_equal(found.roc.false_accepts, whole.false_accepts)
    assert found.num_missing_pairs == np.isneginf(found.scores).sum()
    assert [answer.target_far for answer in found.tar] == list(TEMPLATE_FARS)


def test_missing_templates_raise_frr_and_not_fnmr() -> None:
    pooled, pairs = draw(3, missing=0.2)
    found = verify(pooled, pairs)
    compared = np.isfinite(found.scores)
    genuine, impostor = pairs.same & compared, ~pairs.same & compared
    rates = found.rates
    named = np.unique([pairs.left, pairs.right])
    assert rates.failure_to_acquire.num_trials == named.size
    assert rates.failure_to_acquire.num_errors == (~pooled.present[named]).sum() > 0
    [first, *_] = rates.at_fmr
    accepted = found.scores > first.threshold
    assert first.fnmr.num_errors == (genuine & ~accepted).sum()
    assert first.fnmr.num_trials == genuine.sum()
    assert first.fmr.num_trials == impostor.sum()
    assert first.frr.num_errors == (pairs.same & ~accepted).sum()
    assert first.frr.num_trials == pairs.same.sum()
    assert first.far.num_trials == (~pairs.same).sum()
    assert first.frr.rate > first.fnmr.rate
    assert first.fnmr_interval.low < first.fnmr.rate < first.fnmr_interval.high


def test_people_are_known_from_genuine_pairs() -> None:
    pooled, pairs = draw(5, num_pairs=20_000)
    found = verify(pooled, pairs)
    assert found.rates.num_identities == 40
    assert found.num_contradictions == 0
    same = pairs.same.copy()
    wrong = np.flatnonzero(same)[:3]
    same[wrong] = False
    contradicted = verify(pooled, TemplatePairs(pairs.left, pairs.right, same))
    assert contradicted.num_contradictions == 3


@given(st.integers(0, 1000))
def test_pairs_listed_again_are_counted(seed: int) -> None:
    pooled, pairs = draw(seed, num_pairs=1000)
    found = verify(pooled, pairs)
    seen: set[frozenset[int]] = set()
    again = 0
    for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        again += frozenset((left, right)) in seen
        seen.add(frozenset((left, right)))
    assert found.num_repeated == again > 0
    assert found.num_of_one == sum(
        len(pair) == 1
        for pair in [
            frozenset(both)
            for both in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
        ]
    )


def test_intervals_of_people_are_wider_where_pairs_share_them() -> None:
    pooled, pairs = draw(7, num_pairs=20_000)
    found = verify(pooled, pairs)
    [*_, last] = found.rates.at_fmr
    answer = next(a for a in found.tar if a.target_far == last.target_fmr)
    independent = found.tar_interval(answer)
    assert independent is not None
    wide = last.fnmr_interval.high - last.fnmr_interval.low
    assert wide > 1.5 * (independent.high - independent.low)


def test_pairs_of_one_kind_are_refused() -> None:
    pooled, pairs = draw(1)
    only = TemplatePairs(pairs.left, pairs.right, np.ones(len(pairs), bool))
    with pytest.raises(DataError, match="0 impostor pairs 4,000 and 0 have"):
        verify(pooled, only)
    none = PooledTemplates(pooled.units, np.zeros(200, bool))
    with pytest.raises(DataError, match="impostor pairs 0 and 0 have embeddings"):
        verify(none, pairs)
