"""The training loop of the small-image experiments.

``training.fit`` feeds large networks with crops that a thread reads and changes on the
CPU. Here the set lies where the network is and a step takes a millisecond, so a batch
is a gather on the device, nothing is copied or awaited, and the run is measured on its
way. Schedules, heads, checkpoints and the split of the parameters are the same.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from facever.errors import DivergedError
from facever.heads import HeadOutput
from facever.progress import Advance, ignore_progress
from facever.small_images.batches import SmallImageBatches
from facever.training.checkpoint import TrainingState
from facever.training.log_lines import LogLine
from facever.training.schedule import Schedule

RATE_FACTOR = "rate_factor"
"""Key of a parameter group: a factor on the schedule's rate, 1 where it is missing."""


def fit_small_images(
    state: TrainingState,
    batches: SmallImageBatches,
    schedule: Schedule,
    *,
    every: int,
    measure: Callable[[LogLine], None],
    bf16: bool = False,
    is_compiled: bool = False,
    advance: Advance = ignore_progress,
) -> None:
    """Train from ``state.step`` to the end of the schedule.

    Args:
        state: Network, head and optimiser on the device of the batches; changed in
            place, left in training mode.
        batches: Gives the batch of any step.
        schedule: The learning rate of every step.
        every: Steps between two calls of ``measure``, which the last step calls too.
        measure: Gets step, learning rate, mean loss and training error (a share) since
            the last call, and steps a second; may use and save the state.
        bf16: Whether the network computes in bfloat16; the head never does, nor does
            what ``measure`` measures.
        is_compiled: Whether torch.compile joins network and head and, on a GPU, replays
            CUDA graphs. Experimental: not run on a GPU yet.
        advance: Progress, one unit a step.

    Raises:
        DivergedError: If the loss turns NaN or infinite; ``measure`` does not see it.
    """
    network, head, optimiser = state.network, state.head, state.optimiser

    def forward(images: Tensor, labels: Tensor) -> HeadOutput:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            features = network(images)
        output: HeadOutput = head(features, labels)
        return output

    call = torch.compile(forward, mode="reduce-overhead") if is_compiled else forward
    window = _Window()
    network.train()
    head.train()
    while state.step < schedule.steps:
        rate = schedule.rate(state.step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get(RATE_FACTOR, 1.0)
        images, labels = batches.batch(state.step)
        try:
            output = call(images, labels)
        except DivergedError as error:
            raise DivergedError(
                f"{error}, at step {state.step + 1}; {_remedy(rate)}"
            ) from None
        optimiser.zero_grad(set_to_none=True)
        output.loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        state.step += 1
        window.add(output, labels)
        if state.step % every == 0 or state.step == schedule.steps:
            line = window.line(state.step, rate)
            if not math.isfinite(line["loss"]):
                raise DivergedError(
                    f"the loss is {line['loss']} at step {state.step}; {_remedy(rate)}"
                )
            measure(line)
            advance(0, f"loss {line['loss']:.3f}")
            network.train()
            head.train()
            window = _Window()
        advance()


def _remedy(rate: float) -> str:
    return f"the learning rate is {rate:.4g}: lower it or raise schedule.warmup"


class _Window:
    """Sums since the last measurement, kept on the device until then."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.num_steps = 0
        self.num_images = 0
        self.loss: Tensor | float = 0.0
        self.wrong: Tensor | float = 0.0

    def add(self, output: HeadOutput, labels: Tensor) -> None:
        assert output.logits is not None
        self.loss = self.loss + output.loss.detach()
        self.wrong = self.wrong + (output.logits.argmax(dim=1) != labels).sum()
        self.num_steps += 1
        self.num_images += len(labels)

    def line(self, step: int, rate: float) -> LogLine:
        return {
            "step": step,
            "learning_rate": rate,
            "loss": float(self.loss) / self.num_steps,
            "train_error": float(self.wrong) / self.num_images,
            "steps_per_second": self.num_steps / (time.perf_counter() - self.started),
        }
