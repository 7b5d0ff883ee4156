"""``facever train``: a config and a crop store become a model file."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import Tensor

from facever.config.training import TrainConfig
from facever.errors import FileError
from facever.files import hold_folder
from facever.hardware import uses_bf16
from facever.inference.model_file import save_model
from facever.models.base import EmbeddingNetwork
from facever.progress import progress_bar
from facever.stages.training.held_out import (
    look,
    measure_held_out,
    model_header,
    network_to_keep,
)
from facever.stages.training.model_card import write_card
from facever.stages.training.run_folder import (
    CHECKPOINT_FILE,
    LOG_FILE,
    MODEL_FILE,
    TENSORBOARD_FOLDER,
    check_same_run,
    cut_log,
    record_start,
    run_fingerprint,
    write_config,
)
from facever.stages.training.setup import THRESHOLD_FAR, PreparedRun, prepare, shown_bar
from facever.training.checkpoint import (
    KeptCheckpoints,
    load_checkpoint,
    save_checkpoint,
)
from facever.training.distributed import Processes, process_group
from facever.training.fit import Intervals, fit
from facever.training.log_lines import LogLine
from facever.training.sigterm import watch_for_sigterm
from facever.training.tensorboard import tensorboard_log
from facever.verification.model_threshold import ModelThreshold


def train(config: TrainConfig) -> Path:
    """Train a network, or go on where an earlier run of the same config stopped.

    Under torchrun its processes train together, each on its part of every batch.

    Args:
        config: Everything that decides the run.

    Returns:
        The model file. Beside it in ``config.out`` lie ``config.yaml``, ``log.jsonl``,
        ``starts.jsonl`` (versions, commit and machine of each start), the checkpoints
        that ``config`` keeps and, as ``README.md``, the model card.

    Raises:
        FaceverError: If the crops, the config or an earlier checkpoint do not fit, or
            another process is training in the folder.
        TerminatedError: If SIGTERM ended the run; the same call goes on.
    """
    with process_group(config.device) as processes, _held(config.out, processes):
        check_same_run(config)
        return _train(config, processes)


def _train(config: TrainConfig, processes: Processes) -> Path:
    run = prepare(config, processes)
    state, schedule, split = run.state, run.schedule, run.split
    network, device = run.network, run.device
    model_path = config.out / MODEL_FILE
    checkpoint_path = config.out / CHECKPOINT_FILE
    fingerprint = run_fingerprint(config, run.store)
    kept = KeptCheckpoints(config.keep_last, config.milestones)

    def save() -> None:
        save_checkpoint(checkpoint_path, state, fingerprint, processes)
        if processes.is_first:
            kept.keep(checkpoint_path, state.step)

    if _is_there(checkpoint_path, processes):
        load_checkpoint(checkpoint_path, state, fingerprint)
        if state.step == schedule.steps and _is_there(model_path, processes):
            processes.say(f"{model_path} is trained already: nothing to do")
            return model_path
        if processes.is_first:
            kept.keep(checkpoint_path, state.step)
        processes.say(f"going on from step {state.step:,} of {schedule.steps:,}")
    if processes.is_first:
        write_config(config)
        cut_log(config.out / LOG_FILE, state.step)
        record_start(config.out, state.step, processes.count)
    num_weights = sum(weight.numel() for weight in network.parameters())
    processes.say(
        f"{len(split.rows):,} crops of {split.num_classes:,} identities, "
        f"{len(split.held_out):,} crops held out; {config.network.name} with "
        f"{num_weights:,} weights; {' + '.join(head.name for head in config.heads)}; "
        f"{schedule.steps:,} steps of {config.batch_size} on {device}"
        + (f" in {processes.count} processes" if processes.count > 1 else "")
    )
    if config.compile:
        processes.say("the first step compiles the network, which takes minutes")
    total, done = (steps * config.batch_size for steps in (schedule.steps, state.step))
    bar = shown_bar("train", total, processes, done)
    board = _tensorboard(config, state.step, processes)
    with watch_for_sigterm() as stop_asked, board as on_line, bar as advance:
        fit(
            state,
            run.loader,
            run.preprocessing,
            schedule,
            device=device,
            bf16=uses_bf16(config.precision, device),
            intervals=Intervals(
                config.log_every,
                config.checkpoint_every,
                config.milestones,
                config.validate_every,
            ),
            log_file=config.out / LOG_FILE,
            save=save,
            advance=advance,
            processes=processes,
            stop_asked=stop_asked,
            accumulate=run.num_parts,
            clip=config.optimiser.clip,
            compile_network=config.compile,
            validate=lambda: look(config, run),
            on_line=on_line,
        )
    if not processes.is_first:
        return model_path

    kept_network = network_to_keep(run)
    header = model_header(config, run)
    measured = None
    if len(split.held_out):
        measured = _measure_threshold(config, run, kept_network)
        header = dataclasses.replace(
            header,
            threshold=measured.threshold,
            threshold_far=None if measured.threshold is None else THRESHOLD_FAR,
        )
    # First the card: a run whose model file is there is done.
    write_card(config, run, model_path, measured)
    mean = run.preprocessing.mean
    save_model(
        model_path, kept_network, header, mean if isinstance(mean, Tensor) else None
    )
    print(f"model: {model_path}")
    return model_path


def _held(folder: Path, processes: Processes) -> AbstractContextManager[None]:
    """The run's folder, which another job of the same config must not write to."""
    return hold_folder(folder) if processes.is_first else nullcontext()


def _tensorboard(
    config: TrainConfig, step: int, processes: Processes
) -> AbstractContextManager[Callable[[LogLine], None]]:
    if config.tensorboard and processes.is_first:
        return tensorboard_log(config.out / TENSORBOARD_FOLDER, step)
    return nullcontext(lambda line: None)


def _is_there(path: Path, processes: Processes) -> bool:
    """Whether a file of the run folder exists, for every process alike."""
    found = path.exists()
    if processes.any(found) != found:
        raise FileError(
            f"{path} is there for another process of this job but not for this one: "
            "out must be a folder that all machines share"
        )
    return found


def _measure_threshold(
    config: TrainConfig, run: PreparedRun, network: EmbeddingNetwork
) -> ModelThreshold:
    with progress_bar("validate", len(run.split.held_out), "crops") as advance:
        found = measure_held_out(config, run, network, advance)
    print(
        f"held out: AUC {found.auc:.4f} over {found.num_genuine:,} genuine and "
        f"{found.num_impostor:,} impostor pairs"
    )
    if found.threshold is None or found.tar is None:
        print(f"the model file gets no threshold: {found.note}")
    else:
        print(
            f"held out: TAR {found.tar:.2%} at FAR {THRESHOLD_FAR:g}, threshold "
            f"{found.threshold:.4f}"
        )
    return found
