"""From photos to answers: where the time goes, stage by stage, and how soon it begins.

    python eval/speed/pipeline.py --photos PHOTOS --model sface

Each photo is read, its faces are found, the prominent one is cut out, embedded with its
mirror image, and looked up among ``--rows`` drawn embeddings: one photo at a time, and
in batches. The backends take turns over the same photos, so that a busy machine slows
all; times are medians of the turns, in milliseconds a photo.

Then ``facever verify`` compares two of the photos in processes of their own, with each
backend: seconds by the clock and of the processor, and whether torch was imported.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facever.choices import Backend
from facever.data.sources.any_source import find_photos
from facever.environment import describe_machine, describe_versions
from facever.faces.detection import choose_faces
from facever.faces.detectors import make_detector
from facever.faces.photo_source import PhotoSource
from facever.gallery.indexes.exact import ExactIndex
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.inference.vectors import unit_vectors
from facever.runtimes import RUNTIMES, is_installed

STAGES = ("read", "find faces", "cut out", "embed", "search")
_MAX_PIXELS = 10_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default="sface")
    parser.add_argument("--count", type=int, default=64, help="photos of a turn")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3, help="turns of facever verify")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-pipeline.json")
    )
    options = parser.parse_args()
    photos = find_photos(options.photos).photos
    step = max(1, len(photos) // options.count)
    photos = photos[::step][: options.count]
    loaded = load_model(options.model)
    backends: list[Backend] = [
        each
        for each in RUNTIMES
        if is_installed(each) and each in _computable(loaded.network)
    ]
    index = _drawn_index(options.rows, loaded.feature_size)
    ways = {each: _Way(options.model, each, index) for each in backends}
    result: dict[str, Any] = {
        "benchmark": "pipeline",
        "model": options.model,
        "photos": len(photos),
        "rows": options.rows,
        "milliseconds_a_photo": {
            str(size): _race(ways, photos, size, options.turns)
            for size in options.batches
        },
        "start": _starts(options, backends),
        "load": os.getloadavg(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _computable(network: Any) -> Sequence[str]:
    return tuple(getattr(network, "starts", RUNTIMES))


def _drawn_index(rows: int, dim: int) -> ExactIndex:
    drawn = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    return ExactIndex(unit_vectors(drawn))


class _Way:
    """The stages, by one backend."""

    def __init__(self, model: str, backend: Backend, index: ExactIndex) -> None:
        self._embedder = Embedder(load_model(model), "cpu", backend=backend)
        detect = make_detector("mtcnn", "cpu", backend)
        assert detect is not None
        self._detect = detect
        self._index = index

    def run(self, photos: Sequence[PhotoSource]) -> list[float]:
        """Seconds of each stage."""
        marks = [time.perf_counter()]
        pixels = [photo.read(_MAX_PIXELS) for photo in photos]
        marks.append(time.perf_counter())
        faces = self._detect(pixels)
        marks.append(time.perf_counter())
        crops = [
            self._embedder.template.cut(
                each, choose_faces(found, each.shape[:2], "prominent")
            )
            for each, found in zip(pixels, faces, strict=True)
            if found
        ]
        marks.append(time.perf_counter())
        if crops:
            features = self._embedder.embed_crops(np.concatenate(crops))
        marks.append(time.perf_counter())
        if crops:
            self._index.search(unit_vectors(features), 5)
        marks.append(time.perf_counter())
        return [float(step) for step in np.diff(marks)]


def _race(
    ways: dict[Backend, _Way], photos: Sequence[PhotoSource], size: int, turns: int
) -> dict[str, dict[str, float]]:
    seconds: dict[Backend, list[np.ndarray]] = {each: [] for each in ways}
    for turn in range(turns + 1):
        for backend, way in ways.items():
            total = np.zeros(len(STAGES))
            for start in range(0, len(photos), size):
                total += way.run(photos[start : start + size])
            if turn > 0:  # The first turn warms up.
                seconds[backend].append(1000 * total / len(photos))
    found = {}
    for backend, rows in seconds.items():
        middle = np.median(rows, axis=0)
        facts = {
            name: round(float(value), 2)
            for name, value in zip(STAGES, middle, strict=True)
        }
        facts["all"] = round(statistics.median(float(row.sum()) for row in rows), 2)
        found[backend] = facts
    return found


def _starts(
    options: argparse.Namespace, backends: Sequence[Backend]
) -> dict[str, dict[str, float | bool]]:
    photos = sorted(options.photos.rglob("*.jpg"))[:2]
    seconds: dict[str, list[tuple[float, float]]] = {each: [] for each in backends}
    with_torch = {}
    for turn in range(options.starts + 1):
        for backend in backends:
            code = (
                "import sys; from facever.cli import main\n"
                "try: main()\n"
                "finally: print('torch' in sys.modules, file=sys.stderr)"
            )
            words = ["verify", *photos, "--model", options.model, "--backend", backend]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            ran = subprocess.run(
                [sys.executable, "-c", code, *words],
                capture_output=True,
                text=True,
                check=True,
            )
            wall = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            with_torch[backend] = ran.stderr.split()[-1] == "True"
            if turn > 0:  # The first turn fetches the files.
                seconds[backend].append((wall, busy))
    return {
        backend: {
            "seconds": round(statistics.median(wall for wall, _ in rows), 2),
            "processor_seconds": round(statistics.median(busy for _, busy in rows), 2),
            "imports_torch": with_torch[backend],
        }
        for backend, rows in seconds.items()
    }


if __name__ == "__main__":
    main()
