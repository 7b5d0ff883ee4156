"""Heads beside plain softmax: time and memory of forward and backward.

    .venv/bin/uv pip install pytorch-metric-learning
    .venv/bin/python eval/speed/heads.py

Each turn times plain ``linear`` + ``cross_entropy`` and then the head, with one thread
and by the processor's time, so that what else the machine does counts little; the
ratio's median and spread over the turns go to the json. Memory is the peak of what
torch allocates during a step, above what parameters and input hold, with the logits
kept at hand in all of ours, plain softmax included. pytorch-metric-learning's losses
run in the same way, for the heads that it has.

The bound is arithmetic: three products of 256 x 512 x 10,575 are 8.3 GFLOP. Beside them
every pass over the [256, 10575] logits moves 11 MB and over the weights 22 MB.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from torch.profiler import ProfilerActivity, profile

from facever.environment import describe_machine, describe_versions
from facever.heads import HEADS, HeadOutput

DIM = 512
SOFTMAX, METRIC = 1.3, 0.3
"""What a classifying and a metric head may take of softmax's time and memory."""

CASES: list[tuple[str, dict[str, Any], float]] = [
    ("softmax", {}, SOFTMAX),
    ("softmax", {"normalised": True, "bias": False}, SOFTMAX),
    ("hinge", {}, SOFTMAX),
    ("sphereface", {"margin": 4}, SOFTMAX),
    ("lsoftmax", {"margin": 4}, SOFTMAX),
    ("cosface", {}, SOFTMAX),
    ("arcface", {}, SOFTMAX),
    ("arcface", {"gradient": "detached"}, SOFTMAX),
    ("angular", {}, SOFTMAX),
    ("euclidean_margin", {}, SOFTMAX),
    ("anchor_ncm", {"distance": "euclidean"}, SOFTMAX),
    ("anchor_ncm", {"distance": "cosine"}, SOFTMAX),
    ("center", {}, METRIC),
    ("center", {"update": "gradient"}, METRIC),
    ("ie", {"nearest": 0.2}, METRIC),
    ("ie", {"nearest": 1.0, "sigma2": "batch"}, METRIC),
    ("contrastive", {}, METRIC),
    ("triplet", {"mining": "all"}, METRIC),
    ("triplet", {"mining": "hard"}, METRIC),
    ("triplet", {"mining": "semi-hard"}, METRIC),
]
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--classes", type=int, default=10_575)
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-heads.json")
    )
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    embeddings = torch.randn(options.batch, DIM)
    # Four classmates each, so that pairs and triplets have something to do.
    people = torch.randperm(options.classes)[: options.batch // 4]
    labels = people.repeat_interleave(4)
    base = Softmax(options.classes)
    base_step = _step(base, embeddings, labels)
    base_memory = _peak_memory(base_step)

    rows = []
    for title, module, limit in [*_ours(options.classes), *_peers(options.classes)]:
        step = _step(module, embeddings, labels)
        ratios, seconds = _paired(step, base_step, options.turns)
        memory = _peak_memory(step) / base_memory
        row = {
            "head": title,
            "times_softmax": round(statistics.median(ratios), 2),
            "fastest_turn": round(min(ratios), 2),
            "slowest_turn": round(max(ratios), 2),
            "milliseconds": round(1e3 * statistics.median(seconds), 1),
            "memory_times_softmax": round(memory, 2),
        }
        if limit is not None:
            row["limit"] = limit
        rows.append(row)
        print(_line(row), flush=True)

    million = _million()
    result = {
        "benchmark": "heads, forward and backward",
        "batch": options.batch,
        "classes": options.classes,
        "embedding_size": DIM,
        "turns": options.turns,
        "plain_softmax_milliseconds": round(
            1e3 * statistics.median(_alone(base_step)), 1
        ),
        "plain_softmax_megabytes": round(base_memory / 1e6, 1),
        "heads": rows,
        "a_million_classes": million,
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class Softmax(nn.Module):
    """What every project writes first, and what the heads are measured against."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, DIM) / DIM**0.5)

    def forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        """Mean cross-entropy of a batch, with the logits at hand as heads give them."""
        logits = linear(embeddings, self.weight)
        return HeadOutput(cross_entropy(logits, labels), logits.detach())


def _ours(num_classes: int) -> list[tuple[str, nn.Module, float]]:
    return [
        (_title(name, options), HEADS[name](DIM, num_classes, **options), limit)
        for name, options, limit in CASES
    ]


def _peers(num_classes: int) -> list[tuple[str, nn.Module, None]]:
    try:
        from pytorch_metric_learning import losses
    except ImportError:
        print("pytorch-metric-learning is not installed: no peers")
        return []
    kinds = {
        "NormalizedSoftmaxLoss": losses.NormalizedSoftmaxLoss,
        "ArcFaceLoss": losses.ArcFaceLoss,
        "CosFaceLoss": losses.CosFaceLoss,
        "SphereFaceLoss": losses.SphereFaceLoss,
        "LargeMarginSoftmaxLoss": losses.LargeMarginSoftmaxLoss,
    }
    peers = [(name, kind(num_classes, DIM)) for name, kind in kinds.items()]
    peers += [
        ("ContrastiveLoss", losses.ContrastiveLoss()),
        ("TripletMarginLoss", losses.TripletMarginLoss()),
    ]
    return [(f"pytorch-metric-learning {name}", loss, None) for name, loss in peers]


def _title(name: str, options: dict[str, Any]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name} ({shown})" if shown else name


def _step(module: nn.Module, embeddings: Tensor, labels: Tensor) -> Step:
    def step() -> None:
        features = embeddings.clone().requires_grad_()
        module.zero_grad(set_to_none=True)
        output = module(features, labels)
        loss = output if isinstance(output, Tensor) else output.loss
        loss.backward()

    return step


def _paired(step: Step, base: Step, turns: int) -> tuple[list[float], list[float]]:
    ratios, seconds = [], []
    for turn in range(turns + 2):
        (alone,), (beside,) = _alone(base, 1), _alone(step, 1)
        if turn >= 2:  # The first turns warm up.
            ratios.append(beside / alone)
            seconds.append(beside)
    return ratios, seconds


def _alone(step: Step, turns: int = 7) -> list[float]:
    seconds = []
    for _ in range(turns):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    return seconds


def _peak_memory(step: Step) -> int:
    """Bytes that torch holds at most during a step, above those at its start."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        profiler.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted(
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]"
    )
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _million() -> dict[str, Any]:
    """Softmax and ArcFace over 1,000,000 classes at batch 64."""
    torch.manual_seed(0)
    embeddings, labels = torch.randn(64, DIM), torch.randint(0, 1_000_000, (64,))
    found: dict[str, Any] = {"batch": 64, "parameters_megabytes": 1e6 * DIM * 4 / 1e6}
    for name in ("softmax", "arcface"):
        options = {"bias": False} if name == "softmax" else {}
        step = _step(HEADS[name](DIM, 1_000_000, **options), embeddings, labels)
        memory = _peak_memory(step)
        found[name] = {
            "seconds": round(statistics.median(_alone(step, 3)), 2),
            "peak_extra_megabytes": round(memory / 1e6),
        }
        print("a million classes:", name, found[name], flush=True)
    return found


def _line(row: dict[str, Any]) -> str:
    limit = f"  (at most {row['limit']})" if "limit" in row else ""
    return (
        f"{row['head']:55s} {row['times_softmax']:6.2f} x  "
        f"({row['fastest_turn']:.2f} to {row['slowest_turn']:.2f})  memory "
        f"{row['memory_times_softmax']:.2f} x{limit}"
    )


if __name__ == "__main__":
    main()
