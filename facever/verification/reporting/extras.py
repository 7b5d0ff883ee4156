"""What a report can show in addition to the evaluations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from facever.verification.groups.comparison import GroupComparison
from facever.verification.protocols.video_frames import FrameCounts
from facever.verification.reporting.sections.quality import Qualities
from facever.verification.rules import RuleResult
from facever.verification.uncertainty.intervals import BootstrapIntervals
from facever.verification.uncertainty.paired import PairedComparison


@dataclass(frozen=True)
class ReportExtras:
    """What is shown in addition to the evaluations; what is empty is left out.

    Attributes:
        bootstraps: Intervals over draws of people or pairs, by the name of the model.
        rules: The headline's embeddings under other projects' rules, by the rule's
            name.
        differences: Differences of two models, the first less the second, by the names
            of both. Where there are any, the first evaluation is the best, and pairs
            are shown that others judge differently than ``reference``.
        reference: The model that the others are set beside there; None takes the first.
        frames: What became of the frames, where the pairs are of videos.
        groups: The headline's error rates by groups.
        qualities: What qualities of the photos say of the headline's errors.
    """

    bootstraps: Mapping[str, BootstrapIntervals] = field(default_factory=dict)
    rules: Mapping[str, RuleResult] = field(default_factory=dict)
    differences: Mapping[tuple[str, str], PairedComparison] = field(
        default_factory=dict
    )
    reference: str | None = None
    frames: FrameCounts | None = None
    groups: GroupComparison | None = None
    qualities: Qualities | None = None
