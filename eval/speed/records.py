"""Photos of a ``.rec`` a second and core, beside the bare JPEG decoder.

    python eval/speed/records.py --crops STORE

The crops of a store, padded to 112x112, are written as JPEG of quality 95 into a record
file, which is listed and read back as ``facever align`` does. Its bound is the decoder:
``cv2.imdecode`` of the same bytes, held in memory. Both take turns on one thread, so
that a busy machine slows each; median and spread of the turns go to the json.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from facever.data.recordio.photos import list_record_photos
from facever.data.recordio.writer import write_record_photos
from facever.data.store.crop_store import CropStore
from facever.environment import describe_machine, describe_versions
from facever.faces.photos import DEFAULT_MAX_PIXELS

LIMIT = 2_500
"""Photos a second and core that reading and decoding must reach."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="a crop store")
    parser.add_argument("--photos", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-records.json")
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    store = CropStore.open(options.crops)
    count = min(options.photos, len(store))
    rows = np.argsort(store.labels[:count], kind="stable")
    contents = [(int(store.labels[row]), encode(store.crops[row])) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.rec"
        write_record_photos(path, iter(contents))
        started = time.perf_counter()
        photos = list_record_photos(path).photos
        listing = time.perf_counter() - started
        assert len(photos) == count

        def read() -> None:
            for photo in photos:
                photo.read(DEFAULT_MAX_PIXELS)

        def decode() -> None:
            for _, content in contents:
                cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)

        seconds = alternate({"read": read, "decode": decode}, options.turns)
    ratios = [a / b for a, b in zip(seconds["read"], seconds["decode"], strict=True)]
    result = {
        "benchmark": "reading a .rec, one thread",
        "photos": count,
        "bytes_a_photo": round(statistics.mean(len(each) for _, each in contents)),
        "listing_seconds": round(listing, 3),
        "photos_per_second": round(count / statistics.median(seconds["read"])),
        "slowest_and_fastest": [
            round(count / pick(seconds["read"])) for pick in (max, min)
        ],
        "limit_photos_per_second": LIMIT,
        "times_the_bare_decoder": round(statistics.median(ratios), 2),
        "turns": options.turns,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def encode(crop: np.ndarray) -> bytes:
    wide = np.pad(crop, ((0, 0), (8, 8), (0, 0)), mode="edge")
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 95]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(wide, cv2.COLOR_RGB2BGR), parameters)
    return content.tobytes()


def alternate(
    ways: dict[str, Callable[[], None]], turns: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
