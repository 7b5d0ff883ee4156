"""Judge pairs by the rules of other projects.

Missing photos are handled by a rule of ours, ``MISSING_RULE``: the projects skip such a
pair, which shifts their folds, or stop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from facever.errors import ParameterError
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairList, photo_key
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
    return _judge(_match(embeddings, images, pairs), rule)


def judge_all(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    pairs: PairList,
) -> dict[str, RuleResult]:
    """Judge pairs by every rule, in the order of ``RULES``; else as ``judge``."""
    matched = _match(embeddings, images, pairs)
    return {name: _judge(matched, name) for name in RULES}


@dataclass(frozen=True)
class _Matched:
    """Pairs, and the row of each member in ``vectors``; -1 where a photo is missing."""

    pairs: PairList
    vectors: Float64[np.ndarray, "images dim"]
    left: Int64[np.ndarray, " pairs"]
    right: Int64[np.ndarray, " pairs"]
    cosine: Scores


def _match(
    embeddings: Float[np.ndarray, "images dim"], images: Sequence[str], pairs: PairList
) -> _Matched:
    # It refuses what cannot be judged, so below every row is finite and none is zero.
    cosine = evaluate_pairs(embeddings, images, pairs).scores
    row_of_key = {photo_key(image): row for row, image in enumerate(images)}
    found = [name for name in pairs.sources if photo_key(name) in row_of_key]
    place = {name: index for index, name in enumerate(found)}
    left, right = (
        np.array([place.get(name, -1) for name in names], dtype=np.int64)
        for names in (pairs.left, pairs.right)
    )
    rows = [row_of_key[photo_key(name)] for name in found]
    return _Matched(pairs, embeddings[rows].astype(np.float64), left, right, cosine)


def _judge(matched: _Matched, name: str) -> RuleResult:
    rule, pairs = RULES[name], matched.pairs
    right = np.empty(len(pairs), dtype=bool)
    thresholds = np.empty(pairs.num_folds)
    for fold, scores in enumerate(_scores_of_folds(matched, rule.measure)):
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
        num_missing_pairs=int(np.count_nonzero(np.isneginf(matched.cosine))),
    )


def _spread(
    kind: SpreadKind, accuracies: Float64[np.ndarray, " folds"]
) -> float | None:
    if kind == "standard error":
        return float(accuracies.std(ddof=1) / np.sqrt(len(accuracies)))
    return float(accuracies.std()) if kind == "population deviation" else None


def _scores_of_folds(matched: _Matched, measure: Measure) -> Iterator[Scores]:
    """Scores of all pairs when fold 0 is tested, then fold 1, and so on."""
    left, right, fold = matched.left, matched.right, matched.pairs.fold
    scores = matched.cosine
    if measure == "squared distance":
        unit = _normalised(matched.vectors)
        difference = unit[left] - unit[right]
        scores = -np.einsum("ij,ij->i", difference, difference)
    for tested in range(matched.pairs.num_folds):
        if measure == "centred cosine":
            members = np.concatenate([left[fold != tested], right[fold != tested]])
            uses = np.bincount(members[members >= 0], minlength=len(matched.vectors))
            mean = uses @ matched.vectors / uses.sum()
            unit = _normalised(matched.vectors - mean)
            scores = np.einsum("ij,ij->i", unit[left], unit[right])
        yield np.where(np.isneginf(matched.cosine), -np.inf, scores)


def _normalised(
    vectors: Float64[np.ndarray, "images dim"],
) -> Float64[np.ndarray, "images dim"]:
    """Unit vectors; one that equals the subtracted mean has no direction: zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Float64[np.ndarray, "images dim"] = (
        vectors / np.where(lengths > 0, lengths, 1)[:, None]
    )
    return unit
