"""Which frames of a video are taken."""

import re
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int64

from facever.errors import ParameterError

NumberedRuleKind = Literal["first", "every", "random"]
FrameRuleKind = Literal["all", NumberedRuleKind]
_FORM = "all, first:N, every:N or random:N with N from 1"
_NUMBERED: tuple[NumberedRuleKind, ...] = get_args(NumberedRuleKind)
_COUNT = re.compile("0*[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class FrameRule:
    """Which frames of a video are taken.

    Attributes:
        kind: ``all`` of them; the ``first`` ``number``; ``every`` ``number``-th, from
            the first on; or ``number`` drawn at ``random`` without replacement. A video
            with fewer frames than asked for gives all it has.
        number: The number that ``kind`` speaks of; it has no meaning for ``all``.
        seed: Seed of the draw of ``random``. Which frames of a video are drawn depends
            only on the seed, the video's name and its number of frames.
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
            num_frames: Number of frames that the video has.
        """
        every = np.arange(num_frames)
        if self.kind == "first":
            return every[: self.number]
        if self.kind == "every":
            return every[:: self.number]
        if self.kind == "random" and self.number < num_frames:
            name = video.encode(errors="surrogateescape")
            generator = np.random.default_rng([self.seed, zlib.crc32(name)])
            return np.sort(generator.choice(every, self.number, replace=False))
        return every


def parse_frame_rule(text: str, seed: int = 0) -> FrameRule:
    """Read a frame rule.

    Args:
        text: ``all``, ``first:N``, ``every:N`` or ``random:N``.
        seed: Seed of the draw of ``random``, from 0.

    Raises:
        ParameterError: If the text is not of such a form or the seed is below 0.
    """
    if seed < 0:
        raise ParameterError(f"the seed of a frame rule must be >= 0, got {seed}")
    if text == "all":
        return FrameRule("all")
    kind, _, number = text.partition(":")
    for numbered in _NUMBERED:
        if kind == numbered and _COUNT.fullmatch(number):
            return FrameRule(numbered, int(number), seed)
    raise ParameterError(f"a frame rule must be {_FORM}, got {text!r}")
