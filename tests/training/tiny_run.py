"""A tiny training run, for tests in this process and for one that is to be killed.

Run by path: ``python tiny_run.py FOLDER`` saves a checkpoint after every step and hangs
before the last.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from facever.data.batches.augmentation import Augmentation, AugmentationStrength
from facever.data.batches.loading import BatchLoader
from facever.heads import HEADS, JointHead
from facever.inference.preprocessing import Preprocessing
from facever.models.resnet27 import ResNet27
from facever.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
)
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.log_lines import log_to
from facever.training.optimiser import parameter_groups
from facever.training.schedule import Schedule
from facever.training.weight_average import WeightAverage

STEPS = 10


def make_state(seed: int = 0, embedding_size: int = 8) -> TrainingState:
    """The narrowest network under three heads, each with a state of its own."""
    torch.manual_seed(seed)
    network = ResNet27(width=1 / 16, embedding_size=embedding_size)
    network.to(memory_format=torch.channels_last)
    head = JointHead(
        [
            (name, HEADS[name](embedding_size, 4), weight)
            for name, weight in [("softmax", 1.0), ("ie", 0.1), ("center", 0.01)]
        ]
    )
    groups = parameter_groups(network, head, weight_decay=5e-4)
    return TrainingState(
        network,
        head,
        torch.optim.SGD(groups, lr=1.0, momentum=0.9),
        average=WeightAverage(network, decay=0.7),
    )


def make_loader() -> BatchLoader:
    """Fourteen crops of noise in batches of four: an epoch leaves two out."""
    crops = np.random.default_rng(0).integers(0, 256, (14, 112, 96, 3), np.uint8)
    return BatchLoader(
        crops,
        np.arange(14),
        np.arange(14) % 4,
        batch_size=4,
        augmentation=Augmentation(AugmentationStrength(shift=3.0, brightness=0.3)),
        mirror=True,
        seed=0,
    )


def train(
    folder: Path,
    *,
    checkpoint_every: int = 1,
    before_save: Callable[[int], None] = lambda step: None,
    after_save: Callable[[int], None] = lambda step: None,
    stop_asked: Callable[[], bool] = lambda: False,
    seed: int = 0,
) -> TrainingState:
    """Train to the end, from the checkpoint of the folder if there is one."""
    torch.set_num_threads(1)
    state = make_state(seed)
    path = folder / "checkpoint.pt"
    if path.exists():
        load_checkpoint(path, state, "tiny")

    def save() -> None:
        before_save(state.step)
        save_checkpoint(path, state, "tiny")
        after_save(state.step)

    fit(
        state,
        make_loader(),
        Preprocessing(),
        Schedule(STEPS, 0.05, drops=(6,), warmup=2),
        Computation(torch.device("cpu")),
        Intervals(log=1, checkpoint=checkpoint_every),
        Callbacks(save, log_to(folder / "log.jsonl"), stop_asked=stop_asked),
    )
    return state


def _hang_at_the_end(step: int) -> None:
    if step == STEPS:
        signal.pause()


if __name__ == "__main__":
    train(Path(sys.argv[1]), before_save=_hang_at_the_end)
