"""The same embeddings under the rules by which other projects judge them.

Projects differ in what they compare, which thresholds they try, which of several best
ones they take, what a tie counts as, and what they print behind the plus-minus sign.
``RULES`` holds those rules as the projects' published code has them, so that their
numbers can be set beside ours. They concern accuracy alone.

Common to all rules here: the folds are those of the pair list, for other projects even
where one has pairs of one kind (``PairList.rule_fold``); what the projects do to the
embeddings by option (mirroring, InsightFace's PCA, facenet's mean subtraction) is off;
scores are float64, where FaceX-Zoo keeps float32. Missing photos are handled by a rule
of ours, ``MISSING_RULE``: the projects skip such a pair, which shifts their folds, or
stop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from facever.errors import ParameterError
from facever.inference.vectors import unit_or_zero
from facever.verification.evaluation import evaluate_scores
from facever.verification.pair_scores import Scores, pair_cosine
from facever.verification.photo_matching import MatchedPairs, match_pairs
from facever.verification.protocols import PairList
from facever.verification.thresholds import best_threshold, candidate_thresholds

RuleMeasure = Literal["cosine", "centred cosine", "squared distance"]
SpreadKind = Literal["standard error", "population deviation", "none"]
Kinds = Bool[np.ndarray, " pairs"]

MISSING_RULE = (
    "a pair with a missing photo stays in its fold, is rejected by every threshold "
    "and is counted"
)

_DISTANCES = -np.arange(0, 4, 0.01)  # Negated: greater is more similar.
_COSINES = np.arange(-10_000, 10_001) / 10_000
_NUM_STEPS = 1_000


@dataclass(frozen=True)
class JudgingRule:
    """How one project judges pairs.

    Attributes:
        source: Repository and file that the rule was read from.
        description: The rule, described in a line.
        measure: What pairs are compared by. ``squared distance`` is the squared
            Euclidean distance of unit vectors. ``centred cosine`` is the cosine of the
            embeddings less their mean over both members of the training folds' pairs;
            nothing is rescaled before.
        choose: Gives the threshold for the training pairs' scores (a distance negated)
            and truth; a pair is accepted when its score is greater.
        spread_kind: What the project prints beside the mean accuracy.
        tie_is_wrong: A score that equals the threshold is judged wrong whatever the
            pair; else it is rejected.
        biased: The threshold is chosen on the pairs that it is tested on.
    """

    source: str
    description: str
    measure: RuleMeasure
    choose: Callable[[Scores, Kinds], float]
    spread_kind: SpreadKind
    tie_is_wrong: bool = False
    biased: bool = False


def _num_above(
    scores: Float64[np.ndarray, " some"],
    thresholds: Float64[np.ndarray, " thresholds"],
    side: Literal["left", "right"] = "right",
) -> Int64[np.ndarray, " thresholds"]:
    """Scores greater than each threshold; with ``left`` those that equal it too."""
    not_above = np.searchsorted(np.sort(scores), thresholds, side=side)
    above: Int64[np.ndarray, " thresholds"] = scores.size - not_above
    return above


def _gain(
    scores: Scores,
    same: Kinds,
    thresholds: Float64[np.ndarray, " thresholds"],
    tie_is_wrong: bool = False,
) -> Int64[np.ndarray, " thresholds"]:
    """Pairs that each threshold judges right, less the number of impostor pairs."""
    wrong = _num_above(scores[~same], thresholds, "left" if tie_is_wrong else "right")
    gain: Int64[np.ndarray, " thresholds"] = (
        _num_above(scores[same], thresholds) - wrong
    )
    return gain


def _first_best_distance(scores: Scores, same: Kinds) -> float:
    return float(_DISTANCES[np.argmax(_gain(scores, same, _DISTANCES))])


def _distance_before_first_fall(scores: Scores, same: Kinds) -> float:
    falls = np.diff(_gain(scores, same, _DISTANCES)) < 0
    return float(_DISTANCES[np.argmax(falls) if falls.any() else -1])


def _mean_of_best_cosines(scores: Scores, same: Kinds) -> float:
    gain = _gain(scores, same, _COSINES, tie_is_wrong=True)
    return float(_COSINES[gain == gain.max()].mean())


def _first_best_difference_of_rates(scores: Scores, same: Kinds) -> float:
    scored = scores[scores != -np.inf]
    step = (scored.max() - scored.min()) / _NUM_STEPS
    thresholds = scored.min() + step * np.arange(1, _NUM_STEPS + 1)
    # Without a pair of a kind the rates are NaN, and argmax takes the first of these.
    with np.errstate(invalid="ignore"):
        true_accept_rate = _num_above(scores[same], thresholds) / np.sum(same)
        false_accept_rate = _num_above(scores[~same], thresholds) / np.sum(~same)
    return float(thresholds[np.argmax(true_accept_rate - false_accept_rate)])


def _lowest_best(scores: Scores, same: Kinds) -> float:
    # The mean of several best thresholds, as in ``exact``, need not be a best one, and
    # this rule's number is the best that there is.
    thresholds = candidate_thresholds(np.unique(scores[scores != -np.inf]))
    return float(thresholds[np.argmax(_gain(scores, same, thresholds))])


_FACENET = JudgingRule(
    source="davidsandberg/facenet: src/lfw.py, src/facenet.py",
    description="squared distance below 0, 0.01, ..., 3.99, the first of the best",
    measure="squared distance",
    choose=_first_best_distance,
    spread_kind="population deviation",
)

RULES: dict[str, JudgingRule] = {
    "exact": JudgingRule(
        source="facever",
        description="cosine above every threshold that matters, the mean of the best",
        measure="cosine",
        choose=best_threshold,
        spread_kind="standard error",
    ),
    "insightface": replace(
        _FACENET,
        source="deepinsight/insightface: "
        "recognition/arcface_torch/eval/verification.py",
    ),
    "sphereface": JudgingRule(
        source="wy1iu/sphereface: test/code/evaluation.m",
        description="cosine, the training folds' mean subtracted, above -1, -0.9999, "
        "..., 1, the mean of the best; a score equal to the threshold is wrong",
        measure="centred cosine",
        choose=_mean_of_best_cosines,
        spread_kind="none",
        tie_is_wrong=True,
    ),
    "facenet": _FACENET,
    "facexzoo": JudgingRule(
        source="JDAI-CV/FaceX-Zoo: test_protocol/lfw/lfw_evaluator.py",
        description="cosine above 1,000 steps from the lowest training score to the "
        "highest, the first of greatest TPR - FPR; a score equal to the threshold is "
        "wrong",
        measure="cosine",
        choose=_first_best_difference_of_rates,
        spread_kind="standard error",
        tie_is_wrong=True,
    ),
    "openface": replace(
        _FACENET,
        source="cmusatyalab/openface: evaluation/lfw.py",
        description="squared distance below 0, 0.01, ..., 3.99, the last before the "
        "training accuracy first falls",
        choose=_distance_before_first_fall,
    ),
    "in-sample": JudgingRule(
        source="ronghuaiyang/arcface-pytorch: test.py, among others",
        description="BIASED: cosine above the one threshold that is best for the very "
        "pairs it is tested on",
        measure="cosine",
        choose=_lowest_best,
        spread_kind="none",
        biased=True,
    ),
}


@dataclass(frozen=True)
class RuleResult:
    """What one rule says about one model.

    Attributes:
        name: The rule's name in ``RULES``.
        rule: The rule itself.
        thresholds: One a fold, in the rule's measure: accept above a cosine, below a
            squared distance.
        accuracies: Share of each fold's pairs judged right, in [0, 1].
        accuracy: Mean of ``accuracies``; for a biased rule, which knows no folds, the
            share of all pairs.
        spread: Spread of the accuracies, of the kind ``rule.spread_kind``; None where
            the project prints no spread.
        num_missing_pairs: Number of pairs with a missing photo; see ``MISSING_RULE``.
    """

    name: str
    rule: JudgingRule
    thresholds: Float64[np.ndarray, " folds"]
    accuracies: Float64[np.ndarray, " folds"]
    accuracy: float
    spread: float | None
    num_missing_pairs: int


def judge(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    pairs: PairList,
    rule: str,
) -> RuleResult:
    """Judge pairs by one rule.

    Args:
        embeddings: The embeddings, one row for each image, not all zero. Rows that no
            pair names are ignored.
        images: Source of each embedding; its extension does not matter.
        pairs: The pairs.
        rule: A name in ``RULES``.

    Returns:
        Thresholds, accuracies and their spread.

    Raises:
        ParameterError: If there is no such rule.
        DataError: In the same cases as ``evaluate_pairs``.
    """
    if rule not in RULES:
        raise ParameterError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
    return _judge(_score(embeddings, images, pairs), rule)


def judge_all(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    pairs: PairList,
) -> dict[str, RuleResult]:
    """Judge pairs by every rule, in the order of ``RULES``; else as ``judge``."""
    scored = _score(embeddings, images, pairs)
    return {name: _judge(scored, name) for name in RULES}


@dataclass(frozen=True)
class _Scored:
    """Pairs, the embeddings of their photos, and the cosine of each pair."""

    pairs: PairList
    matched: MatchedPairs
    cosine: Scores


def _score(
    embeddings: Float[np.ndarray, "images dim"], images: Sequence[str], pairs: PairList
) -> _Scored:
    matched = match_pairs(embeddings, images, pairs)
    cosine = pair_cosine(matched.vectors, matched.left, matched.right)
    # It refuses what cannot be judged.
    evaluate_scores(cosine, pairs)
    return _Scored(pairs, matched, cosine)


def _judge(scored: _Scored, name: str) -> RuleResult:
    rule, pairs = RULES[name], scored.pairs
    folds = pairs.fold
    if name != "exact" and pairs.rule_fold is not None:
        folds = pairs.rule_fold
    right = np.empty(len(pairs), dtype=bool)
    thresholds = np.empty(int(folds.max()) + 1)
    for fold, scores in enumerate(_scores_of_folds(scored, rule.measure, folds)):
        tested = folds == fold
        training = np.full(len(pairs), True) if rule.biased else ~tested
        threshold = rule.choose(scores[training], pairs.same[training])
        judged = (scores > threshold) == pairs.same
        if rule.tie_is_wrong:
            judged &= scores != threshold
        right[tested] = judged[tested]
        thresholds[fold] = threshold
    accuracies = np.bincount(folds, weights=right) / np.bincount(folds)
    return RuleResult(
        name=name,
        rule=rule,
        thresholds=-thresholds if rule.measure == "squared distance" else thresholds,
        accuracies=accuracies,
        accuracy=float(right.mean() if rule.biased else accuracies.mean()),
        spread=_spread(rule.spread_kind, accuracies),
        num_missing_pairs=int(np.count_nonzero(np.isneginf(scored.cosine))),
    )


def _spread(
    kind: SpreadKind, accuracies: Float64[np.ndarray, " folds"]
) -> float | None:
    if kind == "standard error":
        return float(accuracies.std(ddof=1) / np.sqrt(len(accuracies)))
    return float(accuracies.std()) if kind == "population deviation" else None


def _scores_of_folds(
    scored: _Scored, measure: RuleMeasure, fold: Int64[np.ndarray, " pairs"]
) -> Iterator[Scores]:
    """Scores of all pairs when fold 0 is tested, then fold 1, and so on."""
    vectors = scored.matched.vectors
    left, right = scored.matched.left, scored.matched.right
    scores = scored.cosine
    if measure == "squared distance":
        unit = unit_or_zero(vectors, dtype=np.float64)
        difference = unit[left] - unit[right]
        scores = -np.einsum("ij,ij->i", difference, difference)
    for tested in range(int(fold.max()) + 1):
        if measure == "centred cosine":
            members = np.concatenate([left[fold != tested], right[fold != tested]])
            uses = np.bincount(members[members >= 0], minlength=len(vectors))
            mean = uses @ vectors / uses.sum()
            unit = unit_or_zero(vectors - mean, dtype=np.float64)
            scores = np.einsum("ij,ij->i", unit[left], unit[right])
        yield np.where(np.isneginf(scored.cosine), -np.inf, scores)
