"""A training run before its first step: config and crops become what the loop takes."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from facever import build
from facever.config.training import TrainConfig
from facever.data.batches.crop_workers import CropSource
from facever.data.batches.loading import BatchLoader
from facever.data.batches.people_list import read_people_list
from facever.data.batches.resident import ResidentCrops
from facever.data.batches.sampling import Split, split_identities
from facever.data.store.crop_store import Crops, CropStore
from facever.errors import ConfigError, DataError
from facever.faces.templates import TEMPLATES
from facever.hardware import pick_device
from facever.heads import HEADS, check_labels
from facever.inference.preprocessing import Preprocessing
from facever.models.base import EmbeddingNetwork
from facever.progress import Advance, ignore_progress, progress_bar
from facever.stages.training.teacher import Teacher, read_teacher
from facever.training.checkpoint import TrainingState
from facever.training.distributed import ALONE, Processes
from facever.training.fit import Computation
from facever.training.schedule import Schedule
from facever.training.tensorboard import check_tensorboard
from facever.verification.model_threshold import (
    check_impostor_pairs,
    check_threshold_pairs,
)

THRESHOLD_FAR = 1e-3
"""The false accept rate of a model file's threshold and of the held-out TAR."""


@dataclass(frozen=True)
class PreparedRun:
    """Everything that a run needs before its first step.

    Attributes:
        store: The store that holds all crops.
        crops: Its crops as the network takes them.
        split: Which of the crops train and which are held out.
        state: Network, heads and optimiser, at step 0.
        schedule: The learning rate of every step.
        computation: How gradients are computed.
        preprocessing: Turns crops into the network's input.
        loader: Gives this process's part of every batch.
        teacher: What the heads learn from beside the crops, where there is a teacher.
    """

    store: CropStore
    crops: Crops
    split: Split
    state: TrainingState
    schedule: Schedule
    computation: Computation
    preprocessing: Preprocessing
    loader: BatchLoader
    teacher: Teacher | None

    @property
    def network(self) -> EmbeddingNetwork:
        """The network of the state."""
        assert isinstance(self.state.network, EmbeddingNetwork)
        return self.state.network

    @property
    def device(self) -> torch.device:
        """The device of network and heads."""
        return self.computation.device


def prepare_run(config: TrainConfig, processes: Processes = ALONE) -> PreparedRun:
    """Set a run up; nothing is written.

    Args:
        config: Everything that decides the run.
        processes: The processes of the job; each gets its part of every batch.

    Raises:
        FaceverError: If crops and config do not fit each other or this machine.
    """
    store = CropStore.open(config.data.crops)
    split = split_crops(config, store)
    _check_classes(config, split)
    _check_held_out(config, store.labels[split.held_out])
    _check_classmates(config)
    _check_mixing(config)
    if config.tensorboard:
        check_tensorboard()
    device = pick_device(config.device)
    teacher = read_teacher(config, store, processes)
    state = build.make_training_state(
        config,
        split.num_classes,
        device,
        processes,
        None if teacher is None else teacher.embeddings.shape[1],
    )
    schedule = build.make_schedule(config)
    computation = build.make_computation(config, device, processes)
    assert isinstance(state.network, EmbeddingNetwork)
    crops = store.crops_for(TEMPLATES[state.network.template])
    mean = _mean_image(crops, split, processes) if config.mean == "image" else 127.5
    loader = BatchLoader(
        _place_crops(config, crops, split, device, processes),
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
        teacher=None if teacher is None else teacher.embeddings[split.rows],
    )
    return PreparedRun(
        store,
        crops,
        split,
        state,
        schedule,
        computation,
        Preprocessing(mean),
        loader,
        teacher,
    )


def split_crops(config: TrainConfig, store: CropStore) -> Split:
    """The crops that a run trains on and those that it holds out.

    Raises:
        FaceverError: If the config's list of people does not fit the crops, or too few
            people would be left.
    """
    data = config.data
    if data.people is None:
        # Nobody needs names to learn from a teacher alone.
        learns_names = not all(
            HEADS[head.name].has_teacher for head in config.heads if head.name in HEADS
        )
        return split_identities(
            store.labels,
            data.validation_identities,
            config.seed,
            fewest=2 if learns_names else 1,
        )
    if data.validation_identities:
        raise ConfigError(
            "data.validation_identities must be 0 where data.people says who is held "
            f"out, got {data.validation_identities}"
        )
    return read_people_list(data.people).split(store.identities, store.labels)


def _place_crops(
    config: TrainConfig,
    crops: Crops,
    split: Split,
    device: torch.device,
    processes: Processes,
) -> CropSource | ResidentCrops:
    """Where to read crops from: the store, or the device after a copy."""
    num_bytes = len(split.rows) * math.prod(crops.shape[1:])
    if not build.is_resident(config, num_bytes, device):
        return crops
    with shown_bar(f"copy to {device}", len(split.rows), processes) as advance:
        return ResidentCrops(crops, split.rows, device, advance)


def shown_bar(
    title: str, total: int, processes: Processes, done: int = 0
) -> AbstractContextManager[Advance]:
    """Progress in crops, which one process shows for all."""
    if processes.is_first:
        return progress_bar(title, total, "crops", done)
    return nullcontext(ignore_progress)


def _check_classes(config: TrainConfig, split: Split) -> None:
    if config.data.num_classes not in (None, split.num_classes):
        raise DataError(
            f"data.num_classes is {config.data.num_classes}, but {config.data.crops} "
            f"leaves {split.num_classes} identities to train on"
        )
    check_labels(torch.from_numpy(split.labels), split.num_classes)


def _check_held_out(config: TrainConfig, labels: Int64[np.ndarray, " crops"]) -> None:
    goes_by_them = config.schedule.shape == "plateau"
    if goes_by_them and config.validate_every is None:
        raise ConfigError(
            "schedule.shape=plateau goes by looks at held-out people: set "
            "validate_every to the steps between two looks"
        )
    if len(labels):
        try:
            check_threshold_pairs(labels)
        except DataError as error:
            raise ConfigError(
                f"{error}; hold out others by data.validation_identities or "
                "data.people, or nobody, by data.validation_identities=0"
            ) from None
    elif config.validate_every is not None:
        raise ConfigError(
            f"validate_every={config.validate_every} looks at held-out people, but "
            "nobody is held out: set data.validation_identities or data.people, or "
            "leave it out"
        )
    if goes_by_them and config.schedule.plateau.measure == "tar":
        check_impostor_pairs(labels, THRESHOLD_FAR)


def _check_classmates(config: TrainConfig) -> None:
    for head in config.heads:
        kind = HEADS.get(head.name)
        if kind is not None and kind.compares_classmates:
            count = config.data.photos_per_identity
            if count is None:
                raise ConfigError(
                    f"head {head.name} compares crops of one person in a batch: set "
                    "data.photos_per_identity, the crops of each, such as 4"
                )
            if count > config.batch_size // 2:
                raise ConfigError(
                    f"head {head.name} compares people in a batch: "
                    "data.photos_per_identity must be at most "
                    f"{config.batch_size // 2}, half of batch_size, got {count}"
                )


def _check_mixing(config: TrainConfig) -> None:
    options = config.augmentation
    if not (options.mixup or options.cutmix):
        return
    if config.data.photos_per_identity is not None:
        raise ConfigError(
            "augmentation.mixup and cutmix mix neighbours in a batch, whom "
            "data.photos_per_identity makes one person: leave it out, or set mixup and "
            "cutmix to 0"
        )
    for head in config.heads:
        kind = HEADS.get(head.name)
        if kind is not None and not kind.allows_mixtures:
            allowed = [name for name, each in HEADS.items() if each.allows_mixtures]
            raise ConfigError(
                f"head {head.name} cannot take a crop with each of two labels: set "
                "augmentation.mixup and augmentation.cutmix to 0, or take heads of "
                f"{', '.join(allowed)}"
            )


def _mean_image(
    crops: Crops, split: Split, processes: Processes
) -> Float32[Tensor, "height width 3"]:
    """The mean of the training crops, read once and in slices that fit any memory."""
    total = np.zeros(crops.shape[1:], np.float64)
    if processes.is_first:
        for rows in np.array_split(split.rows, max(1, len(split.rows) // 1024)):
            total += crops[rows].sum(axis=0, dtype=np.float64)
    mean = torch.from_numpy((total / len(split.rows)).astype(np.float32))
    return processes.copy_from_first(mean)
