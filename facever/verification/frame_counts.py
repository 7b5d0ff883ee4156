"""What became of the frames of each video."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class FrameCounts:
    """Frames of videos, counted.

    Attributes:
        videos: Names of the videos that the pairs name.
        num_found: Frames that each has.
        num_taken: Frames of them that the frame rule took.
        num_failed: Frames of these that give no face.
    """

    videos: list[str]
    num_found: Int64[np.ndarray, " videos"]
    num_taken: Int64[np.ndarray, " videos"]
    num_failed: Int64[np.ndarray, " videos"]

    @property
    def num_videos_lost(self) -> int:
        """Videos that no frame stands for: none was there, or each failed."""
        return int(np.count_nonzero(self.num_taken == self.num_failed))

    def worst_first(self) -> list[int]:
        """Places of the videos with failed frames, the largest share of them first.

        Of videos with one share the one that lost more comes first, then the alphabet
        decides.
        """
        taken, failed = self.num_taken.tolist(), self.num_failed.tolist()
        return sorted(
            np.flatnonzero(self.num_failed).tolist(),
            key=lambda v: (-failed[v] / taken[v], -failed[v], self.videos[v]),
        )
