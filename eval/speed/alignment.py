"""Photos aligned in a second, against facenet-pytorch's detector photo by photo.

    python eval/speed/alignment.py --photos PHOTOS --count 256

Both work on the same photos in turns, after a warm-up. facenet-pytorch only detects, in
photos that are decoded already, with torch's own choice of threads; facever reads the
files, detects, chooses and warps, in one process a CPU. Every face of every photo is
compared. Takes about 15 seconds for each 100 photos and round on 2 cores.
"""

import argparse
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.faces.detection import Face
from facever.faces.mtcnn import MtcnnDetector
from facever.faces.photos import DEFAULT_MAX_PIXELS, read_photo
from facever.faces.workers import AlignRecipe, AlignWorkers

_BATCH_PHOTOS = 32
_REFERENCE = Path(__file__).parents[1] / "reference" / "speed-alignment.json"


def main() -> None:
    """Measure, compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=_REFERENCE)
    options = parser.parse_args()

    sources = find_photos(options.photos).photos
    sources = sources[:: max(1, len(sources) // options.count)][: options.count]
    photos = [read_photo(photo.path) for photo in sources]
    batches = [
        sources[start : start + _BATCH_PHOTOS]
        for start in range(0, len(sources), _BATCH_PHOTOS)
    ]
    peer = MTCNN(keep_all=True)
    recipe = AlignRecipe("mtcnn", "largest", False, DEFAULT_MAX_PIXELS)
    seconds: dict[str, list[float]] = {"facever": [], "facenet_pytorch": []}
    with AlignWorkers(recipe, options.workers) as workers:
        for round_number in range(-1, options.rounds):
            warm_up = round_number < 0
            started = time.perf_counter()
            for _ in workers.align(batches):
                pass
            between = time.perf_counter()
            for photo in photos[: 8 if warm_up else None]:
                peer.detect(Image.fromarray(photo), landmarks=True)
            ended = time.perf_counter()
            if warm_up:
                continue
            seconds["facever"].append(between - started)
            seconds["facenet_pytorch"].append(ended - between)
            print(
                f"round {round_number + 1}: facever "
                f"{len(photos) / (between - started):.1f} photos/s, facenet-pytorch "
                f"{len(photos) / (ended - between):.1f}"
            )
    result = {
        "what": "photos a second; facever aligns, facenet-pytorch detects",
        "num_photos": len(photos),
        "rounds": options.rounds,
        "workers": options.workers,
        **{name: summarise(len(photos), values) for name, values in seconds.items()},
        "speedup": describe(
            [
                theirs / ours
                for ours, theirs in zip(
                    seconds["facever"], seconds["facenet_pytorch"], strict=True
                )
            ]
        ),
        "same_faces": compare(photos, peer),
        "machine": describe_machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def describe(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    return {
        "median": round(statistics.median(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def summarise(num_photos: int, seconds: list[float]) -> dict[str, float]:
    """Rates from times."""
    return describe([num_photos / value for value in seconds])


def compare(photos: list[np.ndarray], peer: MTCNN) -> dict[str, Any]:
    """Count the faces that only one of the two finds, and how far landmarks differ."""
    num_faces, num_photos_differ, farthest = 0, 0, 0.0
    found: list[list[Face]] = []
    detector = MtcnnDetector()
    for start in range(0, len(photos), _BATCH_PHOTOS):
        found += detector.detect(photos[start : start + _BATCH_PHOTOS])
    for photo, faces in zip(photos, found, strict=True):
        _, _, points = peer.detect(Image.fromarray(photo), landmarks=True)
        points = [] if points is None else points
        num_faces += len(points)
        if len(points) != len(faces):
            num_photos_differ += 1
            continue
        for face, theirs in zip(faces, points, strict=True):
            gap = np.abs(face.landmarks - np.asarray(theirs, dtype=np.float64)).max()
            farthest = max(farthest, float(gap))
    return {
        "num_faces": num_faces,
        "photos_with_another_count": num_photos_differ,
        "largest_landmark_difference_pixels": farthest,
    }


def describe_machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if "model name" in line]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "load_average_1min_at_the_end": round(os.getloadavg()[0], 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "facenet-pytorch", "numpy")},
        "opencv": version("opencv-python-headless"),
    }


if __name__ == "__main__":
    main()
