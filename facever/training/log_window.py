"""What a log line tells of the steps since the last one."""

import torch
from torch import Tensor

from facever.heads import HeadOutput
from facever.training.step_clock import StepClock

Line = dict[str, int | float]
"""A line of the log: a step and what was measured until then."""


class LogWindow:
    """Sums over the steps of one log line, kept on the device until it is written.

    Args:
        device: Where the steps are computed.

    Attributes:
        clock: To be marked within each step.
    """

    def __init__(self, device: torch.device) -> None:
        self.clock = StepClock(device)
        self._num_steps = 0
        self._num_crops = 0
        self._sums: dict[str, Tensor] = {}

    def add(
        self,
        output: HeadOutput,
        labels: Tensor,
        num_processes: int,
        measured: dict[str, Tensor],
    ) -> None:
        """Count a step.

        Args:
            output: Of the head.
            labels: Of this process's crops.
            num_processes: With as many crops each.
            measured: Further scalars to log.
        """
        values = {"loss": output.loss.detach(), **output.parts, **measured}
        hits = output.hits
        if output.logits is not None:
            hits = output.logits.argmax(dim=1) == labels
        if hits is not None:
            values["accuracy"] = hits.float().mean()
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._num_steps += 1
        self._num_crops += len(labels) * num_processes

    def line(self, step: int, rate: float) -> Line:
        """Means over the steps; ``*_seconds`` are those of one step.

        Looks at held-out people and checkpoints between the steps do not count.

        Args:
            step: The last of them.
            rate: Its learning rate.
        """
        means = {
            name: round(float(value) / self._num_steps, 6)
            for name, value in self._sums.items()
        }
        seconds = self.clock.seconds()
        parts = {
            f"{part}_seconds": round(value / self._num_steps, 6)
            for part, value in seconds.items()
        }
        return {
            "step": step,
            "learning_rate": rate,
            **means,
            "crops_per_second": round(self._num_crops / sum(seconds.values()), 1),
            **parts,
        }
