from statistics import NormalDist

import numpy as np
import pytest

from facever.verification.reporting.charts.curves import (
    det_curve,
    det_ticks,
    lowest_errors,
)
from facever.verification.roc import roc_curve


def test_det_curve_of_normal_scores_is_straight_on_its_axes() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(400_000) % 2 == 0
    roc = roc_curve(rng.normal(same * 2.0), same)
    fmr, fnmr = det_curve(roc, lowest_errors([roc]))
    middle = (fmr > 0.01) & (fnmr > 0.01)
    deviate = NormalDist().inv_cdf
    for x, y in zip(fmr[middle][::500], fnmr[middle][::500], strict=True):
        # FNMR = Phi(t - 2) and FMR = Phi(-t) at threshold t.
        assert deviate(float(y)) == pytest.approx(-deviate(float(x)) - 2, abs=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_det_curve_has_the_errors_of_every_threshold_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.random(60) < 0.5
    scores = np.round(rng.normal(same * 1.5), 1)
    roc = roc_curve(scores, same)
    lowest = lowest_errors([roc])
    assert lowest == (
        min(0.1, 1 / np.count_nonzero(~same)),
        min(0.1, 1 / np.count_nonzero(same)),
    )
    fmr, fnmr = det_curve(roc, lowest)
    assert (np.diff(fmr) >= 0).all()
    assert (np.diff(fnmr) <= 0).all()
    drawn = set(zip(fmr.tolist(), fnmr.tolist(), strict=True))
    corners = roc.corners()
    for x, tar in zip(corners.far, corners.tar, strict=True):
        if lowest[0] <= x < 0.5 and lowest[1] <= 1 - tar < 0.5:
            assert (float(x), float(1 - tar)) in drawn
    assert fmr.min() >= lowest[0]
    assert fnmr.min() >= lowest[1]
    assert max(fmr.max(), fnmr.max()) <= 0.5


def test_marks_of_normal_deviates_do_not_meet() -> None:
    assert det_ticks(1 / 3000) == [0.5, 0.2, 0.05, 0.01, 0.001]
    for power in range(1, 9):
        lowest = 10.0**-power
        marks = det_ticks(lowest)
        assert marks[0] == 0.5
        assert all(mark >= lowest * 0.999 for mark in marks)
        places = [NormalDist().inv_cdf(mark) for mark in marks]
        assert min(-np.diff(places)) > 0.19 * -NormalDist().inv_cdf(lowest)
