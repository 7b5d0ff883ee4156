"""``facever train``: a config and a crop store become a model file."""

import dataclasses
from pathlib import Path

from torch import Tensor

from facever import build
from facever.config.training import TrainConfig
from facever.data.crops import CropStore
from facever.data.sampling import Split
from facever.errors import FileError
from facever.inference.embedder import Embedder
from facever.inference.model_file import LoadedModel, ModelHeader, save_model
from facever.models.hardware import uses_bf16
from facever.progress import progress_bar
from facever.stages.model_card import write_card
from facever.stages.run_folder import (
    CHECKPOINT_FILE,
    LOG_FILE,
    MODEL_FILE,
    cut_log,
    record_start,
    run_fingerprint,
    write_config,
)
from facever.stages.train_setup import prepare, shown_bar
from facever.training.checkpoint import load_checkpoint, save_checkpoint
from facever.training.distributed import Processes, process_group
from facever.training.fit import Intervals, fit
from facever.training.kept_checkpoints import KeptCheckpoints
from facever.training.termination import termination
from facever.verification.calibration import Calibration, calibrate
from facever.version import __version__

THRESHOLD_FAR = 1e-3
"""The false accept rate that a model file's threshold is set for."""


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
        FaceverError: If the crops, the config or an earlier checkpoint do not fit.
        TerminatedError: If SIGTERM ended the run; the same call goes on.
    """
    with process_group(config.device) as processes:
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
    total, done = (steps * config.batch_size for steps in (schedule.steps, state.step))
    bar = shown_bar("train", total, processes, done)
    with termination() as stop_asked, bar as advance:
        fit(
            state,
            run.loader,
            run.preprocessing,
            schedule,
            device=device,
            bf16=uses_bf16(config.precision, device),
            intervals=Intervals(
                config.log_every, config.checkpoint_every, config.milestones
            ),
            log_file=config.out / LOG_FILE,
            save=save,
            advance=advance,
            processes=processes,
            stop_asked=stop_asked,
            accumulate=run.num_parts,
            clip=config.optimiser.clip,
        )
    if not processes.is_first:
        return model_path

    if state.average is not None:
        network.load_state_dict(state.average.weights)
    mean = run.preprocessing.mean
    header = ModelHeader(
        network=config.network.name,
        network_options=build.network_options(config.network),
        embedding_size=network.embedding_size,
        mean="image" if isinstance(mean, Tensor) else mean,
        mirror=config.mirror,
        training_data=config.data.name,
        licence=config.data.licence,
        facever_version=__version__,
    )
    calibration = None
    if len(split.held_out):
        unsaved = LoadedModel(network.eval(), header, run.preprocessing, fingerprint="")
        embedder = Embedder(unsaved, config.device, config.precision)
        calibration = _calibrate(embedder, run.store, split)
        header = dataclasses.replace(
            header,
            threshold=calibration.threshold,
            threshold_far=None if calibration.threshold is None else THRESHOLD_FAR,
        )
    # First the card: a run whose model file is there is done.
    write_card(config, run, model_path, calibration)
    save_model(model_path, network, header, mean if isinstance(mean, Tensor) else None)
    print(f"model: {model_path}")
    return model_path


def _is_there(path: Path, processes: Processes) -> bool:
    """Whether a file of the run folder exists, for every process alike."""
    found = path.exists()
    if processes.any(found) != found:
        raise FileError(
            f"{path} is there for another process of this job but not for this one: "
            "out must be a folder that all machines share"
        )
    return found


def _calibrate(embedder: Embedder, store: CropStore, split: Split) -> Calibration:
    with progress_bar("validate", len(split.held_out), "crops") as advance:
        embeddings = embedder.embed_crops(store.crops[split.held_out], advance=advance)
    found = calibrate(embeddings, store.labels[split.held_out], THRESHOLD_FAR)
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
