"""Steps a second on small images, beside the same steps fed by a DataLoader.

    python eval/speed/small_images.py --data DATA
    python eval/speed/small_images.py --data DATA --device cuda

Network, head, optimiser and batches are those of a recipe (LeNet by default). The set
lies on the device as one tensor and a batch is gathered by index; beside it, torch's
DataLoader collates the same images from a Dataset of tensors, in this process and with
two workers, and sends them to the device. Each turn runs one after the other for the
same number of steps, so that a busy machine slows all of them; ratios are medians over
the turns. Loading alone, without a network, is timed too: it is the part that differs.
Where the device has units for bfloat16, the step is timed with them, too, and on a GPU
once more through torch.compile, which replays CUDA graphs.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from facever import build
from facever.config.reading import load_config
from facever.config.small_images import SmallImageCell, SmallImageTable
from facever.environment import describe_machine, describe_versions
from facever.hardware import has_bf16_units, pick_device, precision_name
from facever.small_images.batches import (
    Preparation,
    PreparedImages,
    SmallImageBatches,
    prepare_images,
)
from facever.small_images.sets import read_small_images

Batch = tuple[Tensor, Tensor]
RECIPE = Path("configs/small_images/ie-loss/mnist-lenet.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--cell", default="softmax")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=100, help="a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-small-images.json")
    )
    options = parser.parse_args()
    cell = load_config(SmallImageTable, options.recipe).cells[options.cell]
    device = pick_device(options.device)
    folder = options.data / cell.data.set
    images = read_small_images(
        cell.data.set, folder if folder.is_dir() else options.data
    )
    preparation = Preparation(cell.data.preparation, images.train.images)
    on_device = prepare_images(images.train, preparation, device)
    at_home = prepare_images(images.train, preparation, torch.device("cpu"))

    feeds = {
        "gathered": _gathered(on_device, cell),
        "DataLoader": _loaded(at_home, cell, device, 0),
        f"DataLoader, {options.workers} workers": _loaded(
            at_home, cell, device, options.workers
        ),
    }
    step = _step(cell, images.num_classes, device)
    cases: dict[str, tuple[Iterator[Batch], Callable[[Batch], None]]] = {
        **{f"loading: {name}": (feed, _nothing) for name, feed in feeds.items()},
        **{f"training: {name}": (feed, step) for name, feed in feeds.items()},
    }
    bf16 = has_bf16_units(str(device))
    if bf16:
        in_bf16 = _step(cell, images.num_classes, device, bf16=True)
        cases["training: gathered, bf16"] = feeds["gathered"], in_bf16
    if device.type == "cuda":
        compiled = _step(cell, images.num_classes, device, bf16=bf16, compiled=True)
        cases[f"training: gathered, compiled, {precision_name(bf16)}"] = (
            feeds["gathered"],
            compiled,
        )

    rates: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(options.turns + 1):
        for name, (feed, use) in cases.items():
            rate = _rate(feed, use, options.steps, device)
            if turn:  # The first turn warms up.
                rates[name].append(rate)
    rows = [_row(name, rates) for name in cases]
    for row in rows:
        print(
            f"{row['case']:35s} {row['steps_per_second']:10,.1f} steps/s  "
            f"{row['times_dataloader']:6.2f} x the DataLoader "
            f"({row['slowest_turn']:.2f} to {row['fastest_turn']:.2f})"
        )
    result = {
        "benchmark": "small-image experiments, steps a second",
        "recipe": f"{options.recipe.parent.name}/{options.recipe.name}",
        "cell": options.cell,
        "batch": cell.batch_size,
        "steps_a_turn": options.steps,
        "turns": options.turns,
        "device": str(device),
        "cases": rows,
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _gathered(source: PreparedImages, cell: SmallImageCell) -> Iterator[Batch]:
    batches = SmallImageBatches(
        source,
        batch_size=cell.batch_size,
        seed=0,
        mirror=cell.data.mirror,
        crop_padding=cell.data.crop_padding,
    )
    return (batches.batch(step) for step in itertools.count())


def _loaded(
    source: PreparedImages, cell: SmallImageCell, device: torch.device, workers: int
) -> Iterator[Batch]:
    """Epoch after epoch of torch's own loader, without augmentation."""
    loader = DataLoader(
        TensorDataset(source.images, source.labels),
        cell.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    while True:
        for images, labels in loader:
            yield (
                images.to(device, non_blocking=True),
                labels.to(device, non_blocking=True),
            )


def _nothing(batch: Batch) -> None:
    pass


def _step(
    cell: SmallImageCell,
    num_classes: int,
    device: torch.device,
    *,
    bf16: bool = False,
    compiled: bool = False,
) -> Callable[[Batch], None]:
    torch.manual_seed(0)
    network = build.make_small_image_network(cell.network)
    network.to(device).to(memory_format=torch.channels_last)
    head = build.make_head(cell.heads, network.embedding_size, num_classes).to(device)
    optimiser = build.make_optimiser(cell, network, head)

    def forward(images: Tensor, labels: Tensor) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = network(images)
        return head(features, labels)

    call = torch.compile(forward, mode="reduce-overhead") if compiled else forward

    def step(batch: Batch) -> None:
        loss = call(*batch).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _rate(
    feed: Iterator[Batch],
    use: Callable[[Batch], None],
    steps: int,
    device: torch.device,
) -> float:
    started = time.perf_counter()
    for batch in itertools.islice(feed, steps):
        use(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps / (time.perf_counter() - started)


def _row(name: str, rates: dict[str, list[float]]) -> dict[str, str | float]:
    what = name.split(":")[0]
    base = rates[f"{what}: DataLoader"]
    ratios = [ours / theirs for ours, theirs in zip(rates[name], base, strict=True)]
    return {
        "case": name,
        "steps_per_second": round(statistics.median(rates[name]), 1),
        "times_dataloader": round(statistics.median(ratios), 2),
        "slowest_turn": round(min(ratios), 2),
        "fastest_turn": round(max(ratios), 2),
    }


if __name__ == "__main__":
    main()
