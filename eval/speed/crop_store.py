"""Open a large crop store, count and check it: time and memory.

    python eval/speed/crop_store.py --out eval/reference/speed-crop-store.json

The store is made for it: 430,000 crops of 10,000 identities, a table with landmarks of
17 digits as a detector gives them, and black crops in a file with holes, which takes no
disk. Each measurement is a process of its own, since memory is the most that a process
ever held. Opening is timed beside Python's csv module reading the same table.
"""

import argparse
import csv
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from facever.csv_tables import write_csv
from facever.data.store.checksums import write_checksums, write_store_json
from facever.data.store.crop_bytes import crops_header
from facever.data.store.crop_store import CropStore
from facever.data.store.tables import CROP_COLUMNS, FAILURE_COLUMNS, number_texts
from facever.faces.templates import DEFAULT_TEMPLATE
from facever.stages.store.facts import describe_store
from facever.version import __version__

PHOTOS_PER_IDENTITY = 43
TASKS = ("open", "csv module", "info", "nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=430_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        write_black_store(store, options.crops)
        turns = [
            {task: run(task, store) for task in TASKS} for _ in range(options.turns)
        ]
    result = {
        "version": __version__,
        "machine": platform.processor() or platform.machine(),
        "crops": options.crops,
        "turns": options.turns,
        **{task.replace(" ", "_"): summarise(turns, task) for task in TASKS},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def write_black_store(folder: Path, num_crops: int) -> None:
    crop_bytes = int(np.prod(DEFAULT_TEMPLATE.shape))
    with (folder / "crops.npy").open("wb") as file:
        file.write(crops_header(num_crops, DEFAULT_TEMPLATE.shape))
        file.truncate(file.tell() + num_crops * crop_bytes)
    black = zlib.crc32(bytes(crop_bytes))
    write_checksums(folder, [np.full(num_crops, black, np.uint32)])
    generator = np.random.default_rng(0)
    write_csv(
        folder / "crops.csv",
        CROP_COLUMNS,
        (
            [row, f"{label:07d}", label, f"{label:07d}/{photo:03d}.jpg", *numbers]
            for row in range(num_crops)
            for label, photo in [divmod(row, PHOTOS_PER_IDENTITY)]
            for points in [(generator.random(11) * 250).tolist()]
            for numbers in [number_texts([*points, 0.1234, 1, 1, 1, 1, 1])]
        ),
    )
    write_csv(folder / "failures.csv", FAILURE_COLUMNS, [])
    write_store_json(
        folder,
        {
            "settings": {},
            "fingerprint": "",
            "num_crops": num_crops,
            "num_failures": 0,
        },
    )


def run(task: str, store: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--task", task, "--store", str(store)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(task: str, folder: Path) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    if task == "open":
        CropStore.open(folder)
    elif task == "csv module":
        with (folder / "crops.csv").open(encoding="utf-8", newline="") as file:
            list(csv.reader(file))
    elif task == "info":
        describe_store(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak / 1e3,
    }


def summarise(turns: list[dict[str, dict[str, float]]], task: str) -> dict[str, float]:
    found = [turn[task] for turn in turns]
    return {
        "seconds": round(statistics.median(one["seconds"] for one in found), 3),
        "slowest_seconds": round(max(one["seconds"] for one in found), 3),
        "cpu_seconds": round(statistics.median(one["cpu_seconds"] for one in found), 3),
        "peak_mb": round(max(one["peak_mb"] for one in found), 1),
    }


if __name__ == "__main__":
    main()
