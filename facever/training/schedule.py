"""Learning rates over a run."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from facever.choices import PlateauMeasure, ScheduleShape
from facever.errors import ParameterError

# One cycle, as shares of the run and of the highest rate: up from a tenth and down
# again in equal times, then far below in the last tenth of the run.
_CYCLE = (0.0, 0.45, 0.9, 1.0), (0.1, 1.0, 0.1, 0.001)


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step, as a pure function of the step.

    Attributes:
        steps: Number of steps of the run, at least 1.
        learning_rate: The highest learning rate of the run.
        shape: ``drops`` divides the rate by 10 at each of ``drops``; ``cosine`` lets it
            fall to 0; ``inverse`` is Caffe's ``(1 + gamma step) ** -power``;
            ``one_cycle`` rises from a tenth of the rate, falls back in the same time
            and then to a thousandth (Smith, A disciplined approach to neural network
            hyper-parameters, 2018).
        drops: Steps at which shape ``drops`` divides the rate, rising, each in
            (0, steps).
        warmup: Number of steps, in [0, steps), during which a factor on the shape's
            rate rises in a straight line from 0 to 1; ``cosine`` begins to fall after
            them.
        gamma: The factor on the step in shape ``inverse``, at least 0; the default is
            LeNet's in Caffe.
        power: The exponent of shape ``inverse``, at least 0.

    Example:
        >>> schedule = Schedule(steps=100, learning_rate=0.1, drops=(50,), warmup=10)
        >>> [round(schedule.rate(step), 4) for step in (0, 9, 49, 50)]
        [0.01, 0.1, 0.1, 0.01]

    Raises:
        ParameterError: If a number is out of range.
    """

    steps: int
    learning_rate: float
    shape: ScheduleShape = "drops"
    drops: tuple[int, ...] = ()
    warmup: int = 0
    gamma: float = 1e-4
    power: float = 0.75

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ParameterError(f"steps must be >= 1, got {self.steps}")
        if not 0 <= self.warmup < self.steps:
            raise ParameterError(
                f"warmup must be in [0, {self.steps}), the run's steps, got "
                f"{self.warmup}; factor shortens a run with its warmup, or name another"
            )
        if list(self.drops) != sorted(set(self.drops)):
            raise ParameterError(f"drops must rise, got {list(self.drops)}")
        for name in ("gamma", "power"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParameterError(f"{name} must be >= 0, got {getattr(self, name)}")
        late = [drop for drop in self.drops if not 0 < drop < self.steps]
        if self.shape == "drops" and late:
            raise ParameterError(
                f"drops must be in (0, {self.steps}), the run's steps, got {late[0]}; "
                "factor shortens a run with its drops, or name other drops"
            )

    def scaled(self, factor: float) -> "Schedule":
        """The same course stretched to ``factor`` times as many steps, at least one."""
        steps = max(1, round(self.steps * factor))
        drops = {round(drop * factor) for drop in self.drops}
        return Schedule(
            steps=steps,
            learning_rate=self.learning_rate,
            shape=self.shape,
            drops=tuple(sorted(drop for drop in drops if 0 < drop < steps)),
            warmup=min(round(self.warmup * factor), steps - 1),
            gamma=self.gamma / factor,
            power=self.power,
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rate = self._rate_of_shape(step)
        return rate * (step + 1) / self.warmup if step < self.warmup else rate

    def _rate_of_shape(self, step: int) -> float:
        if self.shape == "cosine":
            share = max(0, step - self.warmup) / (self.steps - self.warmup)
            return self.learning_rate * (1 + math.cos(math.pi * share)) / 2
        if self.shape == "inverse":
            return float(self.learning_rate * (1 + self.gamma * step) ** -self.power)
        if self.shape == "one_cycle":
            return self.learning_rate * float(np.interp(step / self.steps, *_CYCLE))
        passed = sum(step >= drop for drop in self.drops)
        return float(self.learning_rate * 0.1**passed)


class Plateau:
    """A scale on the learning rate that falls when held-out people gain nothing.

    Held-out people are measured now and then, larger being better. A gain is a value
    above all before it, by however little.

    Args:
        measure: The measure of the held-out people that decides.
        patience: Number of measurements in a row without a gain after which the scale
            falls, at least 1.
        factor: What the scale is multiplied by each time it falls, in (0, 1).

    Attributes:
        measure: The measure that decides.
        scale: What to multiply the schedule's rate by now.

    Raises:
        ParameterError: If an argument is out of range.
    """

    def __init__(self, measure: PlateauMeasure, patience: int, factor: float) -> None:
        if patience < 1:
            raise ParameterError(f"patience must be >= 1, got {patience}")
        if not 0 < factor < 1:
            raise ParameterError(f"factor must be in (0, 1), got {factor}")
        self.measure: PlateauMeasure = measure
        self.scale = 1.0
        self._patience = patience
        self._factor = factor
        self._best = -math.inf
        self._num_without_gain = 0

    def look(self, value: float) -> None:
        """Take a measurement into account."""
        if value > self._best:
            self._best = value
            self._num_without_gain = 0
            return
        self._num_without_gain += 1
        if self._num_without_gain == self._patience:
            self.scale *= self._factor
            self._num_without_gain = 0

    def content(self) -> dict[str, float]:
        """The state as a checkpoint keeps it."""
        return {
            "scale": self.scale,
            "best": self._best,
            "num_without_gain": self._num_without_gain,
        }

    def load(self, content: dict[str, Any]) -> None:
        """Take over the state that a checkpoint keeps.

        Args:
            content: A dictionary that ``content`` gave.

        Raises:
            KeyError: If a key is missing.
        """
        self.scale = content["scale"]
        self._best = content["best"]
        self._num_without_gain = content["num_without_gain"]
