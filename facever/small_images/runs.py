"""What a run on small images comes to, and what its table shows."""

from dataclasses import dataclass
from typing import Any

from facever.results import Result
from facever.tables.rows import Measure

MEASURES = (
    Measure("error", "error %", 2, factor=100.0, is_compared=True),
    Measure("top5_error", "top-5 error %", 2, factor=100.0),
    Measure("w_inter", "WInter", 3),
    Measure("c_inter", "CInter", 3),
    Measure("wc_intra", "WCIntra", 3),
)
"""What the table shows of a run; papers print some of it, under the same names."""


@dataclass(frozen=True)
class CellRun(Result):
    """What one run of a cell came to, as its ``result.json`` holds it.

    Attributes:
        seed: Seed of weights, order and augmentation.
        error: Share of the test images whose class is not the predicted one, in [0, 1].
        top5_error: Share of the test images whose class is not among the five
            likeliest.
        train_error: Share of the training images whose class is not the predicted one.
        w_inter: Mean angle between the vectors of different classes, in radians; this
            and the next two are None where a network died and gives zeros.
        c_inter: Mean angle between the feature centers of different classes, in
            radians.
        wc_intra: Mean angle between a class's vector and its feature center, in
            radians.
        steps: Number of steps of the whole run.
        steps_of_this_run: Number of steps since the run was last started.
        seconds_of_this_run: Seconds that those steps took.
        num_weights: Number of weights of the network.
        verified: Whether every file of the set had its published MD5 sum.
        device: The device that trained.
        recipe: The cell's config.
        fingerprint: Hash of everything that decides the run.
        curve: What was measured on the way, one entry for each measurement.
        precision: The numbers that the network was trained with: fp32, as all earlier
            runs, bf16, or one after the other, with a comma between.
    """

    seed: int
    error: float
    top5_error: float
    train_error: float
    w_inter: float | None
    c_inter: float | None
    wc_intra: float | None
    steps: int
    steps_of_this_run: int
    seconds_of_this_run: float
    num_weights: int
    verified: bool
    device: str
    recipe: dict[str, Any]
    fingerprint: str
    curve: list[dict[str, Any]]
    precision: str = "fp32"

    def lines(self) -> list[str]:
        """The seed and the error."""
        return [f"seed {self.seed}: error {100 * self.error:.2f} %"]
