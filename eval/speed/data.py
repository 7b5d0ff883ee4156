"""Crops a second into training, beside other loaders over the same photos.

    python eval/speed/data.py --crops STORE

The gather from the store is held against a copy of the same number of bytes within
memory, which is its bound: 32,256 bytes a crop, read and written. Then an epoch of the
same photos, in batches, through facever's loader, plain and augmented, in this process
and in workers; through torchvision's ImageFolder and torch's DataLoader; and through
webdataset, where that is installed (it is no dependency of facever: ``pip install
webdataset``). The others read JPEG of quality 95, made from the same crops, and mirror
half of them. All take turns, so that a busy machine slows each; what starts before the
first batch comes is not timed. Median and spread of the turns go to the json, and for
the gather the time on the CPU, which other programs do not lengthen. Takes about three
minutes on 2 cores.
"""

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import Compose, PILToTensor, RandomHorizontalFlip

from facever.data.batches.augmentation import Augmentation, AugmentationStrength
from facever.data.batches.loading import BatchLoader
from facever.data.store.crop_store import CropStore
from facever.environment import describe_machine, describe_versions
from facever.progress import progress_bar

BYTES_A_CROP = 112 * 96 * 3
LIMIT_GATHER = 20_000
"""Crops a second that the gather must reach, in batches of 256 from page cache."""
PIPELINE_BATCH = 64
WARM_UP_BATCHES = 8
STRONG = AugmentationStrength(
    shift=3.0,
    rotation=5.0,
    occlusion=0.2,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    grey=0.1,
    blur=0.2,
    low_resolution=0.2,
    jpeg=0.2,
    crop=0.2,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="a crop store")
    parser.add_argument("--photos", type=int, default=4096, help="in an epoch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--work", type=Path, help="where to put the JPEG files")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-data.json")
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = CropStore.open(options.crops)
    result: dict[str, Any] = {
        "benchmark": "data",
        "gather": measure_gather(store, 20 * options.turns),
        "epoch": measure_epoch(store, options),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


# The gather


def measure_gather(store: CropStore, turns: int) -> dict[str, Any]:
    """Batches of 256 from page cache, on one thread, beside a copy in memory."""
    rows = np.arange(len(store))
    loader = BatchLoader(
        store.crops,
        rows,
        store.labels,
        batch_size=256,
        augmentation=None,
        mirror=True,
        seed=0,
    )
    for start in range(0, len(store), 4096):  # Into the page cache.
        store.crops[start : start + 4096].max()
    source = store.crops[:256].copy()
    drawn = np.random.default_rng(0).integers(0, len(store), (turns + 3, 256))
    ways: dict[str, Callable[[int], object]] = {
        "copy of as many bytes": lambda turn: source.copy(),
        "gather": lambda turn: store.crops[drawn[turn]],
        "batch of the loader": loader.batch,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    on_cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 3):
        for name, way in ways.items():
            started, started_on_cpu = time.perf_counter(), time.thread_time()
            way(turn)
            if turn >= 3:  # The first turns warm up.
                seconds[name].append(time.perf_counter() - started)
                on_cpu[name].append(time.thread_time() - started_on_cpu)
    bound = statistics.median(seconds["copy of as many bytes"])
    return {
        "crops_a_batch": 256,
        "bytes_a_crop": BYTES_A_CROP,
        "limit_crops_per_second": LIMIT_GATHER,
        "ways": {
            name: {
                **rates(256, each),
                "crops_per_cpu_second": round(256 / statistics.median(on_cpu[name])),
                "gigabytes_per_second": round(
                    256 * BYTES_A_CROP / statistics.median(each) / 1e9, 2
                ),
                "share_of_the_bound": round(bound / statistics.median(each), 2),
            }
            for name, each in seconds.items()
        },
    }


# An epoch through several loaders


def measure_epoch(store: CropStore, options: argparse.Namespace) -> dict[str, Any]:
    """The same photos through facever's loader and others'."""
    count = min(options.photos, len(store)) // PIPELINE_BATCH * PIPELINE_BATCH
    rows = np.linspace(0, len(store) - 1, count).astype(np.int64)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        export(store, rows, Path(folder))
        ways = {
            **our_loaders(store, rows, options.workers),
            **other_loaders(Path(folder), count, options.workers),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        num_batches = count // PIPELINE_BATCH
        with progress_bar("turns", options.turns * len(ways), "loaders") as advance:
            for _ in range(options.turns):
                for name, way in ways.items():
                    seconds[name].append(time_epoch(way, num_batches))
                    advance(1, name)
    num_timed = (num_batches - WARM_UP_BATCHES) * PIPELINE_BATCH
    base = statistics.median(seconds["ImageFolder and DataLoader"])
    return {
        "photos": count,
        "crops_a_batch": PIPELINE_BATCH,
        "workers": options.workers,
        "augmentation": {name: value for name, value in vars(STRONG).items() if value},
        "ways": {
            name: {
                **rates(num_timed, each),
                "times_image_folder": round(base / statistics.median(each), 2),
            }
            for name, each in seconds.items()
        },
    }


def time_epoch(way: Callable[[], Iterable[Any]], num_batches: int) -> float:
    """Seconds from the end of the warm-up to the last batch."""
    batches = iter(way())
    for _ in islice(batches, WARM_UP_BATCHES):
        pass
    started = time.perf_counter()
    num_left = sum(1 for _ in islice(batches, num_batches - WARM_UP_BATCHES))
    seconds = time.perf_counter() - started
    assert num_left == num_batches - WARM_UP_BATCHES
    return seconds


def our_loaders(
    store: CropStore, rows: np.ndarray, workers: int
) -> dict[str, Callable[[], Iterator[Any]]]:
    """The loader, plain and augmented, in this process and in workers."""

    def stream(augmentation: Augmentation | None, workers: int) -> Iterator[Any]:
        loader = BatchLoader(
            store.crops,
            rows,
            store.labels[rows],
            batch_size=PIPELINE_BATCH,
            augmentation=augmentation,
            mirror=True,
            seed=0,
            workers=workers,
        )
        return loader.batches(0, loader.sampler.batches_an_epoch)

    strong = Augmentation(STRONG)
    return {
        "facever": partial(stream, None, 0),
        "facever, augmented": partial(stream, strong, 0),
        f"facever, augmented, {workers} workers": partial(stream, strong, workers),
    }


def other_loaders(
    folder: Path, count: int, workers: int
) -> dict[str, Callable[[], Iterable[Any]]]:
    """What others read JPEG files with."""
    flip = Compose([RandomHorizontalFlip(), PILToTensor()])
    images = ImageFolder(str(folder / "photos"), flip)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "ImageFolder and DataLoader": lambda: DataLoader(
            images, PIPELINE_BATCH, shuffle=True, num_workers=workers
        )
    }
    try:
        import webdataset
    except ImportError:
        print("webdataset is not installed: left out")
        return ways

    def shards() -> Iterable[Any]:
        dataset = (
            webdataset.WebDataset(
                [str(path) for path in sorted(folder.glob("*.tar"))],
                shardshuffle=100,
            )
            .shuffle(1000)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(flip, int)
            .batched(PIPELINE_BATCH)
        )
        return DataLoader(dataset, batch_size=None, num_workers=workers)

    ways[f"webdataset {webdataset.__version__}"] = shards
    return ways


def export(store: CropStore, rows: np.ndarray, folder: Path) -> None:
    """The crops as JPEG files by identity, and as eight tar shards."""
    shards = [tarfile.open(folder / f"{number}.tar", "w") for number in range(8)]
    for place, row in enumerate(rows.tolist()):
        file = io.BytesIO()
        Image.fromarray(np.asarray(store.crops[row])).save(file, "jpeg", quality=95)
        photo = folder / "photos" / f"{store.labels[row]:06}" / f"{row:08}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(file.getvalue())
        for suffix, content in (
            ("jpg", file.getvalue()),
            ("cls", str(store.labels[row]).encode()),
        ):
            member = tarfile.TarInfo(f"{row:08}.{suffix}")
            member.size = len(content)
            shards[place % len(shards)].addfile(member, io.BytesIO(content))
    for shard in shards:
        shard.close()


def rates(count: int, seconds: list[float]) -> dict[str, float]:
    """Crops a second: median and spread."""
    return {
        "crops_per_second": round(count / statistics.median(seconds)),
        "slowest_turn": round(count / max(seconds)),
        "fastest_turn": round(count / min(seconds)),
    }


if __name__ == "__main__":
    main()
