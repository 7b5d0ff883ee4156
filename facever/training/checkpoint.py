"""Checkpoints: everything that a run needs to go on, in one file."""

import copy
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facever.errors import ModelFileError
from facever.files import whole_file
from facever.inference.torch_files import read_archive
from facever.training.distributed import ALONE, Processes
from facever.training.schedule import Plateau
from facever.training.sliced_checkpoints import join_slices, take_own_slices
from facever.training.weight_average import WeightAverage

CHECKPOINT_FILE = "checkpoint.pt"
"""Name of the checkpoint in the folder of a run, from which the run goes on."""

_FORMAT = 1


@dataclass
class TrainingState:
    """What changes while training.

    Attributes:
        network: The network that trains.
        head: The heads on the network's embeddings.
        optimiser: The optimiser of the parameters of network and heads.
        step: Number of steps that are done.
        average: The averaged weights of the network; None where they are not wanted.
        plateau: The rule that lowers the learning rate by held-out people; None where
            it is not wanted.
        frozen: Parts of the network that stay in evaluation mode; not saved.
    """

    network: nn.Module
    head: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    average: WeightAverage | None = None
    plateau: Plateau | None = None
    frozen: tuple[nn.Module, ...] = ()

    @property
    def optimiser_parameters(self) -> list[Tensor]:
        """Parameters in the order in which the optimiser numbers them."""
        return [
            each for group in self.optimiser.param_groups for each in group["params"]
        ]


def save_checkpoint(
    path: Path, state: TrainingState, fingerprint: str, processes: Processes = ALONE
) -> None:
    """Write a checkpoint under a temporary name and rename it into place.

    It does not tell how many processes there were: any number goes on from it.

    Args:
        path: The name that the checkpoint gets.
        state: The state to save.
        fingerprint: The fingerprint of config and data, compared on resume.
        processes: The processes of the job: all of them call the function, the first
            one writes.

    Raises:
        FileError: If the file cannot be written; the checkpoint before it stays.
    """
    content = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "step": state.step,
        "network": state.network.state_dict(),
        "head": state.head.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "torch_random": torch.get_rng_state(),
    }
    if state.average is not None:
        content["average"] = state.average.weights
    if state.plateau is not None:
        content["plateau"] = state.plateau.content()
    join_slices(content, state.head, state.optimiser_parameters, processes)
    if not processes.is_first:
        return
    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # Its writer covers what the system said, such as that the disk is full.
            raise error.__context__ or error from None


def load_checkpoint(path: Path, state: TrainingState, *fingerprints: str) -> None:
    """Put a checkpoint's content into a state, in place.

    Args:
        path: A file that ``save_checkpoint`` wrote.
        state: A state of the same network, head and optimiser; changed in place.
        fingerprints: The run's fingerprint, which must equal the one saved; of a run
            that is lengthened the fingerprint that it had before, too.

    Raises:
        ModelFileError: If the file is damaged, foreign or of another config or data.
    """
    content = read_checkpoint(path)
    if content.get("fingerprint") not in fingerprints:
        raise ModelFileError(
            f"{path} was made with another config or other crops; "
            "set out=... to a new folder, or delete the old run to start over"
        )
    try:
        take_own_slices(content, state.head, state.optimiser_parameters)
        state.network.load_state_dict(content["network"])
        state.head.load_state_dict(content["head"])
        # A copy: the optimiser would go on with the mapped file.
        state.optimiser.load_state_dict(copy.deepcopy(content["optimiser"]))
        if state.average is not None:
            state.average.load(content["average"])
        if state.plateau is not None:
            state.plateau.load(content["plateau"])
        torch.set_rng_state(content["torch_random"])
        state.step = content["step"]
    except (KeyError, RuntimeError, ValueError):
        raise ModelFileError(
            f"{path} holds another network, head or optimiser than this run's; "
            "set out=... to a new folder, or delete the old run to start over"
        ) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, never a pickle's code.

    Tensors are mapped, so that each of several processes reads its own rows alone.

    Raises:
        ModelFileError: If the file is damaged or not a checkpoint of facever.
    """
    try:
        content = read_archive(path)
    except OSError as error:
        raise ModelFileError(
            f"cannot read checkpoint {path}: {error.strerror}"
        ) from None
    # torch.load raises nearly any class on bytes that are not its own, and its messages
    # advise to load them unsafely: they are not for our user.
    except Exception:
        raise ModelFileError(
            f"checkpoint {path} is damaged or not a checkpoint; "
            "delete it to start this run over"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelFileError(f"{path} is not a checkpoint of this version of facever")
    return content


@dataclass(frozen=True)
class KeptCheckpoints:
    """Which checkpoints stay, as ``checkpoint-00004000.pt`` beside ``checkpoint.pt``.

    A run goes on from ``checkpoint.pt``; copy another one over it to go back.

    Attributes:
        last: Number of the newest checkpoints to keep, at least 1; 1 keeps
            ``checkpoint.pt`` alone.
        milestones: Steps whose checkpoints stay for good.
    """

    last: int = 1
    milestones: tuple[int, ...] = ()

    def keep(self, path: Path, step: int) -> None:
        """After a checkpoint was saved; again does no harm.

        Args:
            path: The newest checkpoint.
            step: The step of that checkpoint.
        """
        if self.last > 1 or step in self.milestones:
            numbered = _numbered(path, step)
            if not numbered.exists():
                with whole_file(numbered) as temporary:
                    temporary.unlink(missing_ok=True)
                    _link(path, temporary)
        steps = sorted(int(each.stem[-8:]) for each in path.parent.glob(_pattern(path)))
        passing = [each for each in steps if each not in self.milestones]
        newest = set(steps[-self.last :]) if self.last > 1 else set()
        for each in passing:
            if each not in newest:
                _numbered(path, each).unlink()


def _numbered(path: Path, step: int) -> Path:
    return path.with_name(f"{path.stem}-{step:08d}{path.suffix}")


def _pattern(path: Path) -> str:
    return f"{path.stem}-{'[0-9]' * 8}{path.suffix}"


def _link(path: Path, other: Path) -> None:
    """A second name: the next checkpoint takes the first one and not the content."""
    try:
        os.link(path, other)
    except OSError:  # A file system without second names.
        shutil.copyfile(path, other)
