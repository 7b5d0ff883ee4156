import dataclasses

import numpy as np
import pytest

from facever.errors import ParameterError
from facever.verification.evaluation import TARGET_FARS, evaluate_scores
from facever.verification.protocols import PairList
from facever.verification.uncertainty.error_bars import folder_bootstrap
from facever.verification.uncertainty.error_rates import error_rates, rule_of_three
from facever.verification.uncertainty.intervals import bootstrap


def drawn_pairs(seed: int, num_pairs: int = 2400):
    """Pairs of 80 people with tied scores, of which some lack a photo."""
    rng = np.random.default_rng(seed)
    same = np.arange(num_pairs) % 2 == 0
    people = rng.integers(80, size=(num_pairs, 2))
    people[same, 1] = people[same, 0]
    people[~same, 1] = (people[~same, 0] + 1 + people[~same, 1] % 79) % 80
    photos = rng.integers(3, size=(num_pairs, 2))
    names = [
        [f"{who}/{photo}.jpg" for who, photo in zip(*row, strict=True)]
        for row in zip(people.tolist(), photos.tolist(), strict=True)
    ]
    left, right = ([row[side] for row in names] for side in (0, 1))
    scores = np.round(rng.normal(same * 2.0, 1.0), 1)
    missing = ["3/1.jpg", "40/0.jpg"]
    gone = [bool({a, b} & set(missing)) for a, b in names]
    scores[gone] = -np.inf
    pairs = PairList(left, right, same, np.arange(num_pairs) // 2 % 10)
    return pairs, scores, missing


def errors_by_loops(pairs: PairList, scores: np.ndarray, target: float):
    """The loosest threshold whose FMR is not above the target, by trying all."""
    compared = [i for i in range(len(pairs)) if scores[i] != -np.inf]
    impostor = [i for i in compared if not pairs.same[i]]
    genuine = [i for i in compared if pairs.same[i]]
    best = None
    for threshold in sorted({scores[i] for i in compared}, reverse=True):
        matches = sum(scores[i] > threshold for i in impostor)
        if matches / len(impostor) > target:
            break
        best = matches, sum(scores[i] <= threshold for i in genuine)
    if best is None or 1 / len(impostor) > target:
        return None
    not_accepted = best[1] + sum(pairs.same) - len(genuine)
    return (
        (best[0], len(impostor)),
        (best[1], len(genuine)),
        (best[0], len(pairs) - int(sum(pairs.same))),
        (not_accepted, int(sum(pairs.same))),
    )


@pytest.mark.parametrize("missing_rule", ["reject", "lowest"])
@pytest.mark.parametrize("seed", range(4))
def test_rates_are_those_of_loops(seed: int, missing_rule) -> None:
    pairs, scores, missing = drawn_pairs(seed)
    evaluation = evaluate_scores(scores, pairs, missing, missing_rule=missing_rule)
    found = error_rates(evaluation)
    assert found is not None
    assert [errors.target_fmr for errors in found.at_fmr] == list(TARGET_FARS)
    for errors in found.at_fmr:
        rates = errors.fmr, errors.fnmr, errors.far, errors.frr
        expected = errors_by_loops(pairs, scores, errors.target_fmr)
        assert tuple((r.num_errors, r.num_trials) for r in rates) == expected
        compared = np.isfinite(scores)
        accepted = scores[compared] > errors.threshold
        same = pairs.same[compared]
        assert np.count_nonzero(accepted & ~same) == errors.fmr.num_errors
        assert np.count_nonzero(~accepted & same) == errors.fnmr.num_errors
        assert errors.frr.rate > errors.fnmr.rate
        assert errors.far.rate < errors.fmr.rate or errors.fmr.num_errors == 0
        interval = errors.fnmr_interval
        assert interval.low <= errors.fnmr.rate <= interval.high
    acquired = found.failure_to_acquire
    photos = {*pairs.left, *pairs.right}
    assert (acquired.num_errors, acquired.num_trials) == (2, len(photos))
    assert found.roc.num_genuine + found.roc.num_impostor == np.isfinite(scores).sum()


def test_without_missing_pairs_the_terms_say_what_far_and_tar_say() -> None:
    pairs, scores, _ = drawn_pairs(5)
    scores[np.isneginf(scores)] = 0.5
    evaluation = evaluate_scores(scores, pairs)
    drawn = folder_bootstrap(evaluation)
    found = error_rates(evaluation, drawn)
    assert found is not None
    drawn_anew = error_rates(evaluation)
    assert drawn_anew is not None
    assert found.at_fmr == drawn_anew.at_fmr
    assert found.eer == evaluation.eer
    assert found.failure_to_acquire.num_errors == 0
    for errors, answer, tar in zip(
        found.at_fmr, evaluation.tar, drawn.tar, strict=True
    ):
        assert errors.threshold == answer.threshold
        assert errors.fmr == errors.far
        assert errors.fnmr == errors.frr
        assert errors.fmr.rate == answer.far
        assert errors.fnmr.rate == pytest.approx(1 - answer.tar, abs=1e-12)
        ends = errors.fnmr_interval.low, errors.fnmr_interval.high
        assert ends == pytest.approx((1 - tar.high, 1 - tar.low))


def test_intervals_are_drawn_from_the_pairs_that_were_compared() -> None:
    pairs, scores, missing = drawn_pairs(6)
    evaluation = evaluate_scores(scores, pairs, missing)
    kept = np.flatnonzero(np.isfinite(scores))
    numbers = {name: place for place, name in enumerate(sorted(map(str, range(80))))}
    left, right = (
        np.array([numbers[names[i].split("/")[0]] for i in kept])
        for names in (pairs.left, pairs.right)
    )
    expected = bootstrap(
        scores=scores[kept],
        same=pairs.same[kept],
        right=evaluation.accepted[kept] == pairs.same[kept],
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
    )
    # Intervals over all pairs do not serve.
    found = error_rates(evaluation, folder_bootstrap(evaluation))
    assert found is not None
    for errors, tar in zip(found.at_fmr, expected.tar, strict=True):
        assert errors.fnmr_interval.low == 1 - tar.high
        assert errors.fnmr_interval.high == 1 - tar.low


def test_targets_that_the_pairs_cannot_show_are_named() -> None:
    pairs, scores, missing = drawn_pairs(7, num_pairs=400)
    found = error_rates(evaluate_scores(scores, pairs, missing))
    assert found is not None
    assert [errors.target_fmr for errors in found.at_fmr] == [0.1, 0.01]
    [note] = found.notes
    assert "1,000 impostor pairs" in note


def test_no_rates_where_a_kind_of_pair_was_never_compared() -> None:
    pairs, scores, missing = drawn_pairs(8)
    for kind in (pairs.same, ~pairs.same):
        some = np.where(kind, -np.inf, scores)
        assert error_rates(evaluate_scores(some, pairs, missing)) is None


def test_rule_of_three_is_the_rate_that_shows_no_error_once_in_twenty() -> None:
    for num_trials in (1, 2, 30, 3000, 10**9):
        rate = rule_of_three(num_trials)
        assert (1 - rate) ** num_trials == pytest.approx(0.05, rel=1e-6)
    assert rule_of_three(10_000) == pytest.approx(3 / 10_000, rel=2e-3)
    with pytest.raises(ParameterError, match="needs a trial, got 0"):
        rule_of_three(0)


def test_rule_of_30_asks_for_thirty_errors() -> None:
    pairs, scores, _ = drawn_pairs(9)
    scores[np.isneginf(scores)] = 0.5
    found = error_rates(evaluate_scores(scores, pairs))
    assert found is not None
    assert found.smallest_exact_fmr == 30 / 1200
    # With 30 errors the relative standard error is 1 / sqrt(30), and 90 % of a normal
    # distribution lie within 1.645 of it: 30 %.
    assert 1.645 / np.sqrt(30) == pytest.approx(0.30, abs=0.001)


def test_rates_do_not_depend_on_the_names_of_the_pairs_order() -> None:
    pairs, scores, missing = drawn_pairs(10)
    turned = dataclasses.replace(pairs, left=pairs.right, right=pairs.left)
    one = error_rates(evaluate_scores(scores, pairs, missing))
    other = error_rates(evaluate_scores(scores, turned, missing))
    assert one is not None
    assert other is not None
    for before, after in zip(one.at_fmr, other.at_fmr, strict=True):
        assert (before.fmr, before.fnmr) == (after.fmr, after.fnmr)
