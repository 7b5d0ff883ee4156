"""Which frames of a video are taken."""

import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int64

from facever.errors import ParameterError
from facever.verification.protocols.text import is_count

FrameRuleKind = Literal["all", "first", "every", "random"]
_FORM = "all, first:N, every:N or random:N with N from 1"


@dataclass(frozen=True)
class FrameRule:
    """Which frames of a video are taken.

    Attributes:
        kind: ``all`` of them; the ``first`` ``number``; ``every`` ``number``-th, from
            the first on; or ``number`` drawn at ``random`` without replacement. A video
            with fewer frames than asked for gives all it has.
        number: As above; has no meaning for ``all``.
        seed: Of ``random``. What is drawn of a video hangs on the seed, the video's
            name and its number of frames alone.
    """

    kind: FrameRuleKind
    number: int = 1
    seed: int = 0

    def __str__(self) -> str:
        if self.kind == "all":
            return "all"
        seed = f" with seed {self.seed}" if self.kind == "random" else ""
        return f"{self.kind}:{self.number}{seed}"

    def take(self, video: str, num_frames: int) -> Int64[np.ndarray, " taken"]:
        """Places of the frames taken, ascending.

        Args:
            video: Name of the video, such as ``"A_B/0"``.
            num_frames: How many it has.
        """
        every = np.arange(num_frames)
        if self.kind == "first":
            return every[: self.number]
        if self.kind == "every":
            return every[:: self.number]
        if self.kind == "random" and self.number < num_frames:
            generator = np.random.default_rng([self.seed, zlib.crc32(video.encode())])
            return np.sort(generator.choice(every, self.number, replace=False))
        return every


def parse_frame_rule(text: str, seed: int = 0) -> FrameRule:
    """Read a frame rule.

    Args:
        text: ``all``, ``first:N``, ``every:N`` or ``random:N``.
        seed: Of ``random``, from 0.

    Raises:
        ParameterError: If it is none of them.
    """
    kind, colon, number = text.partition(":")
    if seed < 0:
        raise ParameterError(f"the seed of a frame rule must be >= 0, got {seed}")
    if text == "all":
        return FrameRule("all")
    for choice in get_args(FrameRuleKind):
        if colon and kind == choice != "all" and is_count(number):
            return FrameRule(choice, int(number), seed)
    raise ParameterError(f"a frame rule must be {_FORM}, got {text!r}")
