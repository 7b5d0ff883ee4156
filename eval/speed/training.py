"""Crops a second of the training loop, beside loops without anything around them.

    python eval/speed/training.py --crops STORE

Three loops train the same network under the same head and take turns of a few steps
each, in one process, so that a busy machine slows all:

- ours: ``training.fit`` as ``facever train`` runs it, from the crop store, with the
  mirror, a moving rate, the clock and a log line every 20 steps;
- bare: forward, backward and optimiser step on one batch that lies ready in memory, the
  bound of ours;
- files: as most projects write it, a DataLoader over JPEG files with as many workers,
  decoded, mirrored and scaled by it, fp16 with a gradient scaler on a GPU.

The ratios' median and spread over the turns go to the json, of the time that passes and
of the CPU time of all threads, which other programs on the machine disturb less; beside
them the time of a checkpoint, the shares of a step that go to waiting for crops and to
logging, and the FLOPs a second beside those of a matrix product.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from spread import spread_of_ratios
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from facever import build
from facever.config.training import TrainConfig
from facever.environment import describe_machine, describe_versions
from facever.stages.training.setup import PreparedRun, prepare_run
from facever.training.checkpoint import save_checkpoint
from facever.training.compiling import compiled
from facever.training.fit import Callbacks, Intervals, fit
from facever.training.log_lines import LogLine, LogWindow, log_to

LIMIT = 1.03
"""Times the bare loop's time that ours may take."""
LOG_EVERY = 20

Steps = Callable[[], None]
Seconds = dict[str, list[float]]


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    config = TrainConfig.model_validate(
        {
            "data": {"crops": str(options.crops), "workers": options.workers},
            "network": {"width": options.width},
            "batch_size": options.batch,
            "device": options.device,
            "precision": options.precision,
            "compile": options.compile,
        }
    )
    run = prepare_run(config)
    is_bf16 = run.computation.bf16
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare, flops = bare_steps(config, run, is_bf16, options.block)
        others = {"bare": bare}
        if options.files:
            paths = write_files(run, folder, options.files)
            others["files"] = file_steps(config, run, is_bf16, options, paths)
        seconds, cpu_seconds, lines = take_turns(config, run, options, others)
        checkpoint = time_checkpoint(run, folder)
        logging = time_logging(run, folder)

    crops = options.batch * options.block
    step = statistics.median(seconds["ours"]) / options.block
    product = matrix_product_rate(run.device, is_bf16)
    result = {
        "benchmark": "training, one process",
        "network": f"resnet27, width {options.width}",
        "batch": options.batch,
        "identities": run.split.num_classes,
        "device": str(run.device),
        "precision": "bf16" if is_bf16 else "fp32",
        "compile": options.compile,
        "threads": torch.get_num_threads(),
        "loader_workers": options.workers,
        "turns": options.turns,
        "steps_a_turn": options.block,
        "crops_per_second": {
            name: round(crops / statistics.median(each), 1)
            for name, each in seconds.items()
        },
        "times_bare": spread_of_ratios(seconds["ours"], seconds["bare"], 3),
        "cpu_times_bare": spread_of_ratios(cpu_seconds["ours"], cpu_seconds["bare"], 3),
        "limit_times_bare": LIMIT,
        "share_waiting_for_crops": share(lines, "data_seconds"),
        "share_optimiser": share(lines, "optimiser_seconds"),
        "share_logging": round(logging / step, 5),
        "checkpoint": checkpoint | {"steps": round(checkpoint["seconds"] / step, 1)},
        "gflop_a_crop": round(flops / options.batch / 1e9, 3),
        "gflops_per_second": round(flops / step / 1e9, 1),
        "matrix_product_gflops_per_second": round(product / 1e9, 1),
        "flop_utilisation": round(flops / step / product, 3),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    if "files" in seconds:
        result["files_times_ours"] = spread_of_ratios(
            seconds["files"], seconds["ours"], 3
        )
    print(json.dumps(result, indent=2))
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="a crop store")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--block", type=int, default=10, help="steps a turn")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch; by default all")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--files", type=int, default=4096, help="JPEG files; 0 leaves that loop out"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-training.json")
    )
    return parser.parse_args()


def take_turns(
    config: TrainConfig,
    run: PreparedRun,
    options: argparse.Namespace,
    others: dict[str, Steps],
) -> tuple[Seconds, Seconds, list[LogLine]]:
    """Seconds of each turn, the first left out, CPU seconds, and our log lines.

    Ours is one call of ``fit``, which stands still in its progress report while the
    others have their turn: its next batch was made by then, as in any step.
    """
    passed: Seconds = {"ours": [], **{name: [] for name in others}}
    used: Seconds = {"ours": [], **{name: [] for name in others}}
    num_steps = 0
    mark = now(run.device)

    def turn(name: str) -> None:
        nonlocal mark
        end = now(run.device)
        if num_steps > options.block:  # The first turn warms up.
            passed[name].append(end[0] - mark[0])
            used[name].append(end[1] - mark[1])
        mark = now(run.device)

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal num_steps
        if not count:
            return
        num_steps += 1
        if num_steps % options.block:
            return
        turn("ours")
        for name, steps in others.items():
            steps()
            turn(name)

    length = options.block * (options.turns + 1)
    schedule = {"steps": length, "shape": "cosine"}
    config = TrainConfig.model_validate(config.model_dump() | {"schedule": schedule})
    lines: list[LogLine] = []
    fit(
        run.state,
        run.loader,
        run.preprocessing,
        build.make_schedule(config),
        run.computation,
        Intervals(log=LOG_EVERY, checkpoint=10**9),
        Callbacks(save=lambda: None, log=lines.append, advance=advance),
    )
    return passed, used, lines


def now(device: torch.device) -> tuple[float, float]:
    """Seconds that passed and CPU seconds, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def bare_steps(
    config: TrainConfig, run: PreparedRun, is_bf16: bool, count: int
) -> tuple[Steps, int]:
    """Steps of the bare loop, and the FLOPs of one."""
    network, head, optimiser = copied(config, run)
    batch = run.loader.batch(0)
    images = run.preprocessing(batch.crops.to(run.device))
    labels = batch.labels.to(run.device)
    with FlopCounterMode(display=False) as counter:
        head(network(images), labels).loss.backward()
    called = compiled(network) if config.compile else network

    def steps() -> None:
        for _ in range(count):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=is_bf16):
                embeddings = called(images)
            head(embeddings, labels).loss.backward()
            optimiser.step()

    return steps, counter.get_total_flops()


def copied(
    config: TrainConfig, run: PreparedRun
) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    network, head = copy.deepcopy(run.network), copy.deepcopy(run.state.head)
    return network.train(), head, build.make_optimiser(config, network, head)


class JpegFiles(Dataset):
    """What ``ImageFolder`` and its transforms do, without their dependencies."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        image = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image - 0.5) / 0.5, label


def write_files(run: PreparedRun, folder: Path, count: int) -> list[tuple[Path, int]]:
    places = np.random.default_rng(0).permutation(len(run.split.rows))[:count]
    files = []
    for place in places:
        path = folder / f"{place:08d}.jpg"
        crop = run.crops[run.split.rows[place]]
        cv2.imwrite(str(path), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        files.append((path, int(run.split.labels[place])))
    return files


def file_steps(
    config: TrainConfig,
    run: PreparedRun,
    is_bf16: bool,
    options: argparse.Namespace,
    files: list[tuple[Path, int]],
) -> Steps:
    network, head, optimiser = copied(config, run)
    loader = DataLoader(
        JpegFiles(files),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        pin_memory=run.device.type == "cuda",
    )
    on_gpu = run.device.type == "cuda"
    number = torch.float16 if on_gpu else torch.bfloat16
    scaler = torch.amp.GradScaler(run.device.type, enabled=on_gpu)

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def steps() -> None:
        for _ in range(options.block):
            images, labels = next(batches)
            images, labels = images.to(run.device), labels.to(run.device)
            optimiser.zero_grad()
            with torch.autocast(run.device.type, number, enabled=on_gpu or is_bf16):
                embeddings = network(images)
            scaler.scale(head(embeddings, labels).loss).backward()
            scaler.step(optimiser)
            scaler.update()

    return steps


def time_checkpoint(run: PreparedRun, folder: Path) -> dict[str, float]:
    path, seconds = folder / "checkpoint.pt", []
    for _ in range(5):
        started = time.perf_counter()
        save_checkpoint(path, run.state, "speed")
        seconds.append(time.perf_counter() - started)
    return {
        "seconds": round(statistics.median(seconds), 3),
        "megabytes": round(path.stat().st_size / 1e6, 1),
    }


def time_logging(run: PreparedRun, folder: Path) -> float:
    """Seconds a step, with a line every ``LOG_EVERY``."""
    labels = run.loader.batch(0).labels.to(run.device)
    embeddings = torch.randn(len(labels), run.network.embedding_size)
    with torch.no_grad():
        output = run.state.head(embeddings.to(run.device), labels)
    seconds = []
    for _ in range(9):
        started, _ = now(run.device)
        window = LogWindow(run.device)
        for _ in range(LOG_EVERY):
            for part in ("data", "network", "optimiser", None):
                window.clock.mark(part)
            window.add(output, labels, 1, {})
        log_to(folder / "timed.jsonl")(window.line(1, 0.1))
        seconds.append((now(run.device)[0] - started) / LOG_EVERY)
    return statistics.median(seconds)


def matrix_product_rate(device: torch.device, is_bf16: bool) -> float:
    """FLOPs a second of a square matrix product, the fastest of a few."""
    size = 8192 if device.type == "cuda" else 1024
    number = torch.bfloat16 if is_bf16 else torch.float32
    left, right = (torch.randn(size, size, device=device).to(number) for _ in range(2))
    seconds = []
    for _ in range(10):
        started, _ = now(device)
        left @ right
        seconds.append(now(device)[0] - started)
    return 2 * size**3 / min(seconds)


def share(lines: list[LogLine], part: str) -> float:
    """Of the steps' time, in the lines after the first, whose steps warm up."""
    parts = ("data_seconds", "network_seconds", "optimiser_seconds")
    kept = lines[1:] or lines
    total = sum(line[name] for line in kept for name in parts)
    return round(sum(line[part] for line in kept) / total, 4)


if __name__ == "__main__":
    main()
