"""A learning rate that falls where training no longer helps."""

import math
from typing import Any, Literal

from facever.errors import ParameterError

Measure = Literal["auc", "tar"]


class Plateau:
    """The rate is multiplied by ``factor`` after ``patience`` looks without a gain.

    A look is a measure of people who are not in training, larger being better. A gain
    is a value above all before it, by however little.

    Args:
        measure: What a look goes by.
        patience: At least 1.
        factor: In (0, 1).

    Attributes:
        measure: As given.
        scale: What to multiply the rate by now.

    Raises:
        ParameterError: If an argument is out of range.
    """

    def __init__(self, measure: Measure, patience: int, factor: float) -> None:
        if patience < 1:
            raise ParameterError(f"patience must be >= 1, got {patience}")
        if not 0 < factor < 1:
            raise ParameterError(f"factor must be in (0, 1), got {factor}")
        self.measure: Measure = measure
        self.scale = 1.0
        self._patience = patience
        self._factor = factor
        self._best = -math.inf
        self._num_without_gain = 0

    def look(self, value: float) -> None:
        """Take note of a measure."""
        if value > self._best:
            self._best = value
            self._num_without_gain = 0
            return
        self._num_without_gain += 1
        if self._num_without_gain == self._patience:
            self.scale *= self._factor
            self._num_without_gain = 0

    def content(self) -> dict[str, float]:
        """For a checkpoint."""
        return {
            "scale": self.scale,
            "best": self._best,
            "num_without_gain": self._num_without_gain,
        }

    def load(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint's.

        Raises:
            KeyError: If something is missing.
        """
        self.scale = content["scale"]
        self._best = content["best"]
        self._num_without_gain = content["num_without_gain"]
