"""Gallery speed: searches beside raw faiss and a NumPy brute force, in one run.

    python eval/speed/gallery.py --rows 1000000 --dim 512

Makes photos around random directions, enrolls them durably, opens the gallery, searches
single queries and batches, removes photos, and builds the indexes that are asked for.
The first searches of an exact index, in which its 8-bit screen grows, are timed apart.
Beside each search faiss's ``IndexFlatIP`` and ``queries @ rows.T`` with a partition do
the same; they take turns, with pauses, so that a busy machine slows all. Times are the
least, the median and the most, in milliseconds.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from facever.environment import describe_machine, describe_versions
from facever.gallery.folder.gallery import Gallery
from facever.gallery.folder.index_file import INDEX_NAME
from facever.gallery.indexes.exact import _SCREENED_A_SEARCH

K = 5
PHOTOS_A_PERSON = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64])
    parser.add_argument("--indexes", nargs="*", default=["sq8", "ivf-flat"])
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-gallery.json")
    )
    options = parser.parse_args()
    result: dict[str, Any] = {
        "benchmark": "gallery",
        "rows": options.rows,
        "dim": options.dim,
        "threads of faiss": faiss.omp_get_max_threads(),
    }
    with tempfile.TemporaryDirectory() as folder:
        result |= _measure(Path(folder) / "gallery", options)
    result |= {"machine": describe_machine(), "versions": describe_versions()}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    num_people = -(-options.rows // PHOTOS_A_PERSON)
    centers = rng.standard_normal((num_people, options.dim), np.float32)
    rows = centers.repeat(PHOTOS_A_PERSON, axis=0)[: options.rows]
    rows += 0.8 * rng.standard_normal(rows.shape, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = centers[rng.integers(0, num_people, max(options.batches))]
    queries = queries + 0.8 * rng.standard_normal(queries.shape, np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    result: dict[str, Any] = {}
    gallery = Gallery.create(folder, options.dim)
    names = [f"P{row // PHOTOS_A_PERSON}" for row in range(options.rows)]
    started = time.perf_counter()
    ids = gallery.add(names, rows, [str(row) for row in range(options.rows)])
    seconds = time.perf_counter() - started
    result["add durably, seconds for 100,000"] = seconds * 1e5 / options.rows
    gallery.close()

    for which in ("the index built", "the index mapped"):
        gallery.close()
        started = time.perf_counter()
        gallery = Gallery(folder)
        gallery.search(queries[:1], K)
        seconds = time.perf_counter() - started
        result[f"open and first search, {which}, seconds"] = seconds
    raw = faiss.IndexFlatIP(options.dim)
    raw.add(rows)
    firsts = []
    for _ in range(options.rows // _SCREENED_A_SEARCH + 1):
        started = time.perf_counter()
        gallery.search(queries[:1], K)
        firsts.append(1e3 * (time.perf_counter() - started))
    result["searches that make a screen each"] = {
        "number": len(firsts),
        "milliseconds": _spread(firsts),
    }
    found = [[int(m.source) for m in some] for some in gallery.search(queries, K)]
    agree = (np.array(found) == raw.search(queries, K)[1]).all(axis=1)
    result["exact, share of queries with faiss's own answer"] = float(agree.mean())
    for count in options.batches:
        batch = np.ascontiguousarray(queries[:count])
        result[f"exact, {count} queries"] = _race(
            {
                "facever": lambda batch=batch: gallery.search(batch, K),
                "faiss": lambda batch=batch: raw.search(batch, K),
                "NumPy": lambda batch=batch: _brute_force(rows, batch),
            },
            options.turns,
        )
    removals = []
    for entry_id in ids[:20]:
        started = time.perf_counter()
        gallery.remove([entry_id])
        removals.append(1e3 * (time.perf_counter() - started))
    result["remove one, milliseconds"] = _spread(removals)
    for kind in options.indexes:
        started = time.perf_counter()
        gallery.rebuild(kind)
        seconds = time.perf_counter() - started
        audit = gallery.audit(k=K)
        result[kind] = {
            "build, seconds": round(seconds, 2),
            "index bytes a row, exact has 4 a number": round(
                (folder / INDEX_NAME).stat().st_size / options.rows, 1
            ),
            "recall@1": audit.recall_at_1,
            f"recall@{K}": audit.recall_at_k,
        }
        for count in options.batches:
            batch = np.ascontiguousarray(queries[:count])
            result[kind][f"{count} queries"] = _race(
                {
                    "facever": lambda batch=batch: gallery.search(batch, K),
                    "faiss flat": lambda batch=batch: raw.search(batch, K),
                },
                options.turns,
            )
    gallery.close()
    return result


def _brute_force(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    scores = queries @ rows.T
    best = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def _race(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            # The threads of one library go on spinning after a call, for a while.
            time.sleep(0.3)
            started = time.perf_counter()
            way()
            if turn > 0:  # The first turn warms up.
                times[name].append(1e3 * (time.perf_counter() - started))
    ours, *others = times
    return {
        **{f"{name}, milliseconds": _spread(each) for name, each in times.items()},
        **{
            f"times as fast as {name}": round(
                statistics.median(
                    b / a for a, b in zip(times[ours], times[name], strict=True)
                ),
                2,
            )
            for name in others
        },
    }


def _spread(times: list[float]) -> list[float]:
    return [
        round(value, 2) for value in (min(times), statistics.median(times), max(times))
    ]


if __name__ == "__main__":
    main()
