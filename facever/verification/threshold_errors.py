"""The errors of a set threshold over all pairs of some people, with intervals.

A false match rate over all pairs of a set is an average over people, who are few beside
their pairs: a thousand photos of a hundred people make half a million pairs, but only a
hundred people answer for them. The interval of the rate therefore knows people, as that
of a group does; see ``groups.clustered_rates``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from facever.inference.header import MeasuredOn
from facever.inference.vectors import unit_vectors
from facever.progress import Advance, ignore_progress
from facever.verification.all_pairs import accepted_impostors, count_pairs
from facever.verification.groups.clustered_rates import (
    ClusteredRate,
    PairSums,
    clustered_rates,
)


@dataclass(frozen=True)
class ThresholdErrors:
    """What a threshold does to all pairs of a set of people.

    Attributes:
        num_photos: Number of photos.
        num_people: Number of people.
        fmr: False matches among the pairs of two people, with a 95 % interval that
            knows people.
        fnmr: The same of false non-matches among the pairs of one person.
    """

    num_photos: int
    num_people: int
    fmr: ClusteredRate
    fnmr: ClusteredRate


def threshold_errors(
    embeddings: Float32[np.ndarray, "photos dim"],
    labels: Int64[np.ndarray, " photos"],
    threshold: float,
    advance: Advance = ignore_progress,
) -> ThresholdErrors:
    """Count the errors of a threshold, exactly, over all pairs of a set.

    Args:
        embeddings: Embeddings of any length but zero.
        labels: The identity of each photo.
        threshold: Pairs of a higher cosine are accepted.
        advance: Called with the number of photos done since the last call.

    Returns:
        The errors.
    """
    order = np.argsort(labels, kind="stable")
    people, codes = np.unique(labels[order], return_inverse=True)
    units = unit_vectors(embeddings[order])
    return ThresholdErrors(
        num_photos=len(codes),
        num_people=len(people),
        fmr=clustered_rates([_impostor_sums(units, codes, threshold, advance)])[0],
        fnmr=clustered_rates([_genuine_sums(units, codes, threshold)])[0],
    )


def describe_errors(
    errors: ThresholdErrors, crops: str, fingerprint: str
) -> MeasuredOn:
    """The errors of a threshold as a model file keeps them.

    Args:
        errors: The errors of at least one pair of one person, and one of two.
        crops: The name of the crops.
        fingerprint: The fingerprint of the crop store that holds them.
    """
    fmr, fnmr = errors.fmr, errors.fnmr
    assert fmr.rate is not None
    assert fmr.interval
    assert fnmr.rate is not None
    assert fnmr.interval
    return MeasuredOn(
        crops=crops,
        fingerprint=fingerprint,
        num_photos=errors.num_photos,
        num_people=errors.num_people,
        num_impostor=fmr.num_pairs,
        num_genuine=fnmr.num_pairs,
        fmr=fmr.rate,
        fmr_low=fmr.interval.low,
        fmr_high=fmr.interval.high,
        fnmr=fnmr.rate,
        fnmr_low=fnmr.interval.low,
        fnmr_high=fnmr.interval.high,
    )


def _impostor_sums(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    threshold: float,
    advance: Advance,
) -> PairSums:
    """What ``PairSums.of`` gives for all pairs, without making a list of them."""
    counts = np.bincount(codes).astype(np.float64)
    _, num_pairs = count_pairs(codes)
    if not num_pairs:
        return PairSums(0, 0, 0, 0, 0.0)
    of_person = np.zeros(len(counts))
    couples: list[Int64[np.ndarray, " accepted"]] = []
    for left, right in accepted_impostors(units, codes, threshold, advance):
        first, second = codes[left], codes[right]
        of_person += np.bincount(first, minlength=len(counts))
        of_person += np.bincount(second, minlength=len(counts))
        couples.append(first * len(counts) + second)
    both, num_both = np.unique(np.concatenate(couples), return_counts=True)
    num_errors = int(num_both.sum())
    rate = num_errors / num_pairs
    # The pairs of each person, and of each two people.
    pairs_of = counts * (len(codes) - counts)
    squares_of_both = ((counts**2).sum() ** 2 - (counts**4).sum()) / 2
    first, second = np.divmod(both, len(counts))
    residual = of_person - rate * pairs_of
    residuals_of_both = (
        (num_both.astype(np.float64) ** 2).sum()
        - 2 * rate * (num_both * counts[first] * counts[second]).sum()
        + rate**2 * squares_of_both
    )
    own = num_errors * (1 - rate) ** 2 + (num_pairs - num_errors) * rate**2
    return PairSums(
        num_errors=num_errors,
        num_pairs=num_pairs,
        num_people=len(counts),
        num_together=round((pairs_of**2).sum() - squares_of_both - num_pairs),
        together=float(residual @ residual - residuals_of_both - own),
    )


def _genuine_sums(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    threshold: float,
) -> PairSums:
    wrong, people = [], []
    for person, scores in _genuine_scores(units, codes):
        wrong.append(scores <= threshold)
        people.append(np.full(scores.size, person))
    who = np.concatenate(people)
    return PairSums.of(np.concatenate(wrong), who, who)


def _genuine_scores(
    units: Float32[np.ndarray, "photos dim"], codes: Int64[np.ndarray, " photos"]
) -> Iterator[tuple[int, Float32[np.ndarray, " pairs"]]]:
    ends = np.cumsum(np.bincount(codes)).tolist()
    for person, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        own = units[start:end]
        yield person, (own @ own.T)[np.triu_indices(len(own), k=1)]
