"""Calibration: from a score to the probability that a pair shows one person.

Each fold's map is fitted on the other folds alone: a logistic curve of the score, with
Platt's targets, which keep it finite where the kinds do not overlap. What follows is
measured on pairs that had no part in their map. A pair without a score has no
probability, is left out, and is counted.

The probability is that among pairs mixed as in the list, of which often half are
genuine. The log-likelihood ratio is free of the mixture: it is the log-odds less those
of the pairs that the map was fitted on, and is what ``Cllr`` judges.

References:
    Platt, Probabilistic outputs for support vector machines, 1999 (section 2.2).
    Brummer and du Preez, Application-independent evaluation of speaker detection, 2006
    (Cllr and its minimum over all rising maps).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import isotonic_regression

from facever.verification.evaluation import Evaluation
from facever.verification.roc import Roc, roc_curve
from facever.verification.uncertainty.intervals import Interval, wilson

NUM_BINS = 10

_MOST_STEPS = 100
_CLOSE_ENOUGH = 1e-12


@dataclass(frozen=True)
class ProbabilityBin:
    """Pairs whose probability lies in one tenth of [0, 1].

    Attributes:
        low: Lower end of the bin, which belongs to it.
        high: Upper end, which belongs to the next bin, except for the last.
        num_pairs: Number of pairs in the bin, at least 1.
        mean_probability: Mean probability of these pairs.
        genuine_share: Share of these pairs that really show one person, in [0, 1].
        interval: Wilson's interval of ``genuine_share``.
    """

    low: float
    high: float
    num_pairs: int
    mean_probability: float
    genuine_share: float
    interval: Interval


@dataclass(frozen=True)
class Probabilities:
    """Scores as probabilities, and how good these are.

    Attributes:
        slopes: The slope of each fold's map
            ``p = 1 / (1 + exp(-(slope * score + intercept)))``.
        intercepts: The intercept of each fold's map.
        probabilities: Probability that each pair shows one person; NaN for a pair
            without a score.
        num_without_score: Number of pairs that are left out.
        bins: The bins that hold pairs, by rising probability.
        brier: Mean squared distance of probability and truth (1 or 0); 0 is best.
        expected_calibration_error: Mean distance of a bin's mean probability and its
            genuine share, weighted by its pairs; 0 is best, and chance alone gives
            more.
        cllr: Cost of the log-likelihood ratios in bits, over an equal weight of genuine
            and impostor pairs: 0 is best, 1 that of no information, and wrong
            confidence costs more.
        min_cllr: The ``cllr`` under the best rising map of scores, which is chosen on
            the pairs themselves. The difference of both is what the map costs.
    """

    slopes: Float64[np.ndarray, " folds"]
    intercepts: Float64[np.ndarray, " folds"]
    probabilities: Float64[np.ndarray, " pairs"]
    num_without_score: int
    bins: list[ProbabilityBin]
    brier: float
    expected_calibration_error: float
    cllr: float
    min_cllr: float


def probabilities_of(evaluation: Evaluation) -> Probabilities | None:
    """Fit each fold's map on the other folds and measure it on the fold.

    Scores are those of ``Evaluation.scores``; where there is a PCA, each in its own
    fold's projection.

    Args:
        evaluation: Scores, folds and truth of the pairs.

    Returns:
        The probabilities; None where a fold's other folds, or the pairs
        with a score, hold one kind alone.
    """
    scored = np.isfinite(evaluation.scores)
    scores, same = evaluation.scores[scored], evaluation.pairs.same[scored]
    fold = evaluation.pairs.fold[scored]
    num_folds = evaluation.pairs.num_folds
    slopes, intercepts, log_odds = (np.empty(num_folds) for _ in range(3))
    for tested in range(num_folds):
        others = fold != tested
        num_genuine = int(np.count_nonzero(same[others]))
        num_impostor = int(np.count_nonzero(~same[others]))
        if not num_genuine or not num_impostor:
            return None
        log_odds[tested] = np.log(num_genuine / num_impostor)
        slopes[tested], intercepts[tested] = fit_logistic(scores[others], same[others])
    if same.all() or not same.any():
        return None
    logits = slopes[fold] * scores + intercepts[fold]
    chances = np.exp(-np.logaddexp(0, -logits))
    bins = _bins(chances, same)
    probabilities = np.full(scored.size, np.nan)
    probabilities[scored] = chances
    return Probabilities(
        slopes=slopes,
        intercepts=intercepts,
        probabilities=probabilities,
        num_without_score=int(np.count_nonzero(~scored)),
        bins=bins,
        brier=float(np.mean((chances - same) ** 2)),
        expected_calibration_error=sum(
            each.num_pairs * abs(each.mean_probability - each.genuine_share)
            for each in bins
        )
        / len(chances),
        cllr=log_likelihood_ratio_cost(logits - log_odds[fold], same),
        min_cllr=least_cost(roc_curve(scores, same)),
    )


def fit_logistic(
    scores: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> tuple[float, float]:
    """The logistic curve of largest likelihood, by Newton's method.

    A genuine pair is taken as one with the chance ``(n + 1) / (n + 2)``, n the number
    of genuine pairs, an impostor pair with ``1 / (m + 2)``: Platt's targets.

    Args:
        scores: Finite scores.
        same: True for genuine pairs; both kinds are there.

    Returns:
        Slope and intercept of the log-odds. The slope is 0 where all scores are equal.
    """
    num_genuine = np.count_nonzero(same)
    num_impostor = same.size - num_genuine
    targets = np.where(same, (num_genuine + 1) / (num_genuine + 2), 0.0)
    targets[~same] = 1 / (num_impostor + 2)
    # Newton's steps are the same on any scale, but not their rounding.
    center, spread = scores.mean(), scores.std() or 1.0
    columns = np.stack([(scores - center) / spread, np.ones(scores.size)])
    found = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])
    loss = _logistic_loss(found, columns, targets)
    for _ in range(_MOST_STEPS):
        chances = np.exp(-np.logaddexp(0, -(found @ columns)))
        gradient = columns @ (chances - targets)
        curvature = (columns * (chances * (1 - chances))) @ columns.T
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        # Half of a step that goes too far; the loss is convex, so this ends.
        while (tried := _logistic_loss(found - step, columns, targets)) > loss:
            step = step / 2
            if np.abs(step).max() < _CLOSE_ENOUGH:
                break
        if np.abs(step).max() < _CLOSE_ENOUGH:
            break
        found, loss = found - step, tried
    slope = float(found[0] / spread)
    return slope, float(found[1] - slope * center)


def log_likelihood_ratio_cost(
    ratios: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> float:
    """Cllr: mean cost in bits of natural log-likelihood ratios, each kind half."""
    genuine = np.logaddexp(0, -ratios[same]).mean()
    impostor = np.logaddexp(0, ratios[~same]).mean()
    return float((genuine + impostor) / (2 * np.log(2)))


def least_cost(roc: Roc) -> float:
    """The smallest Cllr of any map that never falls, chosen on the pairs themselves.

    Pool adjacent violators finds it: the steps of the ROC curve's convex hull, where
    the likelihood ratio of a step is its slope.

    Args:
        roc: The ROC curve of pairs that all have a score.
    """
    impostor, genuine = np.diff(roc.false_accepts), np.diff(roc.true_accepts)
    num_pairs = genuine + impostor
    shares = isotonic_regression(
        genuine / num_pairs, weights=num_pairs, increasing=False
    ).x
    # Each kind weighs half, so the odds are those of the share over those of the list.
    odds_genuine = shares * roc.num_impostor
    odds_impostor = (1 - shares) * roc.num_genuine
    both = odds_genuine + odds_impostor
    bits_genuine = _bits(genuine, odds_genuine / both)
    bits_impostor = _bits(impostor, odds_impostor / both)
    return (bits_genuine / roc.num_genuine + bits_impostor / roc.num_impostor) / 2


def _bits(
    counts: Int64[np.ndarray, " steps"], chances: Float64[np.ndarray, " steps"]
) -> float:
    """Sum of ``-count * log2(chance)``; a chance is 0 only where the count is."""
    there = counts > 0
    # Not -(...): where all is certain that would be a zero with a minus.
    return float(0.0 - counts[there] @ np.log2(chances[there]))


def _logistic_loss(
    weights: Float64[np.ndarray, "2"],
    columns: Float64[np.ndarray, "2 pairs"],
    targets: Float64[np.ndarray, " pairs"],
) -> float:
    logits = weights @ columns
    return float(np.sum(np.logaddexp(0, logits) - targets * logits))


def _bins(
    chances: Float64[np.ndarray, " pairs"], same: Bool[np.ndarray, " pairs"]
) -> list[ProbabilityBin]:
    place = np.minimum((chances * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for number in np.unique(place).tolist():
        inside = place == number
        num_pairs = int(np.count_nonzero(inside))
        num_genuine = int(np.count_nonzero(same[inside]))
        bins.append(
            ProbabilityBin(
                low=number / NUM_BINS,
                high=(number + 1) / NUM_BINS,
                num_pairs=num_pairs,
                mean_probability=float(chances[inside].mean()),
                genuine_share=num_genuine / num_pairs,
                interval=wilson(num_genuine, num_pairs),
            )
        )
    return bins
