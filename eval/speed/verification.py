"""Evaluation speed: exact thresholds beside a loop over a grid, in one run.

    python eval/speed/verification.py --embeddings FILE.npz --pairs pairs.txt

Times 6,000 pairs in 10 folds from scores (thresholds, accuracy, ROC, AUC, EER, TAR) and
from embeddings with a PCA to half of the dimensions for each fold; 10 million random
pairs, with the memory they take; and 1,000 bootstrap draws. Beside the first two runs
the loop that InsightFace and facenet publish, written anew: for each fold and each of
400 thresholds count the right answers, with scikit-learn's PCA where there is one. They
take turns, so that a busy machine slows both. Median and spread go to the json.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from facever.environment import describe_machine, describe_versions
from facever.inference.embeddings_file import read_embeddings
from facever.verification.evaluation import evaluate_pairs, evaluate_scores
from facever.verification.protocols import PairList, photo_key, read_lfw_pairs
from facever.verification.uncertainty.error_bars import folder_bootstrap

NUM_MANY = 10_000_000

# Until the BLAS threads of the way before no longer spin, in seconds.
_PAUSE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-verification.json")
    )
    options = parser.parse_args()
    file = read_embeddings(options.embeddings)
    pairs = read_lfw_pairs(options.pairs)
    size = file.embeddings.shape[1]
    plain = evaluate_pairs(file.embeddings, file.images, pairs)
    left, right = _members(file.embeddings, file.images, pairs)

    result: dict[str, Any] = {"benchmark": "verification", "pairs": len(pairs)}
    result["from scores"] = _race(
        {
            "facever": lambda: evaluate_scores(plain.scores, pairs),
            "grid loop": lambda: _grid_loop(left, right, pairs),
        },
        options.turns,
    )
    result[f"PCA to {size // 2} of {size} a fold"] = _race(
        {
            "facever": lambda: evaluate_pairs(
                file.embeddings, file.images, pairs, size // 2
            ),
            "grid loop": lambda: _grid_loop(left, right, pairs, size // 2),
        },
        options.turns,
    )
    started = time.perf_counter()
    folder_bootstrap(plain)
    result["1,000 bootstrap draws, seconds"] = round(time.perf_counter() - started, 2)
    result["10 million pairs"] = _many()
    result |= {"machine": describe_machine(), "versions": describe_versions()}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _race(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            time.sleep(_PAUSE)
            started = time.perf_counter()
            way()
            if turn > 0:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    return {
        **{
            f"{name}, milliseconds": [
                round(1e3 * value, 1)
                for value in (min(each), statistics.median(each), max(each))
            ]
            for name, each in seconds.items()
        },
        "times as fast": round(statistics.median(ratios), 1),
    }


def _members(
    embeddings: np.ndarray, images: list[str], pairs: PairList
) -> tuple[np.ndarray, np.ndarray]:
    row_of = {photo_key(image): row for row, image in enumerate(images)}
    return tuple(
        embeddings[[row_of[photo_key(source)] for source in side]].astype(np.float64)
        for side in (pairs.left, pairs.right)
    )


def _grid_loop(
    left: np.ndarray, right: np.ndarray, pairs: PairList, components: int | None = None
) -> float:
    """Accuracy as a loop over a grid finds it."""
    accuracies = []
    for fold in range(pairs.num_folds):
        tested = pairs.fold == fold
        first, second = left, right
        if components is not None:
            pca = PCA(components).fit(np.concatenate([left[~tested], right[~tested]]))
            first, second = pca.transform(left), pca.transform(right)
        first = first / np.linalg.norm(first, axis=1, keepdims=True)
        second = second / np.linalg.norm(second, axis=1, keepdims=True)
        distances = np.square(first - second).sum(axis=1)
        grid = np.arange(0, 4, 0.01)
        found = [
            np.mean((distances[~tested] < threshold) == pairs.same[~tested])
            for threshold in grid
        ]
        best = grid[int(np.argmax(found))]
        accuracies.append(np.mean((distances[tested] < best) == pairs.same[tested]))
    return float(np.mean(accuracies))


def _many() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    same = rng.random(NUM_MANY) < 0.5
    scores = rng.normal(size=NUM_MANY) + same
    place = [""] * NUM_MANY
    pairs = PairList(place, place, same, np.arange(NUM_MANY) % 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    evaluate_scores(scores, pairs)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(seconds, 2),
        "peak megabytes of the process": round(peak / 1e3),
        "of them before": round(before / 1e3),
    }


if __name__ == "__main__":
    main()
