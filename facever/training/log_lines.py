"""What a log line tells of the steps since the last one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from facever.files import append_line
from facever.heads import HeadOutput

StepPart = Literal["data", "network", "optimiser"]


class StepClock:
    """Seconds between marks, by what was done until each.

    On a GPU the marks are events of its own course, which runs behind the program's: a
    mark waits for nothing, and time that passes without work there counts.

    Args:
        device: The device that computes the steps.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[StepPart | None, float | torch.cuda.Event]] = []
        self.mark(None)

    def mark(self, done: StepPart | None) -> None:
        """Count what passed since the last mark; None leaves it out."""
        if not self._on_gpu:
            self._marks.append((done, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append((done, event))

    def seconds(self) -> dict[StepPart, float]:
        """The seconds of each part since the clock was made; waits for the GPU."""
        if self._on_gpu:
            torch.cuda.synchronize()
        sums: dict[StepPart, float] = {"data": 0.0, "network": 0.0, "optimiser": 0.0}
        for (_, begin), (done, end) in zip(
            self._marks[:-1], self._marks[1:], strict=True
        ):
            if done is None:
                continue
            if isinstance(begin, float) and isinstance(end, float):
                sums[done] += end - begin
            elif not isinstance(begin, float) and not isinstance(end, float):
                sums[done] += begin.elapsed_time(end) / 1000
        return sums


LogLine = dict[str, int | float]
"""A line of the log: a step and what was measured until then."""


class LogWindow:
    """Sums over the steps of one log line, kept on the device until it is written.

    Args:
        device: The device that computes the steps.

    Attributes:
        clock: The clock, which is marked within each step.
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
            output: The head's output.
            labels: The labels of this process's crops.
            num_processes: Number of processes, each with the same number of crops.
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

    def line(self, step: int, rate: float) -> LogLine:
        """Means over the steps; ``*_seconds`` are those of one step.

        Looks at held-out people and checkpoints between the steps do not count.

        Args:
            step: The number of the last step.
            rate: The learning rate of the last step.
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


def log_to(path: Path) -> Callable[[LogLine], None]:
    """A log in a file that gets each line as JSON.

    Args:
        path: The file; the lines that it holds stay.
    """
    return lambda line: append_line(path, json.dumps(line))
