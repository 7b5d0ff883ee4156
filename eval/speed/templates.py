"""Speed of templates: 15 million pairs of 100,000 templates, and the pooling.

    python eval/speed/templates.py

Templates of 512 drawn numbers. Times the list of pairs from its file to all rates, with
the memory that the process takes at most; all of it computes on one thread. Beside it,
on a part of the pairs and of the templates, the ways of InsightFace's evaluation of
IJB-C, written anew: pairs in batches of 100,000 in float64, and templates by a search
of all photos for each. The two take turns, so that a busy machine slows both. Median
and spread go to the json.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facever.environment import describe_machine, describe_versions
from facever.verification.protocols.template_lists import (
    TemplateList,
    TemplatePairs,
    read_template_pairs,
)
from facever.verification.protocols.template_pooling import (
    PooledTemplates,
    pool_templates,
)
from facever.verification.template_verification import (
    compare_templates,
    verify_templates,
)

NUM_PAIRS, NUM_TEMPLATES, SIZE = 15_000_000, 100_000, 512
_TEMPLATES_OF_PERSON = 25
_NUM_GENUINE = 20_000
_RACED_PAIRS = 500_000
_RACED_TEMPLATES, _PHOTOS_OF_TEMPLATE = 5_000, 10
_BATCH = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-templates.json")
    )
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    units = rng.normal(size=(NUM_TEMPLATES, SIZE)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    pooled = PooledTemplates(units, np.ones(NUM_TEMPLATES, bool))
    pairs = draw_pairs(rng)
    result: dict[str, Any] = {
        "benchmark": "templates",
        "pairs": NUM_PAIRS,
        "templates": NUM_TEMPLATES,
        "numbers of an embedding": SIZE,
        "load of the machine before": round(os.getloadavg()[0], 1),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template_pair_label.txt"
        write_pairs(path, pairs)
        result["all pairs, seconds"] = time_all(path, pooled)
    result["peak megabytes of the process"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    )
    part = TemplatePairs(
        pairs.left[:_RACED_PAIRS], pairs.right[:_RACED_PAIRS], pairs.same[:_RACED_PAIRS]
    )
    wide = units.astype(np.float64)
    result[f"scores of {_RACED_PAIRS:,} pairs"] = race(
        {
            "facever": lambda: compare_templates(pooled, part),
            "InsightFace's way": lambda: batches(wide, part),
        },
        options.turns,
    )
    del wide
    embeddings, listed = draw_photos(rng)
    result[f"pooling of {len(embeddings):,} photos"] = race(
        {
            "facever": lambda: pool_templates(
                embeddings, np.arange(len(embeddings)), listed
            ),
            "InsightFace's way": lambda: search_each(embeddings, listed),
        },
        options.turns,
    )
    result |= {"machine": describe_machine(), "versions": describe_versions()}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def draw_pairs(rng: np.random.Generator) -> TemplatePairs:
    left, right = rng.integers(NUM_TEMPLATES, size=(2, NUM_PAIRS)).astype(np.int32)
    of_person = left[:_NUM_GENUINE] // _TEMPLATES_OF_PERSON * _TEMPLATES_OF_PERSON
    right[:_NUM_GENUINE] = of_person + right[:_NUM_GENUINE] % _TEMPLATES_OF_PERSON
    same = left // _TEMPLATES_OF_PERSON == right // _TEMPLATES_OF_PERSON
    return TemplatePairs(left, right, same)


def write_pairs(path: Path, pairs: TemplatePairs) -> None:
    with path.open("w", encoding="ascii") as file:
        for start in range(0, len(pairs), _BATCH):
            block = slice(start, start + _BATCH)
            file.writelines(
                f"{left} {right} {same:d}\n"
                for left, right, same in zip(
                    pairs.left[block].tolist(),
                    pairs.right[block].tolist(),
                    pairs.same[block].tolist(),
                    strict=True,
                )
            )


def time_all(path: Path, pooled: PooledTemplates) -> dict[str, float]:
    """Seconds of each step from the list's file to all rates."""
    places = np.arange(NUM_TEMPLATES)
    listed = TemplateList([], places, places, places, places)
    worked = time.process_time()
    marks = [time.perf_counter()]
    pairs = read_template_pairs(path, listed)
    marks.append(time.perf_counter())
    scores = compare_templates(pooled, pairs)
    marks.append(time.perf_counter())
    verify_templates(pooled, pairs, scores)
    marks.append(time.perf_counter())
    steps = np.diff(marks).round(1).tolist()
    names = ("read the list", "compare", "curve, rates and intervals")
    return {
        **dict(zip(names, steps, strict=True)),
        "together": round(sum(steps), 1),
        "of the processor": round(time.process_time() - worked, 1),
    }


def draw_photos(rng: np.random.Generator) -> tuple[np.ndarray, TemplateList]:
    num_photos = _RACED_TEMPLATES * _PHOTOS_OF_TEMPLATE
    embeddings = rng.normal(size=(num_photos, SIZE)).astype(np.float32)
    photo = np.arange(num_photos)
    template = photo // _PHOTOS_OF_TEMPLATE
    # Half of a template's photos are frames of one video.
    medium = np.where(photo % 2, 0, photo)
    names = [f"{place:06}.jpg" for place in photo]
    return embeddings, TemplateList(
        names, np.arange(_RACED_TEMPLATES), photo, template, medium
    )


def batches(units: np.ndarray, pairs: TemplatePairs) -> np.ndarray:
    """Scores of pairs as InsightFace's loop computes them."""
    scores = np.zeros(len(pairs))
    for start in range(0, len(pairs), _BATCH):
        block = slice(start, start + _BATCH)
        first, second = units[pairs.left[block]], units[pairs.right[block]]
        scores[block] = np.sum(first * second, -1)
    return scores


def search_each(embeddings: np.ndarray, listed: TemplateList) -> np.ndarray:
    """Templates as InsightFace's loop pools them."""
    found = np.zeros((len(listed.ids), embeddings.shape[1]))
    for template in range(len(listed.ids)):
        [rows] = np.where(listed.template == template)
        features, media = embeddings[rows], listed.medium[rows]
        of_media = []
        for medium, count in zip(*np.unique(media, return_counts=True), strict=True):
            [of_medium] = np.where(media == medium)
            if count == 1:
                of_media += [features[of_medium]]
            else:
                of_media += [np.mean(features[of_medium], axis=0, keepdims=True)]
        found[template] = np.sum(np.array(of_media), axis=0)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def race(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn > 0:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    return {
        **{
            f"{name}, seconds": [
                round(value, 3)
                for value in (min(each), statistics.median(each), max(each))
            ]
            for name, each in seconds.items()
        },
        "times as fast": round(statistics.median(ratios), 1),
    }


if __name__ == "__main__":
    main()
