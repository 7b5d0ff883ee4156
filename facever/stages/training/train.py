"""``facever train``: a config and a crop store become a model file."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from facever.config.training import TrainConfig
from facever.errors import FileError
from facever.files import hold_folder
from facever.hardware import precision_name
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import MeasuredOn
from facever.progress import progress_bar
from facever.results import Result
from facever.stages.training.held_out import (
    HeldOut,
    measure_during_run,
    measure_held_out,
    model_header,
    network_to_keep,
)
from facever.stages.training.model_card import write_card
from facever.stages.training.run_folder import (
    LOG_FILE,
    MODEL_FILE,
    TENSORBOARD_FOLDER,
    check_same_run,
    cut_log,
    record_start,
    run_fingerprint,
    write_config,
)
from facever.stages.training.setup import (
    THRESHOLD_FAR,
    PreparedRun,
    prepare_run,
    shown_bar,
)
from facever.training.checkpoint import (
    CHECKPOINT_FILE,
    KeptCheckpoints,
    load_checkpoint,
    save_checkpoint,
)
from facever.training.distributed import Processes, process_group
from facever.training.fit import Callbacks, Intervals, fit
from facever.training.log_lines import LogLine, log_to
from facever.training.sigterm import watch_for_sigterm
from facever.training.tensorboard import tensorboard_log
from facever.verification.model_threshold import ModelThreshold


@dataclass(frozen=True)
class TrainResult(Result):
    """What a training run left.

    Attributes:
        model: The model file.
        steps: Number of steps of the whole run.
        num_new_steps: Number of steps that this call trained; 0 where an earlier call
            had done all of them.
        held_out: How well the model tells held-out people apart, and the threshold that
            follows. None where nobody is held out, where this call had nothing to do,
            and in every process but the first.
        set_on: What the threshold rests on, with intervals; None where there is none.
    """

    model: Path
    steps: int
    num_new_steps: int
    held_out: ModelThreshold | None = None
    set_on: MeasuredOn | None = None

    def lines(self) -> list[str]:
        """The numbers of the held-out people and the model file."""
        is_old = self.num_new_steps == 0
        model = f"model: {self.model}" + (", trained already" if is_old else "")
        found = self.held_out
        if found is None:
            return [model]
        lines = [
            f"held out: AUC {found.auc:.4f} over {found.num_genuine:,} genuine and "
            f"{found.num_impostor:,} impostor pairs"
        ]
        if found.threshold is None or found.tar is None:
            lines.append(f"the model file gets no threshold: {found.note}")
        else:
            lines.append(
                f"held out: TAR {found.tar:.2%} at FAR {found.target_far:g}, threshold "
                f"{found.threshold:.4f}"
            )
        return [*lines, *([f"set on {self.set_on}"] if self.set_on else ()), model]


def train(config: TrainConfig) -> TrainResult:
    """Train a network, or go on where an earlier run of the same config stopped.

    A finished run goes on, from the state of its optimiser, if ``schedule.steps`` alone
    was raised.

    Under torchrun its processes train together, each on its part of every batch.

    Args:
        config: Everything that decides the run.

    Returns:
        The model file and what held-out people say of it. Beside the model file in
        ``config.out`` lie ``config.yaml``, ``log.jsonl``, ``starts.jsonl`` (versions,
        commit, machine and precision of each start), the checkpoints that ``config``
        keeps and, as ``README.md``, the model card.

    Raises:
        FaceverError: If the crops, the config or an earlier checkpoint do not fit, or
            another process is training in the folder.
        TerminatedError: If SIGTERM ended the run; the same call goes on.
    """
    with process_group(config.device) as processes:
        # Another job of the same config must not write to the folder.
        is_first = processes.is_first
        with hold_folder(config.out) if is_first else nullcontext():
            return _train(config, check_same_run(config), processes)


def _train(
    config: TrainConfig, earlier: TrainConfig | None, processes: Processes
) -> TrainResult:
    """Train; ``earlier`` is the config of a finished run that gets more steps."""
    run = prepare_run(config, processes)
    state, schedule = run.state, run.schedule
    model_path = config.out / MODEL_FILE
    checkpoint_path = config.out / CHECKPOINT_FILE
    taught_by = None if run.teacher is None else run.teacher.fingerprint
    fingerprint = run_fingerprint(config, run.store, taught_by)
    kept = KeptCheckpoints(config.keep_last, config.milestones)

    def save() -> None:
        save_checkpoint(checkpoint_path, state, fingerprint, processes)
        if processes.is_first:
            kept.keep(checkpoint_path, state.step)

    if _is_there(checkpoint_path, processes):
        known = [fingerprint]
        if earlier is not None:
            known.append(run_fingerprint(earlier, run.store, taught_by))
        load_checkpoint(checkpoint_path, state, *known)
        if earlier is not None:
            # Before the new config: whichever is killed, the same command goes on.
            save()
            processes.say(
                f"a finished run gets {schedule.steps - state.step:,} more steps; its "
                "learning rate goes on by the schedule of all of them"
            )
        if state.step == schedule.steps and _is_there(model_path, processes):
            return TrainResult(model_path, schedule.steps, 0)
        if processes.is_first:
            kept.keep(checkpoint_path, state.step)
        processes.say(f"going on from step {state.step:,} of {schedule.steps:,}")
    first = state.step
    if processes.is_first:
        write_config(config)
        cut_log(config.out / LOG_FILE, first)
        record_start(config.out, first, processes.count, _precision(run))
    processes.say(_describe(config, run, processes))
    if config.compile:
        processes.say("the first step compiles the network, which takes minutes")
    total, done = (steps * config.batch_size for steps in (schedule.steps, first))
    with (
        watch_for_sigterm() as stop_asked,
        _log(config, first, processes) as log,
        shown_bar("train", total, processes, done) as advance,
    ):
        fit(
            state,
            run.loader,
            run.preprocessing,
            schedule,
            run.computation,
            Intervals(
                config.log_every,
                config.checkpoint_every,
                config.milestones,
                config.validate_every,
            ),
            Callbacks(
                save=save,
                log=log,
                validate=lambda: measure_during_run(config, run),
                advance=advance,
                stop_asked=stop_asked,
            ),
            processes,
        )
    held_out = _write_model(config, run, model_path) if processes.is_first else None
    return TrainResult(
        model_path,
        schedule.steps,
        schedule.steps - first,
        held_out.found if held_out else None,
        held_out.set_on if held_out else None,
    )


def _precision(run: PreparedRun) -> str:
    return precision_name(run.computation.bf16)


def _describe(config: TrainConfig, run: PreparedRun, processes: Processes) -> str:
    num_weights = sum(weight.numel() for weight in run.network.parameters())
    return (
        f"{len(run.split.rows):,} crops of {run.split.num_classes:,} identities, "
        f"{len(run.split.held_out):,} crops held out; {config.network.name} with "
        f"{num_weights:,} weights; {' + '.join(head.name for head in config.heads)}; "
        f"{run.schedule.steps:,} steps of {config.batch_size} on {run.device} with "
        f"{_precision(run)}"
        + (f" in {processes.count} processes" if processes.count > 1 else "")
    )


@contextmanager
def _log(
    config: TrainConfig, step: int, processes: Processes
) -> Iterator[Callable[[LogLine], None]]:
    """The run's log, which TensorBoard shows as well where the config asks for it."""
    log = log_to(config.out / LOG_FILE)
    if not (config.tensorboard and processes.is_first):
        yield log
        return
    with tensorboard_log(config.out / TENSORBOARD_FOLDER, step) as board:

        def log_both(line: LogLine) -> None:
            log(line)
            board(line)

        yield log_both


def _is_there(path: Path, processes: Processes) -> bool:
    """Whether a file of the run folder exists, the same answer in every process."""
    found = path.exists()
    if processes.any(found) != found:
        raise FileError(
            f"{path} is there for another process of this job but not for this one: "
            "out must be a folder that all machines share"
        )
    return found


def _write_model(
    config: TrainConfig, run: PreparedRun, model_path: Path
) -> HeldOut | None:
    """Write the model file and its card; what the held-out people say of it."""
    network = network_to_keep(run)
    header = model_header(config, run)
    held_out = None
    num_held_out = len(run.split.held_out)
    if num_held_out:
        with progress_bar("validate", num_held_out, "crops") as advance:
            held_out = measure_held_out(config, run, network, advance)
        threshold = held_out.found.threshold
        header = dataclasses.replace(
            header,
            threshold=threshold,
            threshold_far=None if threshold is None else THRESHOLD_FAR,
            threshold_set_on=held_out.set_on,
        )
    # First the card: a run whose model file is there is done.
    write_card(config, run, model_path, held_out)
    mean = run.preprocessing.mean
    save_model(model_path, network, header, mean if isinstance(mean, Tensor) else None)
    return held_out
