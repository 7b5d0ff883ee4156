"""A constant that falls while a head trains, such as lambda of L-Softmax."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facever.errors import ParameterError


@dataclass(frozen=True)
class Annealing:
    """``max(floor, start * (1 + gamma * step) ** -power)``.

    The default reaches its floor after 1,658 of the 28,000 steps of a full run; raise
    ``gamma`` as a run gets shorter.

    Attributes:
        start: The value at step 0, at least ``floor``.
        floor: The value below which the constant never falls, at least 0.
        gamma: The factor on the step, at least 0.
        power: The exponent with which the constant falls, at least 0.

    Raises:
        ParameterError: If an argument is out of range.

    References:
        Liu et al., Large-margin softmax loss, 2016, section 4.2, and the training files
        that its authors published.
    """

    start: float = 1000.0
    floor: float = 5.0
    gamma: float = 0.12
    power: float = 1.0

    def __post_init__(self) -> None:
        for name in ("floor", "gamma", "power"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParameterError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not self.floor <= self.start < math.inf:
            raise ParameterError(
                f"start must be >= floor, {self.floor}, got {self.start}"
            )

    def at(self, step: int | Int[Tensor, ""]) -> Float[Tensor, ""]:
        """The constant after ``step`` batches, counted from 0."""
        grown = 1 + self.gamma * torch.as_tensor(step, dtype=torch.float64)
        return (self.start * grown**-self.power).clamp_min(self.floor)


PUBLISHED = Annealing()
"""lambda as the authors of L-Softmax and SphereFace let it fall."""
