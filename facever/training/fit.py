"""The training loop."""

import json
import math
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from facever.data.batches.loading import BatchLoader
from facever.errors import DivergedError, TerminatedError
from facever.files import append_line
from facever.inference.preprocessing import Preprocessing
from facever.progress import Advance, ignore_progress
from facever.training.checkpoint import TrainingState
from facever.training.clipping import clip_gradients
from facever.training.compiling import compiled, explain_compiler_errors
from facever.training.distributed import ALONE, Processes
from facever.training.gradient_accumulation import add_gradients
from facever.training.heads_across_processes import HeadAcrossProcesses
from facever.training.log_lines import LogLine, LogWindow
from facever.training.schedule import Schedule


@dataclass(frozen=True)
class Intervals:
    """How often a run writes things down, in steps, each at least 1.

    Attributes:
        log: Between two lines.
        checkpoint: Between two checkpoints.
        milestones: Steps with a checkpoint besides.
        validate: Between two looks at held-out people; None never looks.
    """

    log: int = 20
    checkpoint: int = 500
    milestones: tuple[int, ...] = ()
    validate: int | None = None

    def saves(self, step: int) -> bool:
        """Whether a checkpoint falls due after a step, counted from 1."""
        return step % self.checkpoint == 0 or step in self.milestones

    def looks(self, step: int) -> bool:
        """Whether to look at held-out people after a step, counted from 1."""
        return self.validate is not None and step % self.validate == 0


def fit(
    state: TrainingState,
    loader: BatchLoader,
    preprocessing: Preprocessing,
    schedule: Schedule,
    *,
    device: torch.device,
    bf16: bool,
    intervals: Intervals,
    log_file: Path,
    save: Callable[[], None],
    advance: Advance = ignore_progress,
    processes: Processes = ALONE,
    stop_asked: Callable[[], bool] = lambda: False,
    accumulate: int = 1,
    clip: float | None = None,
    compile_network: bool = False,
    validate: Callable[[], dict[str, float]] | None = None,
    on_line: Callable[[LogLine], None] = lambda line: None,
) -> None:
    """Train from ``state.step`` to the end of the schedule.

    The network runs under bf16 autocast where asked; the heads always in float32, where
    a sum over thousands of classes keeps its digits.

    Args:
        state: Network, head and optimiser on the device; changed in place.
        loader: Gives this process's part of the batch of any step.
        preprocessing: From crops to network input.
        schedule: The learning rate of every step.
        device: Where to compute.
        bf16: Whether the network computes in bfloat16.
        intervals: How often to log and to save.
        log_file: Gets one JSON line every ``intervals.log`` steps, the means over them.
        save: Called as ``intervals`` says and at the end, in every
            process.
        advance: Progress, one unit a crop.
        processes: Each computes its part of every batch; the first logs.
        stop_asked: Whether to save and end after this step.
        accumulate: Parts in which the network meets its part of a batch, to save
            memory (see ``add_gradients``).
        clip: Longest gradient (see ``clip_gradients``); None leaves all as they are.
        compile_network: Whether torch.compile makes the network's kernels.
        validate: Measures held-out people, by name, without a change of the state;
            given with ``intervals.validate`` and called in the first process alone.
            ``state.plateau`` goes by ``held_out_auc`` or ``held_out_tar``, once the
            warm-up is over.
        on_line: Called with every line of the log, in the first process.

    Raises:
        DivergedError: If an embedding, the loss or a weight turns NaN or infinite, with
            the step and the learning rate; nothing is saved after that.
        TerminatedError: If any process was asked to stop; its last step is saved.
        ParameterError: If the network cannot be compiled here.
    """
    module = compiled(state.network) if compile_network else state.network
    network, optimiser = processes.wrapped(module), state.optimiser
    head = HeadAcrossProcesses(state.head, processes)
    network.train()
    for part in state.frozen:
        part.eval()
    head.train()

    def log(line: LogLine) -> None:
        if processes.is_first:
            append_line(log_file, json.dumps(line))
            on_line(line)

    saved = state.step

    def remedy() -> str:
        kept = "no checkpoint was written"
        if saved:
            kept = f"init takes the checkpoint of step {saved:,}, which is kept"
        return (
            "lower optimiser.learning_rate or raise schedule.warmup, with out set to "
            f"a new folder; {kept}"
        )

    window = LogWindow(device)
    with closing(loader.batches(state.step, schedule.steps)) as batches:
        for batch in batches:
            window.clock.mark("data")
            rate = schedule.rate(state.step)
            if state.plateau is not None:
                rate *= state.plateau.scale
            for group in optimiser.param_groups:
                group["lr"] = rate

            labels = batch.labels.to(device, non_blocking=True)
            crops = batch.crops.to(device, non_blocking=True)
            images = preprocessing(crops, batch.mirrored.to(device, non_blocking=True))
            optimiser.zero_grad(set_to_none=True)
            try:
                with explain_compiler_errors() if compile_network else nullcontext():
                    output = add_gradients(
                        network, head, images, labels, num_parts=accumulate, bf16=bf16
                    )
            except DivergedError as error:
                raise DivergedError(
                    f"{error}, at step {state.step + 1} (learning rate {rate:.4g}); "
                    f"{remedy()}"
                ) from None
            head.align_gradients()
            measured = {}
            if clip is not None:
                norm = clip_gradients(network, head, clip, processes)
                measured["gradient_norm"] = norm
            window.clock.mark("network")
            optimiser.step()
            state.step += 1
            if state.average is not None:
                state.average.follow(state.network, state.step)
            window.clock.mark("optimiser")

            window.add(output, labels, processes.count, measured)
            stopping = processes.any(stop_asked())
            last = state.step == schedule.steps
            if state.step % intervals.log == 0 or last:
                line = window.line(state.step, rate)
                if not math.isfinite(line["loss"]):
                    raise DivergedError(
                        f"the loss is {line['loss']} at step {state.step} "
                        f"(learning rate {rate:.4g}, {line}); {remedy()}"
                    )
                log(line)
                window = LogWindow(device)
                advance(0, _loss_note(line, output.parts))
            if validate is not None and intervals.looks(state.step):
                found = validate() if processes.is_first else {}
                log({"step": state.step, **found})
                advance(0, f"held-out AUC {found.get('held_out_auc', 0.0):.4f}")
                if state.plateau is not None and state.step > schedule.warmup:
                    value = found.get(f"held_out_{state.plateau.measure}", 0.0)
                    state.plateau.look(processes.number_of_first(value))
            if intervals.saves(state.step) or last or stopping:
                if processes.any(not (_is_finite(network) and _is_finite(head))):
                    raise DivergedError(
                        f"a weight is NaN or infinite after step {state.step} "
                        f"(learning rate {rate:.4g}); {remedy()}"
                    )
                save()
                saved = state.step
            advance(len(labels) * processes.count)
            window.clock.mark(None)
            if stopping and not last:
                raise TerminatedError(
                    f"stopped at step {state.step:,} of {schedule.steps:,}, where the "
                    "same command goes on"
                )


def _loss_note(line: LogLine, parts: Iterable[str]) -> str:
    """The loss for a person, with that of each head where there are several."""
    heads = [name for name in parts if "." not in name]
    shown = ", ".join(f"{name} {line[name]:.3f}" for name in heads)
    return f"loss {line['loss']:.3f}" + (f" ({shown})" if len(heads) > 1 else "")


def _is_finite(module: nn.Module) -> bool:
    return all(
        bool(torch.isfinite(each).all()) for each in module.state_dict().values()
    )
