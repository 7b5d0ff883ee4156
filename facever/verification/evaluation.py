"""Embeddings and a pair list to all numbers of a verification protocol.

Stated rules:

- A pair is accepted when its score is greater than the threshold.
- A fold's threshold (and PCA) is chosen on the other folds alone.
- A photo without an embedding is *missing*: its pairs keep their place in their fold
  and are counted. By the rule ``reject`` they score ``-inf`` and are rejected by every
  threshold; by ``lowest`` they score as the least similar pair does; by ``error`` there
  is no evaluation.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
from jaxtyping import Bool, Float, Float64

from facever.choices import Measure, MissingRule
from facever.errors import DataError, ParameterError
from facever.verification.pair_scores import MEASURES
from facever.verification.pca import (
    Projection,
    fold_projections,
    home_folds,
    one_thread_each,
)
from facever.verification.photo_matching import match_pairs
from facever.verification.protocols import PairList
from facever.verification.roc import (
    Roc,
    TarAtFar,
    area_under_curve,
    equal_error_rate,
    roc_curve,
    sorted_roc_curve,
    tar_at_far,
)
from facever.verification.thresholds import (
    best_threshold,
    fold_accuracies,
    fold_thresholds,
    sort_pairs,
)

TARGET_FARS = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class Evaluation:
    """All numbers of one model on a list of pairs.

    Attributes:
        pairs: The pairs.
        scores: Score of each pair, larger is more similar; where there is a PCA, in
            the projection of the pair's own fold. ``-inf`` where a photo is missing,
            unless ``missing_rule`` says otherwise.
        thresholds: Threshold of each fold, chosen on the others.
        accuracies: Share of each fold's pairs judged right, in [0, 1].
        roc: The ROC curve over all pairs' scores.
        auc: Area under the ROC curve.
        eer: Equal error rate.
        tar: TAR at each of ``TARGET_FARS``.
        missing: Photos that the pairs name and that have no embedding.
        compared: True for the pairs that have both their photos.
        missing_rule: What became of the pairs with a missing photo.
        pca_components: Number of dimensions that the PCA keeps; None without a PCA.
        notes: How the pairs' photos were matched, where that has to be said; see
            ``match_photos``.
    """

    pairs: PairList
    scores: Float64[np.ndarray, " pairs"]
    thresholds: Float64[np.ndarray, " folds"]
    accuracies: Float64[np.ndarray, " folds"]
    roc: Roc
    auc: float
    eer: float
    tar: list[TarAtFar]
    missing: list[str]
    compared: Bool[np.ndarray, " pairs"]
    missing_rule: MissingRule
    pca_components: int | None
    notes: tuple[str, ...] = ()

    @property
    def num_missing_pairs(self) -> int:
        """Number of pairs with a missing photo."""
        return int(np.count_nonzero(~self.compared))

    @property
    def accuracy(self) -> float:
        """Mean of the folds' accuracies."""
        return float(self.accuracies.mean())

    @property
    def standard_deviation(self) -> float:
        """Sample standard deviation of the folds' accuracies (divided by folds - 1)."""
        return float(self.accuracies.std(ddof=1))

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy: sample deviation / sqrt(folds)."""
        return self.standard_deviation / float(np.sqrt(len(self.accuracies)))

    @property
    def accepted(self) -> Bool[np.ndarray, " pairs"]:
        """True where a pair's score is greater than its fold's threshold."""
        accepted: Bool[np.ndarray, " pairs"] = (
            self.scores > self.thresholds[self.pairs.fold]
        )
        return accepted


def evaluate_pairs(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    pairs: PairList,
    pca_components: int | None = None,
    *,
    measure: Measure = "cosine",
    whiten: bool = False,
    subtract_mean: bool = False,
    missing_rule: MissingRule = "reject",
) -> Evaluation:
    """Score pairs and judge them fold by fold.

    Embeddings need not be of unit length. With PCA they are projected as they are: the
    mean is subtracted, nothing is rescaled before or after.

    Args:
        embeddings: The embeddings, one row for each image. Rows that no pair names are
            ignored.
        images: Source of each embedding; its extension does not matter.
        pairs: The pairs; see ``read_pair_list``.
        pca_components: Dimensions of a PCA fitted for each fold on the images of the
            other folds (``default_num_components`` has a rule for it); None compares
            the embeddings directly.
        measure: ``cosine``, or ``euclidean``: the distance, negated.
        whiten: Scale the PCA's components to variance 1.
        subtract_mean: Without a PCA, subtract the mean of the other folds' images. A
            PCA always does.
        missing_rule: What becomes of pairs with a missing photo, see above.

    Returns:
        All numbers.

    Raises:
        DataError: If ``images`` does not fit ``embeddings``, an image is listed twice,
            a used embedding is not finite or all zero, or too few pairs have both
            their images.
        ParameterError: If ``pca_components`` is too large or below 1, or whitening is
            asked for without a PCA.

    Examples:
        Two people, each with two photos, in two folds:

        >>> embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> images = ["A/1.jpg", "A/2.jpg", "B/1.jpg", "B/2.jpg"]
        >>> pairs = PairList(
        ...     left=["A/1.jpg", "A/1.jpg", "B/1.jpg", "A/2.jpg"],
        ...     right=["A/2.jpg", "B/1.jpg", "B/2.jpg", "B/2.jpg"],
        ...     same=np.array([True, False, True, False]),
        ...     fold=np.array([0, 0, 1, 1]),
        ... )
        >>> found = evaluate_pairs(embeddings, images, pairs)
        >>> found.scores.round(3).tolist()
        [0.995, 0.0, 0.995, 0.198]
        >>> found.accuracy, found.auc
        (1.0, 1.0)
    """
    if whiten and pca_components is None:
        raise ParameterError("whiten needs a PCA; give pca_components")
    matched = match_pairs(embeddings, images, pairs)
    left, right, missing = matched.left, matched.right, matched.missing
    if missing and missing_rule == "error":
        raise DataError(
            f"{len(missing)} photos of the pairs have no embedding, such as "
            f"{missing[0]!r}; add them or let --missing reject their pairs"
        )
    score = MEASURES[measure]
    if pca_components is None and not subtract_mean:
        scores = score(matched.vectors, left, right)
        found = evaluate_scores(scores, pairs, missing, missing_rule=missing_rule)
        return replace(found, notes=matched.notes)

    home = home_folds(left, right, pairs.fold, len(matched.vectors))
    scores = np.empty(len(pairs))
    thresholds = np.empty(pairs.num_folds)
    num_threads = min(os.cpu_count() or 1, pairs.num_folds)
    shape = len(matched.vectors), pca_components or matched.vectors.shape[1]
    spaces: SimpleQueue[np.ndarray] = SimpleQueue()
    for _ in range(num_threads):
        spaces.put(np.empty(shape))

    def judge(fold: int, projection: Projection) -> None:
        tested = pairs.fold == fold
        space = spaces.get()
        fold_scores = score(projection(matched.vectors, out=space), left, right)
        spaces.put(space)
        fold_scores = _fill(fold_scores, missing_rule)
        scores[tested] = fold_scores[tested]
        thresholds[fold] = best_threshold(fold_scores[~tested], pairs.same[~tested])

    with one_thread_each(), ThreadPoolExecutor(num_threads) as threads:
        projections = fold_projections(
            matched.vectors, home, pairs.num_folds, pca_components, whiten
        )
        list(threads.map(judge, range(pairs.num_folds), projections))
    compared = (left >= 0) & (right >= 0)
    found = judged_scores(
        scores, thresholds, pairs, missing, compared, missing_rule, pca_components
    )
    return replace(found, notes=matched.notes)


def evaluate_scores(
    scores: Float64[np.ndarray, " pairs"],
    pairs: PairList,
    missing: Sequence[str] = (),
    *,
    missing_rule: MissingRule = "reject",
) -> Evaluation:
    """Judge ready scores fold by fold.

    Args:
        scores: Score of each pair, larger is more similar, the same measure in every
            fold; ``-inf`` for a pair that could not be scored.
        pairs: The pairs.
        missing: The photos that the result names as missing.
        missing_rule: What becomes of pairs without a score.

    Returns:
        All numbers.

    Raises:
        DataError: If a score is NaN or ``+inf``, or too few pairs have a score.
    """
    compared = ~np.isneginf(scores)
    if missing_rule == "error" and not compared.all():
        num_missing = np.count_nonzero(~compared)
        raise DataError(f"{num_missing} pairs have no score; let --missing reject them")
    filled = _fill(scores, missing_rule)
    ordered = sort_pairs(filled, pairs.same)
    thresholds = fold_thresholds(ordered, pairs.fold)
    roc = sorted_roc_curve(ordered)
    return _judged(
        filled, thresholds, roc, pairs, missing, compared, missing_rule, None
    )


def judged_scores(
    scores: Float64[np.ndarray, " pairs"],
    thresholds: Float64[np.ndarray, " folds"],
    pairs: PairList,
    missing: Sequence[str],
    compared: Bool[np.ndarray, " pairs"],
    missing_rule: MissingRule,
    pca_components: int | None,
) -> Evaluation:
    """All numbers of scores whose thresholds are chosen already; see ``Evaluation``."""
    return _judged(
        scores,
        thresholds,
        roc_curve(scores, pairs.same),
        pairs,
        missing,
        compared,
        missing_rule,
        pca_components,
    )


def _judged(
    scores: Float64[np.ndarray, " pairs"],
    thresholds: Float64[np.ndarray, " folds"],
    roc: Roc,
    pairs: PairList,
    missing: Sequence[str],
    compared: Bool[np.ndarray, " pairs"],
    missing_rule: MissingRule,
    pca_components: int | None,
) -> Evaluation:
    return Evaluation(
        pairs=pairs,
        scores=scores,
        thresholds=thresholds,
        accuracies=fold_accuracies(scores, pairs.same, pairs.fold, thresholds),
        roc=roc,
        auc=area_under_curve(roc),
        eer=equal_error_rate(roc),
        tar=tar_at_far(roc, TARGET_FARS),
        missing=list(missing),
        compared=compared,
        missing_rule=missing_rule,
        pca_components=pca_components,
    )


def _fill(
    scores: Float64[np.ndarray, " pairs"], missing_rule: MissingRule
) -> Float64[np.ndarray, " pairs"]:
    """The scores, with those that the rule gives to pairs without a score."""
    scored = ~np.isneginf(scores)
    if missing_rule != "lowest" or scored.all() or not scored.any():
        return scores
    return np.where(scored, scores, scores[scored].min())
