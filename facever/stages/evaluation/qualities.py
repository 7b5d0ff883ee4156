"""Curves of an evaluation's errors against photos that are discarded."""

from collections.abc import Sequence

from facever.errors import DataError
from facever.results import counted
from facever.stages.evaluation.features import Features
from facever.stages.evaluation.photo_qualities import measure_quality
from facever.verification.evaluation import Evaluation
from facever.verification.quality import discard_curve
from facever.verification.reporting.sections.quality import Qualities
from facever.verification.uncertainty.error_rates import error_rates


def find_qualities(
    wanted: Sequence[str], model: str, evaluation: Evaluation, features: Features
) -> Qualities | None:
    """What qualities say of an evaluation's errors.

    The threshold is that of the strictest false match rate that the pairs can show.

    Args:
        wanted: Names of qualities, or paths of CSV files; see ``measure_quality``.
        model: The evaluation's name, such as ``PCA to 64, cosine``.
        evaluation: The evaluation.
        features: The embeddings of its photos, and their crops.

    Returns:
        The curves; None without a quality.

    Raises:
        DataError: If a table is not of that form, or names no photo of the pairs, or
            there are too few pairs to set a threshold.
    """
    if not wanted:
        return None
    rates = error_rates(evaluation)
    if rates is None or not rates.at_fmr:
        raise DataError(
            "too few pairs to set a threshold for --quality: it takes 10 impostor "
            "pairs and a genuine one"
        )
    at = rates.at_fmr[-1]
    photos = evaluation.pairs.sources
    curves = {
        name: discard_curve(evaluation, at.threshold, quality_of)
        for each in wanted
        for name, quality_of in measure_quality(
            each, photos, features.embeddings, features.images, features.store
        )
    }
    notes = [
        f"{name} is not known of {counted(curve.num_photos_without, 'photo')}; "
        f"{counted(curve.num_pairs_left_out, 'pair')} with them left out"
        for name, curve in curves.items()
        if curve.num_photos_without
    ]
    return Qualities(model, at.target_fmr, at.threshold, curves, tuple(notes))
