"""BLUFR: all pairs and open-set identification on LFW, in ten trials.

Each trial parts the people of LFW: 1,500 to train on, 4,249 to test. *Verification*:
the true accept rate at FAR 0.1 % over all pairs of the test photos (about 47 million).
*Identification*: one photo each of 1,000 test people is the gallery, their other photos
are the genuine probes, and all photos of the other 3,249 people the impostor probes;
the rate of genuine probes identified at rank 1 and FPIR 1 %. Reported is the mean over
the trials minus their sample standard deviation.

Whatever learns from LFW (a PCA, say) may learn from a trial's training photos alone.

Our rates are exact, at thresholds that never exceed their target, and ties count
against them (see ``identification``). The authors' toolkit rounds the number of false
accepts to the nearest, up to half a pair or probe above the target, and its threshold
is the lowest impostor score that is accepted; ours is the next lower one, the highest
that is not.

References:
    Liao, Lei, Yi and Li, A Benchmark Study of Large-scale Unconstrained Face
    Recognition, IJCB 2014, and its toolkit, version 1.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from facever.errors import DataError
from facever.progress import Advance, ignore_progress
from facever.verification.all_pairs import all_pairs_tar_at_far
from facever.verification.identification.gallery_search import (
    TpirAtFpir,
    evaluate_identification,
)
from facever.verification.protocols.blufr_trials import BlufrTrial, BlufrTrials
from facever.verification.roc import TarAtFar

TARGET_FAR = 1e-3
TARGET_FPIR = 1e-2


@dataclass(frozen=True)
class BlufrTrialResult:
    """What one trial says.

    Attributes:
        verification: True accept rate at ``TARGET_FAR`` over all pairs.
        identification: Rank-1 identification rate at ``TARGET_FPIR``.
        missing: Test photos without an embedding. Their pairs are rejected, and
            counted; for gallery and probes see ``identification``.
    """

    verification: TarAtFar
    identification: TpirAtFpir
    missing: list[str]


@dataclass(frozen=True)
class BlufrEvaluation:
    """What all trials say.

    Attributes:
        origin: Where the trials come from, see ``BlufrTrials``.
        results: The results of each trial.
        verification_rates: True accept rate of each trial.
        identification_rates: Rank-1 identification rate of each trial.
    """

    origin: str
    results: list[BlufrTrialResult]
    verification_rates: Float64[np.ndarray, " trials"]
    identification_rates: Float64[np.ndarray, " trials"]

    @property
    def missing(self) -> list[str]:
        """Test photos without an embedding, of all trials."""
        return sorted({photo for result in self.results for photo in result.missing})

    @property
    def reported_verification(self) -> float:
        """Mean minus sample standard deviation of the verification rates."""
        return _mean_minus_deviation(self.verification_rates)

    @property
    def reported_identification(self) -> float:
        """Mean minus sample standard deviation of the identification rates."""
        return _mean_minus_deviation(self.identification_rates)


def evaluate_blufr(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    trials: BlufrTrials,
    advance: Advance = ignore_progress,
) -> BlufrEvaluation:
    """Evaluate all trials with the same embeddings.

    Args:
        embeddings: One row an image; those that no trial names are ignored.
        images: Source of each row; its extension does not matter.
        trials: The trials, at least two.
        advance: Called with 1 after each trial.

    Raises:
        DataError: In the same cases as ``evaluate_blufr_trial``, if there are fewer
            than two trials, or if a trial has too few impostors for its targets.
    """
    if len(trials.trials) < 2:
        raise DataError(
            "BLUFR's mean minus standard deviation needs at least 2 trials, got "
            f"{len(trials.trials)} ({trials.origin})"
        )
    results = []
    for trial in trials.trials:
        results.append(evaluate_blufr_trial(embeddings, images, trial))
        advance(1)
    for number, result in enumerate(results, start=1):
        note = result.verification.note or result.identification.note
        if note:
            raise DataError(f"trial {number} of {trials.origin}: {note}")
    return BlufrEvaluation(
        origin=trials.origin,
        results=results,
        verification_rates=np.array([r.verification.tar for r in results], np.float64),
        identification_rates=np.array(
            [r.identification.tpir for r in results], np.float64
        ),
    )


def evaluate_blufr_trial(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    trial: BlufrTrial,
) -> BlufrTrialResult:
    """Evaluate one trial; its embeddings may come from its own training photos.

    Raises:
        DataError: In the same cases as ``all_pairs_tar_at_far`` and
            ``evaluate_identification``.
    """
    identification = evaluate_identification(
        embeddings, images, trial.gallery, trial.probes, [TARGET_FPIR]
    )
    return BlufrTrialResult(
        verification=all_pairs_tar_at_far(embeddings, images, trial.test, TARGET_FAR),
        identification=identification.tpir[0],
        missing=identification.missing_gallery + identification.missing_probes,
    )


def _mean_minus_deviation(rates: Float64[np.ndarray, " trials"]) -> float:
    return float(rates.mean() - rates.std(ddof=1))
