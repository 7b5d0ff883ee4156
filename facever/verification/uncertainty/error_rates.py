"""Error rates by the terms of ISO/IEC 19795-1, and the smallest that pairs can show.

*Matching* errors are of comparisons that took place, so of pairs whose photos both have
an embedding: the false match rate (FMR) of impostor pairs, the false non-match rate
(FNMR) of genuine pairs. *System* errors count the photos that gave nothing to compare,
too: a pair with such a photo is not accepted, so it raises the false reject rate (FRR)
and lowers the false accept rate (FAR). The share of such photos is the rate of failures
to acquire. A list of pairs does not say which photo of a pair is the enrolled one, so
that failures to enrol are among them.

References:
    ISO/IEC 19795-1:2021, Biometric performance testing and reporting, part 1.
    Doddington et al., The NIST speaker recognition evaluation, 2000 (the rule of 30).
    Jovanovic and Levy, A look at the rule of three, 1997.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from facever.errors import ParameterError
from facever.verification.evaluation import TARGET_FARS, Evaluation
from facever.verification.roc import (
    Roc,
    TarAtFar,
    equal_error_rate,
    roc_curve,
    tar_at_far,
)
from facever.verification.uncertainty.error_bars import folder_identities
from facever.verification.uncertainty.intervals import (
    BootstrapIntervals,
    Interval,
    bootstrap,
    check_level,
    wilson,
)

_ERRORS_OF_RULE_OF_30 = 30


@dataclass(frozen=True)
class CountedRate:
    """A share of errors, with the counts that it comes from.

    Attributes:
        num_errors: Number of errors.
        num_trials: Number of trials, at least 1.
    """

    num_errors: int
    num_trials: int

    @property
    def rate(self) -> float:
        """Errors over trials, in [0, 1]."""
        return self.num_errors / self.num_trials

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval, which takes the trials for independent."""
        return wilson(self.num_errors, self.num_trials)


@dataclass(frozen=True)
class ErrorsAtFmr:
    """What goes wrong at the loosest threshold whose FMR is not above a target.

    Attributes:
        target_fmr: The false match rate asked for.
        threshold: The score above which a pair is accepted.
        fmr: False matches among the compared impostor pairs.
        fnmr: False non-matches among the compared genuine pairs.
        fnmr_interval: 95 % interval of the FNMR over draws of people (of pairs, where
            people are unknown), the threshold chosen again in each; of templates see
            ``TemplateVerification``.
        far: False accepts among all impostor pairs.
        frr: False rejects among all genuine pairs.
    """

    target_fmr: float
    threshold: float
    fmr: CountedRate
    fnmr: CountedRate
    fnmr_interval: Interval
    far: CountedRate
    frr: CountedRate


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of one model on a list of pairs.

    Attributes:
        failure_to_acquire: Photos without an embedding among the photos that the pairs
            name.
        roc: The curve of the pairs that were compared.
        eer: Their equal error rate, where FMR and FNMR are one.
        at_fmr: The errors at each target FMR that the impostor pairs can show.
        notes: Why a target is left out, a line each.
        smallest_fmr: The smallest FMR that this number of independent impostor pairs
            can show with 95 % confidence, by the rule of three.
        smallest_exact_fmr: The smallest FMR that they can show to within 30 % of it,
            with 90 % confidence, by the rule of 30; above 1 where there are too few.
        num_identities: Number of people whom the intervals know; None where they take
            pairs for independent.
    """

    failure_to_acquire: CountedRate
    roc: Roc
    eer: float
    at_fmr: list[ErrorsAtFmr]
    notes: tuple[str, ...]
    smallest_fmr: float
    smallest_exact_fmr: float
    num_identities: int | None


def rule_of_three(num_trials: int, level: float = 0.95) -> float:
    """The error rate that is ruled out when independent trials show no error.

    It is exact: with this rate, a share ``1 - level`` of all tests would show none. For
    many trials and 95 % it is close to 3 over their number, hence the name.

    Args:
        num_trials: Number of trials, at least 1.
        level: Confidence, in (0, 1).

    Returns:
        A rate in (0, 1).

    Raises:
        ParameterError: If an argument is out of range.

    Examples:
        >>> f"{rule_of_three(300):.5f}"
        '0.00994'
    """
    check_level(level)
    if num_trials < 1:
        raise ParameterError(f"the rule of three needs a trial, got {num_trials}")
    return float(-np.expm1(np.log1p(-level) / num_trials))


def error_rates(
    evaluation: Evaluation, drawn: BootstrapIntervals | None = None
) -> ErrorRates | None:
    """The error rates of an evaluation.

    Args:
        evaluation: The evaluation; what it does with missing pairs makes no difference.
        drawn: Its intervals from ``folder_bootstrap``, where they are there already;
            they serve if no pair is missing.

    Returns:
        The rates; None where no genuine or no impostor pair could be compared.
    """
    pairs, compared = evaluation.pairs, evaluation.compared
    same, scores = pairs.same[compared], evaluation.scores[compared]
    if not 0 < np.count_nonzero(same) < same.size:
        return None
    roc = roc_curve(scores, same)
    if drawn is None or evaluation.num_missing_pairs:
        drawn = _bootstrap_of_compared(evaluation)
    tar_of = dict(zip(TARGET_FARS, drawn.tar, strict=True))

    def fnmr_interval(
        answer: TarAtFar, _accepted: Bool[np.ndarray, " genuine"]
    ) -> Interval:
        tar = tar_of[answer.target_far]
        assert tar is not None
        return Interval(1 - tar.high, 1 - tar.low, tar.level)

    return compared_rates(
        roc,
        scores,
        same,
        TARGET_FARS,
        all_pairs=(
            int(np.count_nonzero(pairs.same)),
            int(np.count_nonzero(~pairs.same)),
        ),
        failure_to_acquire=CountedRate(len(evaluation.missing), len(pairs.sources)),
        fnmr_interval=fnmr_interval,
        num_identities=drawn.num_identities,
    )


def compared_rates(
    roc: Roc,
    scores: Float64[np.ndarray, " pairs"],
    same: Bool[np.ndarray, " pairs"],
    targets: Sequence[float],
    *,
    all_pairs: tuple[int, int],
    failure_to_acquire: CountedRate,
    fnmr_interval: Callable[[TarAtFar, Bool[np.ndarray, " genuine"]], Interval],
    num_identities: int | None,
) -> ErrorRates:
    """The error rates of the pairs that could be compared.

    Args:
        roc: Their curve.
        scores: Their scores, all finite.
        same: True for genuine pairs.
        targets: False match rates in (0, 1].
        all_pairs: Number of genuine and of impostor pairs, with those that could not be
            compared.
        failure_to_acquire: See ``ErrorRates``.
        fnmr_interval: The interval of the FNMR, from what ``tar_at_far`` says of a
            target and from which genuine pairs are accepted.
        num_identities: See ``ErrorRates``.
    """
    num_genuine, num_impostor = all_pairs
    genuine, impostor = scores[same], scores[~same]
    at_fmr, notes = [], []
    for answer in tar_at_far(roc, targets):
        if answer.threshold is None:
            notes.append(answer.note)
            continue
        accepted = genuine > answer.threshold
        matches = int(np.count_nonzero(accepted))
        false_matches = int(np.count_nonzero(impostor > answer.threshold))
        at_fmr.append(
            ErrorsAtFmr(
                target_fmr=answer.target_far,
                threshold=answer.threshold,
                fmr=CountedRate(false_matches, roc.num_impostor),
                fnmr=CountedRate(roc.num_genuine - matches, roc.num_genuine),
                fnmr_interval=fnmr_interval(answer, accepted),
                far=CountedRate(false_matches, num_impostor),
                frr=CountedRate(num_genuine - matches, num_genuine),
            )
        )
    return ErrorRates(
        failure_to_acquire=failure_to_acquire,
        roc=roc,
        eer=equal_error_rate(roc),
        at_fmr=at_fmr,
        notes=tuple(notes),
        smallest_fmr=rule_of_three(roc.num_impostor),
        smallest_exact_fmr=_ERRORS_OF_RULE_OF_30 / roc.num_impostor,
        num_identities=num_identities,
    )


def _bootstrap_of_compared(evaluation: Evaluation) -> BootstrapIntervals:
    pairs, compared = evaluation.pairs, evaluation.compared
    people = folder_identities(pairs)
    left, right = (None, None) if people is None else (who[compared] for who in people)
    return bootstrap(
        scores=evaluation.scores[compared],
        same=pairs.same[compared],
        right=(evaluation.accepted == pairs.same)[compared],
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
    )
