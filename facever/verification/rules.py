"""The same embeddings under the rules by which other projects judge them.

Projects differ in what they compare, which thresholds they try, which of several best
ones they take, what a tie counts as, and what they print behind the plus-minus sign.
``RULES`` holds those rules as the projects' published code has them, so that their
numbers can be set beside ours. They concern accuracy alone.

Common to all rules here: the folds are those of the pair list; what the projects do to
the embeddings by option (mirroring, InsightFace's PCA, facenet's mean subtraction) is
off; scores are float64, where FaceX-Zoo keeps float32. See ``rule_judging`` for missing
photos.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from facever.verification.folds import best_threshold
from facever.verification.sorted_pairs import candidate_thresholds

Measure = Literal["cosine", "centred cosine", "squared distance"]
SpreadKind = Literal["standard error", "population deviation", "none"]
Scores = Float64[np.ndarray, " pairs"]
Kinds = Bool[np.ndarray, " pairs"]

_DISTANCES = -np.arange(0, 4, 0.01)  # Negated: greater is more similar.
_COSINES = np.arange(-10_000, 10_001) / 10_000
_NUM_STEPS = 1_000


@dataclass(frozen=True)
class Rule:
    """How one project judges pairs.

    Attributes:
        source: Repository and file that the rule was read from.
        description: The rule in a line.
        measure: What pairs are compared by. ``squared distance`` is that of unit
            vectors. ``centred cosine`` is that of the embeddings less their mean over
            both members of the training folds' pairs; nothing is rescaled before.
        choose: From the training pairs' scores (a distance negated) and truth to the
            threshold; a pair is accepted when its score is greater.
        spread_kind: What the project prints beside the mean accuracy.
        tie_is_wrong: A score that equals the threshold is judged wrong whatever the
            pair; else it is rejected.
        biased: The threshold is chosen on the pairs that it is tested on.
    """

    source: str
    description: str
    measure: Measure
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
    true_accept_rate = _num_above(scores[same], thresholds) / np.count_nonzero(same)
    false_accept_rate = _num_above(scores[~same], thresholds) / np.count_nonzero(~same)
    return float(thresholds[np.argmax(true_accept_rate - false_accept_rate)])


def _lowest_best(scores: Scores, same: Kinds) -> float:
    # The mean of several best thresholds, as in ``exact``, need not be a best one, and
    # this rule's number is the best that there is.
    thresholds = candidate_thresholds(np.unique(scores[scores != -np.inf]))
    return float(thresholds[np.argmax(_gain(scores, same, thresholds))])


_FACENET = Rule(
    source="davidsandberg/facenet: src/lfw.py, src/facenet.py",
    description="squared distance below 0, 0.01, ..., 3.99, the first of the best",
    measure="squared distance",
    choose=_first_best_distance,
    spread_kind="population deviation",
)

RULES: dict[str, Rule] = {
    "exact": Rule(
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
    "sphereface": Rule(
        source="wy1iu/sphereface: test/code/evaluation.m",
        description="cosine, the training folds' mean subtracted, above -1, -0.9999, "
        "..., 1, the mean of the best; a score equal to the threshold is wrong",
        measure="centred cosine",
        choose=_mean_of_best_cosines,
        spread_kind="none",
        tie_is_wrong=True,
    ),
    "facenet": _FACENET,
    "facexzoo": Rule(
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
    "in-sample": Rule(
        source="ronghuaiyang/arcface-pytorch: test.py, among others",
        description="BIASED: cosine above the one threshold that is best for the very "
        "pairs it is tested on",
        measure="cosine",
        choose=_lowest_best,
        spread_kind="none",
        biased=True,
    ),
}
