"""``facever train``: a config and a crop store become a model file."""

import dataclasses
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from facever import build
from facever.config import TrainConfig
from facever.data.crop_workers import CropSource
from facever.data.crops import CROP_SHAPE, CropStore
from facever.data.loading import BatchLoader
from facever.data.people_list import read_people_list
from facever.data.preprocessing import Preprocessing
from facever.data.resident import ResidentCrops
from facever.data.sampling import Split, split_identities
from facever.errors import ConfigError, DataError, FileError
from facever.heads import check_labels
from facever.inference.embedder import Embedder
from facever.inference.model_file import LoadedModel, ModelHeader, save_model
from facever.models.hardware import pick_device, uses_bf16
from facever.progress import Advance, ignore_progress, progress_bar
from facever.stages.run_folder import (
    CHECKPOINT_FILE,
    LOG_FILE,
    MODEL_FILE,
    cut_log,
    run_fingerprint,
    write_config,
)
from facever.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from facever.training.distributed import Processes, process_group
from facever.training.fine_tuning import freeze, start_from
from facever.training.fit import Intervals, fit
from facever.training.termination import termination
from facever.training.weight_average import WeightAverage
from facever.verification.calibration import Calibration, calibrate, check_pairs
from facever.version import __version__

THRESHOLD_FAR = 1e-3
"""The false accept rate that a model file's threshold is set for."""


def train(config: TrainConfig) -> Path:
    """Train a network, or go on where an earlier run of the same config stopped.

    Under torchrun its processes train together, each on its part of every batch.

    Args:
        config: Everything that decides the run.

    Returns:
        The model file. Beside it in ``config.out`` lie ``config.yaml``, ``log.jsonl``
        and the last checkpoint.

    Raises:
        FaceverError: If the crops, the config or an earlier checkpoint do not fit.
        TerminatedError: If SIGTERM ended the run; the same call goes on.
    """
    with process_group(config.device) as processes:
        return _train(config, processes)


def _train(config: TrainConfig, processes: Processes) -> Path:
    store = CropStore.open(config.data.crops)
    split = split_crops(config, store)
    _check_classes(config, split)
    if len(split.held_out):
        check_pairs(store.labels[split.held_out])
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    network = build.make_network(config.network)
    if config.init is not None:
        start_from(network, config.init)
    frozen = freeze(network, config.frozen)
    network.to(device).to(memory_format=torch.channels_last)
    head = build.make_head(
        config.heads,
        network.embedding_size,
        split.num_classes,
        seed=config.seed,
        processes=processes,
    )
    head.to(device)
    state = TrainingState(
        network,
        head,
        build.make_optimiser(config, network, head),
        average=None if config.ema is None else WeightAverage(network, config.ema),
        frozen=frozen,
    )
    schedule = build.make_schedule(config)
    num_parts = build.parts_of(config, processes)
    mean = _mean_image(store, split, processes) if config.mean == "image" else 127.5
    preprocessing = Preprocessing(mean)
    loader = BatchLoader(
        _place_crops(config, store, split, device, processes),
        split.rows,
        split.labels,
        batch_size=config.batch_size,
        augmentation=build.make_augmentation(config),
        mirror=config.augmentation.mirror,
        seed=config.seed,
        photos_per_identity=config.data.photos_per_identity,
        part=processes.part(config.batch_size),
        workers=config.data.workers,
        pin_memory=device.type == "cuda",
    )

    model_path = config.out / MODEL_FILE
    checkpoint_path = config.out / CHECKPOINT_FILE
    fingerprint = run_fingerprint(config, store)
    if _is_there(checkpoint_path, processes):
        load_checkpoint(checkpoint_path, state, fingerprint)
        if state.step == schedule.steps and _is_there(model_path, processes):
            processes.say(f"{model_path} is trained already: nothing to do")
            return model_path
        processes.say(f"going on from step {state.step:,} of {schedule.steps:,}")
    if processes.is_first:
        write_config(config)
        cut_log(config.out / LOG_FILE, state.step)
    num_weights = sum(weight.numel() for weight in network.parameters())
    processes.say(
        f"{len(split.rows):,} crops of {split.num_classes:,} identities, "
        f"{len(split.held_out):,} crops held out; {config.network.name} with "
        f"{num_weights:,} weights; {' + '.join(head.name for head in config.heads)}; "
        f"{schedule.steps:,} steps of {config.batch_size} on {device}"
        + (f" in {processes.count} processes" if processes.count > 1 else "")
    )
    total, done = (steps * config.batch_size for steps in (schedule.steps, state.step))
    bar = _bar("train", total, processes, done)
    with termination() as stop_asked, bar as advance:
        fit(
            state,
            loader,
            preprocessing,
            schedule,
            device=device,
            bf16=uses_bf16(config.precision, device),
            intervals=Intervals(config.log_every, config.checkpoint_every),
            log_file=config.out / LOG_FILE,
            save=lambda: save_checkpoint(
                checkpoint_path, state, fingerprint, processes
            ),
            advance=advance,
            processes=processes,
            stop_asked=stop_asked,
            accumulate=num_parts,
            clip=config.optimiser.clip,
        )
    if not processes.is_first:
        return model_path

    if state.average is not None:
        network.load_state_dict(state.average.weights)
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
    if len(split.held_out):
        unsaved = LoadedModel(network.eval(), header, preprocessing, fingerprint="")
        embedder = Embedder(unsaved, config.device, config.precision)
        calibration = _calibrate(embedder, store, split)
        header = dataclasses.replace(
            header,
            threshold=calibration.threshold,
            threshold_far=None if calibration.threshold is None else THRESHOLD_FAR,
        )
    save_model(model_path, network, header, mean if isinstance(mean, Tensor) else None)
    print(f"model: {model_path}")
    return model_path


def split_crops(config: TrainConfig, store: CropStore) -> Split:
    """The crops that a run trains on and those that it holds out.

    Raises:
        FaceverError: If the config's list of people does not fit the crops, or too few
            people would be left.
    """
    data = config.data
    if data.people is None:
        return split_identities(store.labels, data.validation_identities, config.seed)
    if data.validation_identities:
        raise ConfigError(
            "data.validation_identities must be 0 where data.people says who is held "
            f"out, got {data.validation_identities}"
        )
    return read_people_list(data.people).split(store.identities, store.labels)


def _place_crops(
    config: TrainConfig,
    store: CropStore,
    split: Split,
    device: torch.device,
    processes: Processes,
) -> CropSource | ResidentCrops:
    """Where to read crops from: the store, or the device after a copy."""
    num_bytes = len(split.rows) * math.prod(CROP_SHAPE)
    if not build.is_resident(config, num_bytes, device):
        return store.crops
    with _bar(f"copy to {device}", len(split.rows), processes) as advance:
        return ResidentCrops(store.crops, split.rows, device, advance)


def _bar(
    title: str, total: int, processes: Processes, done: int = 0
) -> AbstractContextManager[Advance]:
    """Progress in crops, which one process shows for all."""
    if processes.is_first:
        return progress_bar(title, total, "crops", done)
    return nullcontext(ignore_progress)


def _is_there(path: Path, processes: Processes) -> bool:
    """Whether a file of the run folder exists, for every process alike."""
    found = path.exists()
    if processes.any(found) != found:
        raise FileError(
            f"{path} is there for another process of this job but not for this one: "
            "out must be a folder that all machines share"
        )
    return found


def _check_classes(config: TrainConfig, split: Split) -> None:
    if config.data.num_classes not in (None, split.num_classes):
        raise DataError(
            f"data.num_classes is {config.data.num_classes}, but {config.data.crops} "
            f"leaves {split.num_classes} identities to train on"
        )
    check_labels(torch.from_numpy(split.labels), split.num_classes)


def _mean_image(
    store: CropStore, split: Split, processes: Processes
) -> Float32[Tensor, "height width 3"]:
    """The mean of the training crops, read once and in slices that fit any memory."""
    total = np.zeros(store.crops.shape[1:], np.float64)
    if processes.is_first:
        for rows in np.array_split(split.rows, max(1, len(split.rows) // 1024)):
            total += store.crops[rows].sum(axis=0, dtype=np.float64)
    mean = torch.from_numpy((total / len(split.rows)).astype(np.float32))
    return processes.copy_from_first(mean)


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
