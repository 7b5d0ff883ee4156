"""``facever evaluate ytf``: pairs of videos."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from facever.choices import VideoPooling
from facever.data.sources.frame_rule import parse_frame_rule
from facever.errors import ParameterError
from facever.stages.evaluation.evaluate import PairReport, report_pairs
from facever.stages.evaluation.features import Features, Inputs, find_features
from facever.stages.evaluation.judging import EXACT, Judging
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.evaluation import evaluate_scores
from facever.verification.protocols import (
    find_frames,
    mean_by_name,
    mean_frame_cosines,
    read_ytf_splits,
)
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.reporting.markup import Setting


def evaluate_ytf(
    out: str | Path,
    splits: str | Path,
    inputs: Inputs,
    judging: Judging = EXACT,
    *,
    frames: str = "all",
    pool: VideoPooling = "embeddings",
    seed: int = 0,
) -> PairReport:
    """Evaluate YouTube Faces: 5,000 pairs of videos in 10 folds.

    Args:
        out: Folder of the report.
        splits: The official ``splits.txt``.
        inputs: A model with the frames as photos, ``<Name>/<video>/<frame>.jpg``.
        judging: How pairs are compared and judged.
        frames: Which frames stand for a video: ``all``, ``first:N``, ``every:N`` or
            ``random:N``.
        pool: ``embeddings`` compares the means of the frames' embeddings; ``scores``
            takes the mean cosine over all pairs of frames, without a PCA and by our
            own rule alone, because no single embedding of a video could be projected
            or judged otherwise.
        seed: Seed of the draw of ``random`` frames.

    Returns:
        The numbers; the first evaluation is the headline.

    Raises:
        FaceverError: In the same cases as ``evaluate_lfw``.
    """
    out, splits = Path(out), Path(splits)
    judging.check()
    if judging.quality or inputs.min_quality:
        raise ParameterError(
            "YTF's pairs are of videos, not photos: omit quality and min_quality"
        )
    if pool not in ("embeddings", "scores"):
        raise ParameterError(f"pool must be embeddings or scores, got {pool!r}")
    if pool == "scores" and judging != Judging(
        pca=judging.pca,
        missing=judging.missing,
        groups=judging.groups,
        groups_far=judging.groups_far,
    ):
        raise ParameterError(
            "pool scores compares frames by cosine under the exact rule; leave out "
            "rule, pca_components, whiten, subtract_mean and measure, or pool "
            "embeddings"
        )
    if not inputs.photos:
        raise ParameterError("YTF needs a model and the frames as photos")
    inputs.check()
    rule = parse_frame_rule(frames, seed)
    check_report_folder(out)
    pairs = read_ytf_splits(splits)
    groups = judging.read_groups(pairs)
    chosen = find_frames(Path(inputs.photos), pairs.sources, rule)
    features = find_features(inputs, chosen.frames, out, face="center")
    rows, video, num_failed = chosen.match(features.images)
    embeddings, videos = features.embeddings[rows], chosen.videos
    settings: dict[str, Setting] = {
        **features.settings,
        "frames": f"{rule}; {len(chosen.frames):,} taken of "
        f"{int(chosen.num_found.sum()):,}, {int(num_failed.sum()):,} without a face",
        "pool": pool,
    }
    counts = FrameCounts(videos, chosen.num_found, chosen.num_taken, num_failed)
    reasons = {
        name: f"{failed} of its frames give no face"
        for name, failed in zip(videos, num_failed.tolist(), strict=True)
        if failed
    }
    means, named = mean_by_name(embeddings, video, videos)
    pooled = Features(means, named, settings, reasons, None, features.notes)
    title = f"YouTube Faces, {len(pairs):,} pairs of videos"
    if pool == "embeddings":
        return report_pairs(
            out, title, splits, pairs, pooled, judging, frames=counts, groups=groups
        )
    place = {name: index for index, name in enumerate(videos)}
    left, right = (
        np.array([place[name] for name in side]) for side in (pairs.left, pairs.right)
    )
    scores = mean_frame_cosines(embeddings, video, len(videos), left, right)
    present = set(named)
    missing = [name for name in videos if name not in present]
    evaluation = evaluate_scores(scores, pairs, missing, missing_rule=judging.missing)
    judged = {"mean cosine of frames": evaluation}
    plain = replace(judging, pca=False)
    return report_pairs(
        out, title, splits, pairs, pooled, plain, judged, counts, groups
    )
