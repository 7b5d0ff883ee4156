"""Judge pairs by the rules of other projects.

Missing photos are handled by a rule of ours, ``MISSING_RULE``: the projects skip such a
pair, which shifts their folds, or stop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from facever.errors import ParameterError
from facever.verification.evaluation import evaluate_scores
from facever.verification.pair_scores import pair_cosine
from facever.verification.photo_matching import MatchedPairs, match_pairs
from facever.verification.protocols import PairList
from facever.verification.rules import RULES, Measure, Rule, Scores, SpreadKind

MISSING_RULE = (
    "a pair with a missing photo stays in its fold, is rejected by every threshold "
    "and is counted"
)


@dataclass(frozen=True)
class RuleResult:
    """What one rule says about one model.

    Attributes:
        name: Of the rule, in ``RULES``.
        rule: The rule.
        thresholds: One a fold, in the rule's measure: accept above a cosine, below a
            squared distance.
        accuracies: Share of each fold's pairs judged right, in [0, 1].
        accuracy: Mean of ``accuracies``; for a biased rule, which knows no folds, the
            share of all pairs.
        spread: As ``rule.spread_kind`` says; None where the project prints none.
        num_missing_pairs: Pairs with a missing photo; see ``MISSING_RULE``.
    """

    name: str
    rule: Rule
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
        embeddings: One row an image, not all zero. Rows that no pair names are ignored.
        images: Source of each row; its extension does not matter.
        pairs: The pairs.
        rule: A name in ``RULES``.

    Returns:
        Thresholds, accuracies and their spread.

    Raises:
        ParameterError: If there is no such rule.
        DataError: As ``evaluate_pairs``.
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
    right = np.empty(len(pairs), dtype=bool)
    thresholds = np.empty(pairs.num_folds)
    for fold, scores in enumerate(_scores_of_folds(scored, rule.measure)):
        tested = pairs.fold == fold
        training = np.full(len(pairs), True) if rule.biased else ~tested
        threshold = rule.choose(scores[training], pairs.same[training])
        judged = (scores > threshold) == pairs.same
        if rule.tie_is_wrong:
            judged &= scores != threshold
        right[tested] = judged[tested]
        thresholds[fold] = threshold
    accuracies = np.bincount(pairs.fold, weights=right) / np.bincount(pairs.fold)
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


def _scores_of_folds(scored: _Scored, measure: Measure) -> Iterator[Scores]:
    """Scores of all pairs when fold 0 is tested, then fold 1, and so on."""
    vectors, fold = scored.matched.vectors, scored.pairs.fold
    left, right = scored.matched.left, scored.matched.right
    scores = scored.cosine
    if measure == "squared distance":
        unit = _normalised(vectors)
        difference = unit[left] - unit[right]
        scores = -np.einsum("ij,ij->i", difference, difference)
    for tested in range(scored.pairs.num_folds):
        if measure == "centred cosine":
            members = np.concatenate([left[fold != tested], right[fold != tested]])
            uses = np.bincount(members[members >= 0], minlength=len(vectors))
            mean = uses @ vectors / uses.sum()
            unit = _normalised(vectors - mean)
            scores = np.einsum("ij,ij->i", unit[left], unit[right])
        yield np.where(np.isneginf(scored.cosine), -np.inf, scores)


def _normalised(
    vectors: Float64[np.ndarray, "images dim"],
) -> Float64[np.ndarray, "images dim"]:
    """Unit vectors; one that equals the subtracted mean has no direction: zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Float64[np.ndarray, "images dim"] = (
        vectors / np.where(lengths > 0, lengths, 1)[:, None]
    )
    return unit
