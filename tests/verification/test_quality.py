import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.evaluation import Evaluation, evaluate_scores
from facever.verification.protocols import PairList
from facever.verification.quality import MOST_DISCARDED, discard_curve
from facever.verification.uncertainty.error_rates import error_rates


def drawn(seed: int, num_pairs: int = 400) -> tuple[Evaluation, dict[str, float]]:
    """Pairs of photos, of which some are missing; bad photos make low scores."""
    rng = np.random.default_rng(seed)
    same = np.arange(num_pairs) % 2 == 0
    quality = np.round(rng.uniform(0, 100, 60) / 5) * 5
    left = rng.integers(60, size=num_pairs)
    right = (left + rng.integers(1, 60, size=num_pairs)) % 60
    worse = np.minimum(quality[left], quality[right])
    scores = rng.normal(same * (0.5 + worse / 40), 1.0)
    missing = [f"photo{place}" for place in (7, 23)]
    names = [[f"photo{place}" for place in side] for side in (left, right)]
    gone = [a in missing or b in missing for a, b in zip(*names, strict=True)]
    scores[gone] = -np.inf
    pairs = PairList(*names, same, np.arange(num_pairs) // 2 % 5)
    return (
        evaluate_scores(scores, pairs, missing),
        {f"photo{place}": float(value) for place, value in enumerate(quality)},
    )


def threshold_of(evaluation: Evaluation) -> float:
    found = error_rates(evaluation)
    assert found is not None
    return found.at_fmr[-1].threshold


def pairs_by_hand(evaluation: Evaluation, quality_of: dict[str, float], threshold):
    """Quality, kind and acceptance of each pair that is judged."""
    pairs = evaluation.pairs
    for left, right, same, score in zip(
        pairs.left, pairs.right, pairs.same, evaluation.scores, strict=True
    ):
        if score > -np.inf and left in quality_of and right in quality_of:
            yield (
                min(quality_of[left], quality_of[right]),
                bool(same),
                score > threshold,
            )


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_against_loops(seed: int) -> None:
    evaluation, quality_of = drawn(seed)
    for name in ("photo3", "photo31"):
        del quality_of[name]
    at = threshold_of(evaluation)
    found = discard_curve(evaluation, at, quality_of)
    judged = list(pairs_by_hand(evaluation, quality_of, at))
    genuine = [(quality, taken) for quality, same, taken in judged if same]
    points = []
    for cutoff in sorted({quality for quality, _ in genuine}):
        left = [taken for quality, taken in genuine if quality >= cutoff]
        points.append((1 - len(left) / len(genuine), 1 - sum(left) / len(left)))
    np.testing.assert_allclose(
        np.column_stack([found.discarded, found.fnmr]), points, atol=1e-12
    )
    # The area, by a fine grid.
    grid = (np.arange(20_000) + 0.5) / 20_000 * MOST_DISCARDED
    heights = [[fnmr for x, fnmr in points if x <= at_x][-1] for at_x in grid[::20]]
    assert found.area == pytest.approx(np.mean(heights), abs=1e-3)
    num_wrong = sum(not taken for _, taken in genuine)
    ideal = [
        max(0, num_wrong - int(x * len(genuine)))
        / (len(genuine) - int(x * len(genuine)))
        for x in grid
    ]
    assert found.ideal_area == pytest.approx(np.mean(ideal), abs=1e-4)
    assert found.num_photos_without == 2
    assert found.num_pairs_left_out == np.isfinite(evaluation.scores).sum() - len(
        judged
    )
    assert found.cuts
    for cut in found.cuts:
        for same, rate, wrong in ((True, cut.fnmr, False), (False, cut.fmr, True)):
            left = [
                taken == wrong
                for quality, kind, taken in judged
                if kind == same and quality >= cut.cutoff
            ]
            assert rate is not None
            assert (rate.num_errors, rate.num_trials) == (sum(left), len(left))
        refused = [
            name
            for name, quality in quality_of.items()
            if quality < cut.cutoff and name not in evaluation.missing
        ]
        assert cut.refused.num_errors == len(refused)
        assert cut.refused.num_trials == 60 - 2 - 2


def test_a_quality_that_knows_the_errors_is_ideal_and_its_opposite_the_worst() -> None:
    """Each photo in one pair, so that a pair has a quality of its own."""
    rng = np.random.default_rng(1)
    same = np.arange(600) % 2 == 0
    scores = rng.normal(same * 1.5)
    left, right = ([f"{side}{i}" for i in range(600)] for side in "ab")
    pairs = PairList(left, right, same, np.arange(600) // 2 % 5)
    evaluation = evaluate_scores(scores, pairs)
    at = threshold_of(evaluation)

    def curve_of(quality: np.ndarray):
        return discard_curve(
            evaluation,
            at,
            dict(zip(left, quality.tolist(), strict=True))
            | dict.fromkeys(right, np.inf),
        )

    best, worst = curve_of(scores), curve_of(-scores)
    constant = curve_of(np.zeros(600))
    assert best.area == pytest.approx(best.ideal_area)
    assert best.gain == pytest.approx(1)
    assert worst.gain < 0 < best.gain
    assert constant.gain == 0
    assert constant.area == constant.fnmr[0]
    assert len(constant.fnmr) == 1
    assert best.fnmr[0] == worst.fnmr[0] == constant.fnmr[0]


@given(st.integers(0, 10**6), st.sampled_from([-3.0, 0.01, 7.0]))
@settings(max_examples=25, deadline=None)
def test_only_the_order_of_qualities_matters(seed: int, scale: float) -> None:
    evaluation, quality_of = drawn(seed, num_pairs=200)
    at = threshold_of(evaluation)
    plain = discard_curve(evaluation, at, quality_of)
    moved = {name: np.exp(abs(scale) * q / 100) for name, q in quality_of.items()}
    after = discard_curve(evaluation, at, moved)
    np.testing.assert_array_equal(plain.discarded, after.discarded)
    np.testing.assert_array_equal(plain.fnmr, after.fnmr)
    assert (plain.area, plain.gain) == (after.area, after.gain)
    # Discards never make the rest a different set of pairs: the first is everything.
    assert plain.discarded[0] == 0
    assert (np.diff(plain.discarded) > 0).all()


def test_what_cannot_be_judged_is_one_line() -> None:
    evaluation, quality_of = drawn(0)
    at = threshold_of(evaluation)
    with pytest.raises(DataError, match="the quality of photo3 is NaN"):
        discard_curve(evaluation, at, quality_of | {"photo3": float("nan")})
    with pytest.raises(DataError, match="no pair of one person has a quality"):
        discard_curve(evaluation, at, {"another": 1.0})
