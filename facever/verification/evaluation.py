"""Embeddings and a pair list to all numbers of a verification protocol.

Stated rules:

- A pair is accepted when its score is greater than the threshold.
- A fold's threshold (and PCA) is chosen on the other folds alone.
- A photo without an embedding is *missing*: its pairs keep their place in their fold
  and are counted. By the rule ``reject`` they score ``-inf`` and are rejected by every
  threshold; by ``lowest`` they score as the least similar pair does; by ``error`` there
  is no evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from facever.errors import DataError, ParameterError
from facever.verification.folds import (
    best_threshold,
    fold_accuracies,
    fold_thresholds,
)
from facever.verification.pca import fold_projections, home_folds
from facever.verification.protocols import PairList, photo_key
from facever.verification.roc import (
    Roc,
    TarAtFar,
    area_under_curve,
    equal_error_rate,
    roc_curve,
    tar_at_far,
)

TARGET_FARS = (1e-1, 1e-2, 1e-3)
Measure = Literal["cosine", "euclidean"]
MissingRule = Literal["reject", "lowest", "error"]


@dataclass(frozen=True)
class Evaluation:
    """Everything that a pair list says about one model.

    Attributes:
        pairs: The pairs.
        scores: Score of each pair, larger is more similar; where there is a PCA, in
            the projection of the pair's own fold. ``-inf`` where a photo is missing,
            unless ``missing_rule`` says otherwise.
        thresholds: Threshold of each fold, chosen on the others.
        accuracies: Share of each fold's pairs judged right, in [0, 1].
        roc: The curve over all pairs' scores.
        auc: Area under it.
        eer: Equal error rate.
        tar: TAR at each of ``TARGET_FARS``.
        missing: Photos that the pairs name and that have no embedding.
        num_missing_pairs: Pairs with a missing photo.
        missing_rule: What became of them.
        pca_components: Dimensions kept by the PCA, None without PCA.
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
    num_missing_pairs: int
    missing_rule: MissingRule
    pca_components: int | None

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
        embeddings: One row an image. Rows that no pair names are ignored.
        images: Source of each row; its extension does not matter.
        pairs: The pairs; see ``read_lfw_pairs``.
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
    """
    if whiten and pca_components is None:
        raise ParameterError("whiten needs a PCA; give pca_components")
    rows, missing = _find_rows(embeddings, images, pairs)
    sources = list(rows)
    place = {source: index for index, source in enumerate(sources)}
    left = np.array([place.get(source, -1) for source in pairs.left], dtype=np.int64)
    right = np.array([place.get(source, -1) for source in pairs.right], dtype=np.int64)
    if not ((left >= 0) & (right >= 0)).any():
        raise DataError(
            "no pair has embeddings of both its photos; pairs name photos such as "
            f"{pairs.left[0]!r}, the embeddings are of "
            + (f"photos such as {images[0]!r}" if len(images) else "no photo at all")
        )
    used = embeddings[[rows[source] for source in sources]].astype(np.float64)
    _check_used(used, sources)
    if missing and missing_rule == "error":
        raise DataError(
            f"{len(missing)} photos of the pairs have no embedding, such as "
            f"{missing[0]!r}, and missing is error"
        )
    score = _MEASURES[measure]
    if pca_components is None and not subtract_mean:
        scores = score(used, left, right)
        return evaluate_scores(scores, pairs, missing, missing_rule=missing_rule)

    scores = np.empty(len(pairs))
    thresholds = np.empty(pairs.num_folds)
    home = home_folds(left, right, pairs.fold, len(sources))
    projections = fold_projections(used, home, pairs.num_folds, pca_components, whiten)
    for fold, projection in enumerate(projections):
        tested = pairs.fold == fold
        fold_scores = _fill(score(projection(used), left, right), missing_rule)
        scores[tested] = fold_scores[tested]
        thresholds[fold] = best_threshold(fold_scores[~tested], pairs.same[~tested])
    num_missing = int(np.count_nonzero((left < 0) | (right < 0)))
    return judged_scores(
        scores, thresholds, pairs, missing, num_missing, missing_rule, pca_components
    )


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
        missing: Photos to name as missing.
        missing_rule: What becomes of pairs without a score.

    Returns:
        All numbers.

    Raises:
        DataError: If a score is NaN or ``+inf``, or too few pairs have a score.
    """
    num_missing = int(np.count_nonzero(np.isneginf(scores)))
    if num_missing and missing_rule == "error":
        raise DataError(f"{num_missing} pairs have no score, and missing is error")
    filled = _fill(scores, missing_rule)
    thresholds = fold_thresholds(filled, pairs.same, pairs.fold)
    return judged_scores(
        filled, thresholds, pairs, missing, num_missing, missing_rule, None
    )


def judged_scores(
    scores: Float64[np.ndarray, " pairs"],
    thresholds: Float64[np.ndarray, " folds"],
    pairs: PairList,
    missing: Sequence[str],
    num_missing_pairs: int,
    missing_rule: MissingRule,
    pca_components: int | None,
) -> Evaluation:
    """All numbers of scores whose thresholds are chosen already; see ``Evaluation``."""
    roc = roc_curve(scores, pairs.same)
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
        num_missing_pairs=num_missing_pairs,
        missing_rule=missing_rule,
        pca_components=pca_components,
    )


def _fill(
    scores: Float64[np.ndarray, " pairs"], missing_rule: MissingRule
) -> Float64[np.ndarray, " pairs"]:
    """The scores with what the rule makes of pairs that have none."""
    scored = ~np.isneginf(scores)
    if missing_rule != "lowest" or scored.all() or not scored.any():
        return scores
    return np.where(scored, scores, scores[scored].min())


def _find_rows(
    embeddings: Float[np.ndarray, "images dim"], images: Sequence[str], pairs: PairList
) -> tuple[dict[str, int], list[str]]:
    """Row of each source that the pairs name, and the sources that have none."""
    if len(embeddings) != len(images):
        raise DataError(
            "embeddings and images must have one length, got "
            f"{len(embeddings)} embeddings and {len(images)} images"
        )
    keys = list(map(photo_key, images))
    row_of_key = dict(zip(keys, range(len(keys)), strict=True))
    if len(row_of_key) < len(keys):
        row = next(row for row, key in enumerate(keys) if key in keys[:row])
        earlier = keys.index(keys[row])
        raise DataError(
            "each photo must have one embedding (the extension does not count); "
            f"rows {earlier} and {row} are {images[earlier]!r} and {images[row]!r}"
        )
    rows: dict[str, int] = {}
    missing: list[str] = []
    for source in pairs.sources:
        found = row_of_key.get(photo_key(source))
        if found is None:
            missing.append(source)
        else:
            rows[source] = found
    return rows, missing


def _check_used(
    embeddings: Float64[np.ndarray, "images dim"], sources: Sequence[str]
) -> None:
    for wrong, what in (
        (~np.isfinite(embeddings).all(axis=1), "NaN or infinity"),
        (~embeddings.any(axis=1), "nothing but zeros"),
    ):
        if wrong.any():
            raise DataError(
                f"{np.count_nonzero(wrong)} embeddings hold {what}, the first is that "
                f"of {sources[int(wrong.argmax())]!r}; leave out photos without an "
                "embedding, their pairs are counted as missing"
            )


def _pair_cosine(
    vectors: Float64[np.ndarray, "images dim"],
    left: Int64[np.ndarray, " pairs"],
    right: Int64[np.ndarray, " pairs"],
) -> Float64[np.ndarray, " pairs"]:
    """Cosine of each pair; -inf where an index is -1.

    A zero vector (an embedding that equals the PCA's mean) has no direction: 0.
    """
    dots = np.einsum("ij,ij->i", vectors[left], vectors[right])
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    products = lengths[left] * lengths[right]
    cosine: Float64[np.ndarray, " pairs"] = np.divide(
        dots, products, out=np.zeros_like(dots), where=products > 0
    )
    cosine[(left < 0) | (right < 0)] = -np.inf
    return cosine


def _pair_euclidean(
    vectors: Float64[np.ndarray, "images dim"],
    left: Int64[np.ndarray, " pairs"],
    right: Int64[np.ndarray, " pairs"],
) -> Float64[np.ndarray, " pairs"]:
    """Minus the distance of each pair; -inf where an index is -1."""
    distances = np.linalg.norm(vectors[left] - vectors[right], axis=1)
    scores: Float64[np.ndarray, " pairs"] = -distances
    scores[(left < 0) | (right < 0)] = -np.inf
    return scores


_MEASURES = {"cosine": _pair_cosine, "euclidean": _pair_euclidean}
