"""Photos aligned in a second: facever's backends, its YuNet, and facenet-pytorch.

    python eval/speed/alignment.py --photos PHOTOS --before CHECKOUT

All work on the same files in turns, each in processes of its own, after a warm-up.
facever reads the files, detects and warps; facenet-pytorch only reads and detects,
photo by photo, with torch's own choice of threads. Then every face that each backend
finds is compared with those of the first in the list: of an older checkout of facever
where one is given, and otherwise of torch. With one worker the processor's time is
compared, too, which says more on a machine that others use. Takes ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from spread import spread, spread_of_ratios

from facever.data.sources.any_source import find_photos
from facever.faces.aligner import AlignRecipe
from facever.faces.photo_source import PhotoSource
from facever.faces.photos import DEFAULT_MAX_PIXELS
from facever.faces.workers import AlignWorkers

_BATCH_PHOTOS = 32
_SAME_FACE = 0.3
"""Landmarks of one face lie nearer to each other than this part of its box's width."""

_REFERENCE = Path(__file__).parents[1] / "reference" / "speed-alignment.json"

MTCNN = ["before", "torch", "onnxruntime", "openvino"]
RIVALS = [*MTCNN, "yunet", "facenet_pytorch"]


def main() -> None:
    """Measure, compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256, help="photos of a turn")
    parser.add_argument("--compared", type=int, default=2000, help="photos compared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--before", type=Path, help="an older checkout of facever")
    parser.add_argument("--out", type=Path, default=_REFERENCE)
    parser.add_argument("--serve", choices=RIVALS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return
    rivals = [name for name in RIVALS if name != "before" or options.before]
    servers = {name: start(name, options.before) for name in rivals}
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    busy: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(-1, options.rounds):
        for name, server in servers.items():
            wall, processor = map(float, ask(server, "time").split())
            if turn >= 0:
                seconds[name].append(wall)
                busy[name].append(processor)
                print(f"{turn + 1}: {name} {options.count / wall:.1f} photos/s")
    first = rivals[0]
    with TemporaryDirectory() as folder:
        found = {}
        for name in set(MTCNN) & set(rivals):
            ask(servers[name], f"{folder}/{name}.npz")
            found[name] = read_faces(Path(folder) / f"{name}.npz")
    for server in servers.values():
        server.communicate()
    from facever.environment import describe_machine, describe_versions

    result = {
        "what": "photos a second: files read, faces found, chosen and warped; "
        "facenet_pytorch reads and detects",
        "num_photos": options.count,
        "rounds": options.rounds,
        "workers": options.workers,
        "photos_a_second": {
            name: spread([options.count / value for value in values])
            for name, values in seconds.items()
        },
        f"times_as_fast_as_{first}": compare_times(seconds, first),
        **(
            {f"times_as_fast_as_{first}_by_processor_time": compare_times(busy, first)}
            if options.workers == 1
            else {}
        ),
        f"faces_compared_with_{first}": {
            "num_photos": options.compared,
            "num_faces": sum(len(landmarks) for landmarks, _ in found[first]),
            **{
                name: compare(found[first], found[name])
                for name in rivals
                if name in found and name != first
            },
        },
        "load_average_1min_at_the_end": round(os.getloadavg()[0], 1),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def start(name: str, before: Path | None) -> subprocess.Popen[str]:
    """Start a rival; ``before`` in another checkout of facever."""
    checkout = before if name == "before" else Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--serve", name],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(server: subprocess.Popen[str], line: str) -> str:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{line}\n")
    server.stdin.flush()
    return server.stdout.readline()


def serve(options: argparse.Namespace) -> None:
    """Answer lines: ``time`` by seconds of clock and processor; a file, by faces."""
    photos = find_photos(options.photos).photos
    timed = every(photos, options.count)
    if options.serve == "facenet_pytorch":
        align = facenet_pytorch()
    else:
        align = facever(options.serve, options.workers)
    for line in sys.stdin:
        if line == "time\n":
            started, used = time.perf_counter(), time.process_time()
            for _ in align(timed):
                pass
            used = time.process_time() - used
            print(time.perf_counter() - started, used, flush=True)
        else:
            faces = list(align(every(photos, options.compared)))
            np.savez(
                line.strip(),
                counts=[len(landmarks) for landmarks, _ in faces],
                landmarks=np.concatenate([landmarks for landmarks, _ in faces]),
                boxes=np.concatenate([boxes for _, boxes in faces]),
            )
            print(flush=True)


Faces = tuple[np.ndarray, np.ndarray]  # Landmarks and boxes of a photo.
Align = Callable[[Sequence[PhotoSource]], Iterator[Faces]]


def every(photos: Sequence[PhotoSource], count: int) -> Sequence[PhotoSource]:
    return photos[:: max(1, len(photos) // count)][:count]


def facever(name: str, num_workers: int) -> Align:
    detector = "yunet" if name == "yunet" else "mtcnn"
    recipe = AlignRecipe(detector, "all", False, DEFAULT_MAX_PIXELS)
    if name not in ("yunet", "before"):
        recipe = replace(recipe, backend=name)
    workers = AlignWorkers(recipe, num_workers)

    def align(photos: Sequence[PhotoSource]) -> Iterator[Faces]:
        firsts = range(0, len(photos), _BATCH_PHOTOS)
        batches = [list(photos[first : first + _BATCH_PHOTOS]) for first in firsts]
        for batch in workers.align(batches):
            for photo in batch:
                boxes = np.array([face.box for face in photo.faces]).reshape(-1, 4)
                yield photo.landmarks, boxes

    return align


def facenet_pytorch() -> Align:
    from facenet_pytorch import MTCNN as Mtcnn
    from PIL import Image

    detector = Mtcnn(keep_all=True)

    def align(photos: Sequence[PhotoSource]) -> Iterator[Faces]:
        for photo in photos:
            boxes, _, points = detector.detect(Image.open(photo.path), landmarks=True)
            yield points, boxes

    return align


def read_faces(path: Path) -> list[Faces]:
    with np.load(path) as read:
        edges = np.cumsum(read["counts"])[:-1]
        both = (np.split(read[name], edges) for name in ("landmarks", "boxes"))
        return list(zip(*both, strict=True))


def compare(theirs: list[Faces], ours: list[Faces]) -> dict[str, float]:
    """How many faces were lost and added, and how far landmarks are apart, pixels."""
    num_lost, num_added, gaps = 0, 0, []
    for (landmarks, boxes), (others, _) in zip(theirs, ours, strict=True):
        left = list(others)
        for points, box in zip(landmarks, boxes, strict=True):
            apart = [float(np.abs(points - other).max()) for other in left]
            if apart and min(apart) < _SAME_FACE * (box[2] - box[0]):
                gaps.append(min(apart))
                left.pop(apart.index(min(apart)))
            else:
                num_lost += 1
        num_added += len(left)
    return {
        "lost": num_lost,
        "added": num_added,
        "largest_landmark_difference_pixels": max(gaps),
    }


def compare_times(
    seconds: dict[str, list[float]], first: str
) -> dict[str, dict[str, float]]:
    """How many times as fast as the first, turn by turn."""
    return {
        name: spread_of_ratios(seconds[first], values)
        for name, values in seconds.items()
    }


if __name__ == "__main__":
    main()
