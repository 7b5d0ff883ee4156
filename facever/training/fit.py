"""The training loop."""

import math
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from facever.data.batches.loading import BatchLoader
from facever.errors import DivergedError, TerminatedError
from facever.inference.preprocessing import Preprocessing
from facever.progress import Advance, ignore_progress
from facever.training.checkpoint import TrainingState
from facever.training.clipping import clip_gradients
from facever.training.compiling import compiled, explain_compiler_errors
from facever.training.distributed import ALONE, Processes
from facever.training.freed_memory import keep_freed_memory
from facever.training.gradient_accumulation import add_gradients
from facever.training.heads_across_processes import HeadAcrossProcesses
from facever.training.log_lines import LogLine, LogWindow
from facever.training.mixing import Mixing
from facever.training.schedule import Schedule


@dataclass(frozen=True)
class Computation:
    """How the gradients of a step are computed.

    Attributes:
        device: The device of network and head.
        bf16: Whether the network computes in bfloat16. The heads always compute in
            float32, where a sum over thousands of classes keeps its digits.
        num_parts: Number of parts in which the network meets this process's part of a
            batch, to save memory (see ``add_gradients``); 1 computes it at once.
        clip: Longest gradient that is allowed (see ``clip_gradients``); None leaves all
            gradients as they are.
        is_compiled: Whether torch.compile makes the network's kernels.
        mixing: How the crops of a batch are mixed with each other; None never does.
    """

    device: torch.device
    bf16: bool = False
    num_parts: int = 1
    clip: float | None = None
    is_compiled: bool = False
    mixing: Mixing | None = None


@dataclass(frozen=True)
class Intervals:
    """How often a run writes things down, in steps, each at least 1.

    Attributes:
        log: Steps between two lines of the log.
        checkpoint: Steps between two checkpoints.
        milestones: Further steps after which a checkpoint is saved.
        validate: Steps between two measurements of held-out people; None measures
            never.
    """

    log: int = 20
    checkpoint: int = 500
    milestones: tuple[int, ...] = ()
    validate: int | None = None

    def is_checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint is due after a step, counted from 1."""
        return step % self.checkpoint == 0 or step in self.milestones

    def is_validation_due(self, step: int) -> bool:
        """Whether held-out people are measured after a step, counted from 1."""
        return self.validate is not None and step % self.validate == 0


@dataclass(frozen=True)
class Callbacks:
    """What the loop calls on its way.

    Attributes:
        save: Saves the state; called in every process, as ``Intervals`` says and after
            the last step.
        log: Takes a line of the log; called in the first process.
        validate: Measures held-out people, by name, without changing the state; called
            in the first process, as ``Intervals`` says. ``state.plateau`` goes by
            ``held_out_auc`` or ``held_out_tar``, once the warm-up is over.
        advance: Takes progress, one unit for each crop.
        stop_asked: Tells whether to save and end after this step.
    """

    save: Callable[[], None]
    log: Callable[[LogLine], None]
    validate: Callable[[], dict[str, float]] | None = None
    advance: Advance = ignore_progress
    stop_asked: Callable[[], bool] = lambda: False


def fit(
    state: TrainingState,
    loader: BatchLoader,
    preprocessing: Preprocessing,
    schedule: Schedule,
    computation: Computation,
    intervals: Intervals,
    callbacks: Callbacks,
    processes: Processes = ALONE,
) -> None:
    """Train from ``state.step`` to the end of the schedule.

    Args:
        state: Network, head and optimiser on the device; changed in place.
        loader: Gives this process's part of the batch of any step.
        preprocessing: Turns crops into the network's input.
        schedule: The learning rate of every step.
        computation: How gradients are computed.
        intervals: How often to log, to save and to measure held-out people.
        callbacks: What to call on the way.
        processes: The processes of the job; each computes its part of every batch.

    Raises:
        DivergedError: If an embedding, the loss or a weight turns NaN or infinite, with
            the step and the learning rate; nothing is saved after that.
        TerminatedError: If any process was asked to stop; its last step is saved.
        ParameterError: If the network cannot be compiled on this machine.
    """
    device, optimiser = computation.device, state.optimiser
    if device.type == "cpu":
        keep_freed_memory()
    module = compiled(state.network) if computation.is_compiled else state.network
    network = processes.wrapped(module)
    head = HeadAcrossProcesses(state.head, processes)
    network.train()
    for part in state.frozen:
        part.eval()
    head.train()

    def log(line: LogLine) -> None:
        if processes.is_first:
            callbacks.log(line)

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
            teacher = batch.teacher
            if teacher is not None:
                teacher = teacher.to(device, non_blocking=True)
            images = preprocessing(crops, batch.mirrored.to(device, non_blocking=True))
            mixture = None
            if computation.mixing is not None:
                height, width = images.shape[2:]
                mixture = computation.mixing.draw(state.step, (height, width))
            if mixture is not None:
                images = mixture.images(images)
            optimiser.zero_grad(set_to_none=True)
            try:
                with (
                    explain_compiler_errors()
                    if computation.is_compiled
                    else nullcontext()
                ):
                    output = add_gradients(
                        network,
                        head if mixture is None else mixture.head(head),
                        images,
                        labels,
                        teacher,
                        num_parts=computation.num_parts,
                        bf16=computation.bf16,
                    )
            except DivergedError as error:
                raise DivergedError(
                    f"{error}, at step {state.step + 1} (learning rate {rate:.4g}); "
                    f"{remedy()}"
                ) from None
            head.align_gradients()
            measured = {}
            if computation.clip is not None:
                norm = clip_gradients(network, head, computation.clip, processes)
                measured["gradient_norm"] = norm
            window.clock.mark("network")
            optimiser.step()
            state.step += 1
            if state.average is not None:
                state.average.follow(state.network, state.step)
            window.clock.mark("optimiser")

            window.add(output, labels, processes.count, measured)
            stopping = processes.any(callbacks.stop_asked())
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
                callbacks.advance(0, _loss_note(line, output.parts))
            if callbacks.validate and intervals.is_validation_due(state.step):
                found = callbacks.validate() if processes.is_first else {}
                log({"step": state.step, **found})
                auc = found.get("held_out_auc", 0.0)
                callbacks.advance(0, f"held-out AUC {auc:.4f}")
                if state.plateau is not None and state.step > schedule.warmup:
                    value = found.get(f"held_out_{state.plateau.measure}", 0.0)
                    state.plateau.look(processes.number_of_first(value))
            if intervals.is_checkpoint_due(state.step) or last or stopping:
                if processes.any(not (_is_finite(network) and _is_finite(head))):
                    raise DivergedError(
                        f"a weight is NaN or infinite after step {state.step} "
                        f"(learning rate {rate:.4g}); {remedy()}"
                    )
                callbacks.save()
                saved = state.step
            callbacks.advance(len(labels) * processes.count)
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
