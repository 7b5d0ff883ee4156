"""Where the time of training steps goes."""

import time
from typing import Literal

import torch

Part = Literal["data", "network", "optimiser"]


class StepClock:
    """Seconds between marks, by what was done until each.

    On a GPU the marks are events of its own course, which runs behind the program's: a
    mark waits for nothing, and time that passes without work there counts.

    Args:
        device: Where the steps are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[Part | None, float | torch.cuda.Event]] = []
        self.mark(None)

    def mark(self, done: Part | None) -> None:
        """Count what passed since the last mark; None leaves it out."""
        if not self._on_gpu:
            self._marks.append((done, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append((done, event))

    def seconds(self) -> dict[Part, float]:
        """Of each part, since the clock was made; waits for the GPU."""
        if self._on_gpu:
            torch.cuda.synchronize()
        sums: dict[Part, float] = {"data": 0.0, "network": 0.0, "optimiser": 0.0}
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
