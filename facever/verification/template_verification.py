"""Pairs of templates to rates: IJB-B's and IJB-C's 1:1 protocol.

Stated rules:

- A pair's score is the cosine of its two templates; it is accepted when its score is
  greater than the threshold.
- TAR at FAR is exact, at the loosest threshold whose FAR is not above the target.
  InsightFace's evaluation takes the threshold whose FAR is nearest to the target, above
  or below.
- A template without an embedding is *missing*: its pairs score ``-inf``, so no
  threshold accepts them, and they are counted in FAR and TAR. FMR and FNMR leave them
  out.
- Who is on the templates is known from the genuine pairs: templates that they join are
  of one person.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facever.errors import DataError
from facever.progress import Advance, ignore_progress
from facever.verification.groups.clustered_rates import PairSums, clustered_rates
from facever.verification.pair_scores import unit_cosines
from facever.verification.protocols.template_lists import TemplatePairs
from facever.verification.protocols.template_pooling import PooledTemplates
from facever.verification.roc import (
    Roc,
    TarAtFar,
    area_under_curve,
    equal_error_rate,
    roc_curve,
    tar_at_far,
)
from facever.verification.uncertainty.error_rates import (
    CountedRate,
    ErrorRates,
    compared_rates,
)
from facever.verification.uncertainty.intervals import Interval, wilson

TEMPLATE_FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class TemplateVerification:
    """All numbers of one model on pairs of templates.

    Attributes:
        scores: Cosine of each pair; ``-inf`` where a template is missing.
        same: True for genuine pairs.
        roc: The ROC curve over all pairs.
        auc: Area under the ROC curve.
        eer: Equal error rate.
        tar: TAR at each of ``TEMPLATE_FARS``.
        rates: Error rates of the pairs that could be compared. The interval of FNMR
            knows the people, see ``clustered_rates``; the threshold is as it is.
        num_contradictions: Number of impostor pairs of two templates that genuine pairs
            say are of one person.
        num_repeated: Number of pairs that are listed again, in either order of their
            templates.
        num_of_one: Number of pairs of a template with itself.
    """

    scores: Float64[np.ndarray, " pairs"]
    same: Bool[np.ndarray, " pairs"]
    roc: Roc
    auc: float
    eer: float
    tar: list[TarAtFar]
    rates: ErrorRates
    num_contradictions: int
    num_repeated: int
    num_of_one: int

    @property
    def num_missing_pairs(self) -> int:
        """Number of pairs with a missing template."""
        return int(np.count_nonzero(np.isneginf(self.scores)))

    def tar_interval(self, answer: TarAtFar) -> Interval | None:
        """Wilson's interval of a TAR, which takes pairs for independent."""
        if answer.tar is None:
            return None
        num_genuine = self.roc.num_genuine
        return wilson(round(answer.tar * num_genuine), num_genuine)


def compare_templates(
    pooled: PooledTemplates,
    pairs: TemplatePairs,
    advance: Advance = ignore_progress,
) -> Float64[np.ndarray, " pairs"]:
    """The cosine of each pair of templates; ``-inf`` where one is missing.

    Args:
        pooled: The templates.
        pairs: The pairs.
        advance: Called with the number of pairs compared since the last call.
    """
    scores = unit_cosines(pooled.units, pairs.left, pairs.right, advance)
    scores[~(pooled.present[pairs.left] & pooled.present[pairs.right])] = -np.inf
    return scores


def verify_templates(
    pooled: PooledTemplates,
    pairs: TemplatePairs,
    scores: Float64[np.ndarray, " pairs"],
) -> TemplateVerification:
    """All numbers of pairs of templates.

    In memory are about 70 bytes a pair: 1.1 GB for IJB-C's 15.7 million.

    Args:
        pooled: The templates.
        pairs: The pairs.
        scores: What ``compare_templates`` gives.

    Raises:
        DataError: If all pairs, or all that could be compared, are of one kind.
    """
    left, right, same = pairs.left, pairs.right, pairs.same
    compared = ~np.isneginf(scores)
    num_genuine = int(np.count_nonzero(same))
    found = np.count_nonzero(same & compared), np.count_nonzero(~same & compared)
    if not all(found):
        raise DataError(
            "templates need genuine and impostor pairs that can be compared; of "
            f"{num_genuine:,} genuine and {same.size - num_genuine:,} impostor pairs "
            f"{found[0]:,} and {found[1]:,} have embeddings of both their templates"
        )
    joined = coo_array(
        (np.ones(num_genuine, bool), (left[same], right[same])),
        shape=(len(pooled.present),) * 2,
    )
    person = connected_components(joined, directed=False)[1]
    people = person[left[same & compared]].astype(np.int64)

    def fnmr_interval(
        _answer: TarAtFar, accepted: Bool[np.ndarray, " genuine"]
    ) -> Interval:
        [fnmr] = clustered_rates([PairSums.of(~accepted, people, people)])
        assert fnmr.interval is not None
        return fnmr.interval

    all_compared = bool(compared.all())
    roc = roc_curve(scores, same)
    taken = slice(None) if all_compared else compared
    rates = compared_rates(
        roc if all_compared else roc_curve(scores[taken], same[taken]),
        scores[taken],
        same[taken],
        TEMPLATE_FARS,
        all_pairs=(num_genuine, same.size - num_genuine),
        failure_to_acquire=_failures(pooled, pairs),
        fnmr_interval=fnmr_interval,
        num_identities=len(np.unique(people)),
    )
    # One number for both orders of two templates.
    keys = np.minimum(left, right).astype(np.int64) * len(pooled.present)
    keys += np.maximum(left, right)
    keys.sort()
    contradicted = (person[left] == person[right]) & ~same
    return TemplateVerification(
        scores=scores,
        same=same,
        roc=roc,
        auc=area_under_curve(roc),
        eer=equal_error_rate(roc),
        tar=tar_at_far(roc, TEMPLATE_FARS),
        rates=rates,
        num_contradictions=int(np.count_nonzero(contradicted)),
        num_repeated=int(np.count_nonzero(keys[1:] == keys[:-1])),
        num_of_one=int(np.count_nonzero(left == right)),
    )


def _failures(pooled: PooledTemplates, pairs: TemplatePairs) -> CountedRate:
    """Missing templates among those that pairs name."""
    named = np.zeros(len(pooled.present), bool)
    named[pairs.left] = named[pairs.right] = True
    return CountedRate(
        int(np.count_nonzero(named & ~pooled.present)), int(np.count_nonzero(named))
    )
