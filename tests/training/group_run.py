"""What every process of a job computes; the tests compare it with one process alone.

Run by path: ``python group_run.py COUNT FOLDER`` starts COUNT processes over gloo, and
each leaves what it measured in ``FOLDER/RANK.pt``.
"""

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facever.data.batches.loading import BatchLoader
from facever.heads import HEADS, Head, JointHead
from facever.heads.parts.annealing import Annealing
from facever.heads.parts.sharded_rows import ClassShards
from facever.inference.preprocessing import Preprocessing
from facever.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
)
from facever.training.distributed import Processes, process_group
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.heads_across_processes import HeadAcrossProcesses
from facever.training.log_lines import log_to
from facever.training.mixing import Mixing
from facever.training.optimiser import PLAIN, AdamW, parameter_groups
from facever.training.schedule import Schedule

DIM, CLASSES, BATCH, STEPS = 5, 11, 16, 3
TEACHER_DIM = 7
PURE = Annealing(start=0.5, floor=0.0)

# Heads that several processes train, with all that changes what they exchange; every
# other head trains with its defaults.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "softmax without bias": ("softmax", {"bias": False}),
    "softmax of cosines": ("softmax", {"normalised": True, "scale": 8.0}),
    "cosface": ("cosface", {"scale": 8.0}),
    "arcface": ("arcface", {"scale": 8.0}),
    "arcface detached": ("arcface", {"scale": 8.0, "gradient": "detached"}),
    "sphereface": ("sphereface", {"annealing": PURE}),
    "lsoftmax": ("lsoftmax", {"annealing": PURE}),
    "angular": ("angular", {}),
    "center by Wen": ("center", {}),
    "center by gradient": ("center", {"update": "gradient"}),
    "ie": ("ie", {"nearest": 0.5}),
    "ie by Wen": ("ie", {"update": "wen", "sigma2": "batch"}),
    "contrastive": ("contrastive", {"normalised": False}),
    "triplet all": ("triplet", {"mining": "all", "margin": 2.0, "normalised": False}),
    "triplet hard": ("triplet", {"mining": "hard", "margin": 2.0}),
    "triplet semi-hard": ("triplet", {"margin": 2.0}),
}
_named = {name for name, _ in CASES.values()}
CASES |= {name: (name, {}) for name in HEADS if name not in _named}

# Runs of the loop. Every gradient is longer than the clip.
RUNS: dict[str, dict[str, Any]] = {
    "whole": {},
    "sampled": {"sample": 0.4},
    "clipped": {"clip": 0.02},
    "mixed": {"mixing": Mixing(mixup=0.5, cutmix=0.5, seed=0)},
    "adamw in parts": {"adamw": True, "num_parts": 2, "clip": 5.0},
}


def make_head(name: str, options: dict[str, Any], shards: ClassShards | None) -> Head:
    """In the midst of a training: no parameter at its first value."""
    head: Head
    if HEADS[name].shares_classes:
        head = HEADS[name](DIM, CLASSES, shards, **options)
    elif HEADS[name].has_teacher:
        head = HEADS[name](DIM, CLASSES, TEACHER_DIM, **options)
    else:
        head = HEADS[name](DIM, CLASSES, **options)
    held = range(CLASSES) if shards is None else shards.held(CLASSES)
    generator = torch.Generator().manual_seed(7)
    for _, values in sorted(head.state_dict().items()):
        if values.is_floating_point() and values.ndim:
            shape = (CLASSES, *values.shape[1:])
            shape = shape if head.shares_classes else values.shape
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            values.copy_(drawn[held] if head.shares_classes else drawn)
    return head.double()


def draw_batch(seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings and labels, with classmates and a class that is absent."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, CLASSES - 1, (BATCH,), generator=generator)


def draw_teacher(seed: int) -> Tensor:
    """A teacher's embeddings of the same crops."""
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(BATCH, TEACHER_DIM, generator=generator, dtype=torch.float64)


def measure_head(
    name: str, options: dict[str, Any], processes: Processes
) -> dict[str, Any]:
    """Three steps of a head's own training: losses, gradients and what it became."""
    is_sliced = processes.count > 1 and HEADS[name].shares_classes
    shards = ClassShards(processes) if is_sliced else None
    joint = JointHead([(name, make_head(name, options, shards), 0.5)])
    head = HeadAcrossProcesses(joint, processes)
    found: dict[str, Any] = {}
    parameters = list(joint.parameters())
    groups = parameter_groups(nn.Identity(), joint, 0.1)
    optimiser = torch.optim.SGD(groups, lr=0.3, momentum=0.9)
    for step in range(STEPS):
        embeddings, labels = draw_batch(step)
        part = processes.part(BATCH)
        own = embeddings[part].clone().requires_grad_()
        output = head(own, labels[part], draw_teacher(step)[part])
        optimiser.zero_grad(set_to_none=True)
        output.loss.backward()
        head.align_gradients()
        optimiser.step()
        assert own.grad is not None
        found[f"loss {step}"] = output.loss.detach()
        # The mean over processes, which DistributedDataParallel takes, is the sum.
        found[f"gradient {step}"] = processes.joined(own.grad / processes.count)
        hits = output.hits
        if output.logits is not None:
            hits = output.logits.argmax(dim=1) == labels
        if hits is not None:
            found[f"hits {step}"] = hits
    state = TrainingState(nn.Identity(), joint, optimiser, STEPS)
    found["bytes"] = sum(each.numel() * each.element_size() for each in parameters)
    return found | {"state": state}


def measure_unlike(processes: Processes) -> dict[str, Tensor]:
    """What heads hold after a step in processes that do not round alike."""
    found = {}
    for update in ("gradient", "wen"):
        joint = JointHead([("ie", make_head("ie", {"update": update}, None), 1.0)])
        head = HeadAcrossProcesses(joint, processes)
        embeddings, labels = draw_batch(0)
        part = processes.part(BATCH)
        with torch.no_grad():
            if update == "wen":
                joint.heads["ie"].centers.vectors[labels] += 0.01 * processes.rank
        own = embeddings[part].clone().requires_grad_()
        head(own, labels[part]).loss.backward()
        for parameter in joint.parameters():
            assert parameter.grad is not None
            values = parameter.grad
            values = values._values() if values.is_sparse else values
            values += 0.01 * processes.rank
        head.align_gradients()
        torch.optim.SGD(joint.parameters(), lr=0.1).step()
        found |= {f"{update} {k}": v for k, v in joint.state_dict().items()}
    return found


class Flat(nn.Module):
    """A network without batch normalisation, which n processes train as one does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 4, 9)
        self.second = nn.Linear(9, DIM)

    def forward(self, images: Tensor) -> Tensor:
        """From means over tiles, as wide and high as a crop."""
        pooled = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return self.second(torch.tanh(self.first(pooled)))


def make_state(
    processes: Processes, sample: float = 1.0, adamw: bool = False
) -> TrainingState:
    """A network under a joint head that shares classes and has centers."""
    torch.manual_seed(0)
    network = Flat()
    is_whole = processes.count == 1 and sample == 1
    shards = None if is_whole else ClassShards(processes, sample, seed=3)
    head = JointHead(
        [
            ("softmax", HEADS["softmax"](DIM, CLASSES, shards), 1.0),
            ("ie", HEADS["ie"](DIM, CLASSES), 0.1),
            ("center", HEADS["center"](DIM, CLASSES), 0.1),
        ]
    )
    groups = parameter_groups(network, head, weight_decay=5e-4)
    groups[2][PLAIN] = True
    optimiser: torch.optim.Optimizer = (
        AdamW(groups) if adamw else torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    )
    return TrainingState(network, head, optimiser)


def train(
    folder: Path,
    processes: Processes,
    steps: int,
    *,
    sample: float = 1.0,
    adamw: bool = False,
    **computation: Any,
) -> TrainingState:
    """Train to a step, from the checkpoint of the folder if there is one."""
    state = make_state(processes, sample, adamw)
    path = folder / "checkpoint.pt"
    if path.exists():
        load_checkpoint(path, state, "group")
    crops = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    loader = BatchLoader(
        crops,
        np.arange(40),
        np.arange(40) % CLASSES,
        batch_size=8,
        augmentation=None,
        mirror=True,
        seed=0,
        part=processes.part(8),
    )
    fit(
        state,
        loader,
        Preprocessing(),
        # The rate is the same wherever the run stops.
        Schedule(steps, 0.01 if adamw else 0.5),
        Computation(torch.device("cpu"), **computation),
        Intervals(log=2, checkpoint=3),
        Callbacks(
            save=lambda: save_checkpoint(path, state, "group", processes),
            log=log_to(folder / "log.jsonl"),
        ),
        processes,
    )
    return state


def measure(processes: Processes, folder: Path) -> dict[str, Any]:
    """Everything, for the tests to compare."""
    found: dict[str, Any] = {"unlike": measure_unlike(processes)}
    for case, (name, options) in CASES.items():
        head = measure_head(name, options, processes)
        state = head.pop("state")
        path = folder / f"{case}.pt"
        save_checkpoint(path, state, case, processes)
        head["own"] = {k: v.clone() for k, v in state.head.state_dict().items()}
        found[case] = head
    for title, options in RUNS.items():
        straight, resumed = folder / title, folder / f"{title}-resumed"
        for place in (straight, resumed):
            place.mkdir(exist_ok=True)
        found[title] = train(straight, processes, 6, **options).network.state_dict()
        train(resumed, processes, 3, **options)
        processes.any(False)  # The first has written what all read.
        state = train(resumed, processes, 6, **options)
        found[f"{title}-resumed"] = state.network.state_dict()
    return found


def _run(rank: int, count: int, port: int, folder: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "RANK": str(rank),
    }
    with process_group("cpu") as processes:
        torch.save(measure(processes, folder), folder / f"{rank}.pt")


def _main(count: int, folder: Path) -> int:
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    # Forked, so that what takes seconds to import is imported once.
    for rank in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            _run(rank, count, port, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), Path(sys.argv[2])))
