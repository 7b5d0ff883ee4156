"""Does a quality of photos say which pairs go wrong? Error against discard curves.

A photo whose quality is below a cut-off is refused, and so are its pairs; the quality
of a pair is the lower one of its two photos. A quality that is worth anything lowers
the false non-match rate of the pairs that are left, while the threshold stays as it is.

References:
    Grother and Tabassi, Performance of biometric quality measures, 2007.
    ISO/IEC 29794-1, Biometric sample quality, part 1 (error versus discard
    characteristic).
    Schlett et al., Considerations on the evaluation of biometric quality assessment
    algorithms, 2023 (ties, and areas over a part of the curve).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from facever.errors import DataError
from facever.verification.evaluation import Evaluation
from facever.verification.uncertainty.error_rates import CountedRate

MOST_DISCARDED = 0.2
"""Areas are over the discard of up to this share of the genuine pairs."""

REFUSED_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the photos for which cut-offs are listed."""


@dataclass(frozen=True)
class QualityCut:
    """What a cut-off does.

    Attributes:
        cutoff: Photos of a lower quality are refused.
        refused: Photos that are refused, among those with a quality.
        fnmr: False non-matches among the genuine pairs that are left.
        fmr: False matches among the impostor pairs that are left; None without any.
    """

    cutoff: float
    refused: CountedRate
    fnmr: CountedRate
    fmr: CountedRate | None


@dataclass(frozen=True)
class DiscardCurve:
    """A quality, and the errors that are left when pairs of low quality are not judged.

    Attributes:
        discarded: Shares of the genuine pairs that cut-offs discard, from 0 upwards.
            Pairs of equal quality go together.
        fnmr: False non-match rate of the pairs that are left, at the same points.
        area: Mean of the FNMR over discards from 0 to ``MOST_DISCARDED``.
        ideal_area: The same where the wrong pairs are discarded first.
        cuts: Cut-offs that refuse about ``REFUSED_SHARES`` of the photos, each once.
        num_photos_without: Photos with an embedding and without a quality; their pairs
            are left out.
        num_pairs_left_out: The number of these pairs.
    """

    discarded: Float64[np.ndarray, " points"]
    fnmr: Float64[np.ndarray, " points"]
    area: float
    ideal_area: float
    cuts: list[QualityCut]
    num_photos_without: int
    num_pairs_left_out: int

    @property
    def gain(self) -> float:
        """The share of what could be gained, 1 for the ideal and 0 for no use at all.

        It is negative where low quality marks the better pairs, and 0 where there is
        nothing to gain.
        """
        possible = float(self.fnmr[0]) - self.ideal_area
        return (float(self.fnmr[0]) - self.area) / possible if possible > 0 else 0.0


def discard_curve(
    evaluation: Evaluation, threshold: float, quality_of: Mapping[str, float]
) -> DiscardCurve:
    """The curve of one quality at a threshold.

    Args:
        evaluation: Scores of the pairs.
        threshold: Pairs of a higher score are accepted.
        quality_of: The quality of photos by their source as the pairs name them; higher
            is better.

    Returns:
        The curve.

    Raises:
        DataError: If a quality is NaN, or no genuine pair has two photos with one.

    Examples:
        Of four pairs of one person the two of low quality are not recognised:

        >>> from facever.verification.evaluation import evaluate_scores
        >>> from facever.verification.protocols import PairList
        >>> left = [f"{name}/1" for name in "abcdefgh"]
        >>> right = [f"{name}/2" for name in "abcd"] + [f"{name}/2" for name in "bcda"]
        >>> pairs = PairList(left, right, np.arange(8) < 4, np.arange(8) % 2)
        >>> scores = np.array([0.1, 0.2, 0.8, 0.9, 0.3, 0.3, 0.3, 0.3])
        >>> found = evaluate_scores(scores, pairs)
        >>> quality_of = dict.fromkeys(left + right, 1.0) | {"a/1": 0.0, "b/2": 0.5}
        >>> curve = discard_curve(found, 0.5, quality_of)
        >>> curve.discarded.tolist(), curve.fnmr.round(2).tolist()
        ([0.0, 0.25, 0.5], [0.5, 0.33, 0.0])
    """
    for source, quality in quality_of.items():
        if quality != quality:
            raise DataError(f"the quality of {source} is NaN: leave it out, or mend it")
    pairs = evaluation.pairs
    unknown = float("nan")
    of_pairs = np.minimum(
        [quality_of.get(source, unknown) for source in pairs.left],
        [quality_of.get(source, unknown) for source in pairs.right],
    )
    judged = evaluation.compared & ~np.isnan(of_pairs)
    accepted = evaluation.scores > threshold
    genuine, impostor = judged & pairs.same, judged & ~pairs.same
    if not genuine.any():
        raise DataError(
            "no pair of one person has a quality for both photos: compare the names in "
            "the table of qualities with those of the pairs"
        )
    wrong = ~accepted[genuine]
    discarded, fnmr = _curve(of_pairs[genuine], wrong)
    # The pairs that are wrong have the lowest quality, and none ties with another.
    best = np.argsort(~wrong, kind="stable").argsort().astype(np.float64)
    missing = set(evaluation.missing)
    named = [source for source in pairs.sources if source not in missing]
    known = np.array([quality_of[name] for name in named if name in quality_of])
    return DiscardCurve(
        discarded=discarded,
        fnmr=fnmr,
        area=_mean_height(discarded, fnmr),
        ideal_area=_mean_height(*_curve(best, wrong)),
        cuts=[
            QualityCut(
                cutoff=cutoff,
                refused=CountedRate(int(np.count_nonzero(known < cutoff)), known.size),
                fnmr=rate,
                fmr=_errors_left(of_pairs[impostor], accepted[impostor], cutoff),
            )
            for cutoff in _cutoffs(known)
            if (rate := _errors_left(of_pairs[genuine], wrong, cutoff)) is not None
        ],
        num_photos_without=len(named) - known.size,
        num_pairs_left_out=int(np.count_nonzero(evaluation.compared & ~judged)),
    )


def _curve(
    quality: Float64[np.ndarray, " pairs"], wrong: Bool[np.ndarray, " pairs"]
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """Discarded shares and the error rate of the rest, one point a distinct quality."""
    order = np.argsort(quality, kind="stable")
    starts = np.flatnonzero(np.diff(quality[order], prepend=-np.inf))
    errors_before = np.append(0, np.cumsum(wrong[order]))[starts]
    left = quality.size - starts
    return starts / quality.size, (np.count_nonzero(wrong) - errors_before) / left


def _mean_height(
    discarded: Float64[np.ndarray, " points"], fnmr: Float64[np.ndarray, " points"]
) -> float:
    """Mean of the steps over [0, MOST_DISCARDED]; each lasts until the next point."""
    ends = np.append(np.minimum(discarded, MOST_DISCARDED), MOST_DISCARDED)
    return float(np.diff(ends) @ fnmr / MOST_DISCARDED)


def _cutoffs(quality: Float64[np.ndarray, " photos"]) -> list[float]:
    """For each of ``REFUSED_SHARES`` the quality of the first photo that stays."""
    ordered = np.sort(quality)
    places = (int(share * quality.size) for share in REFUSED_SHARES)
    return sorted({float(ordered[place]) for place in places if place})


def _errors_left(
    quality: Float64[np.ndarray, " pairs"],
    wrong: Bool[np.ndarray, " pairs"],
    cutoff: float,
) -> CountedRate | None:
    left = quality >= cutoff
    if not left.any():
        return None
    return CountedRate(int(np.count_nonzero(wrong & left)), int(np.count_nonzero(left)))
