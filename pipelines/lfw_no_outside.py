"""LFW by LFW: train on the people of nine folds, test on the tenth, ten trainings.

    facever align LFW runs/lfw/all-crops --face center
    python pipelines/lfw_no_outside.py --people people.txt --pairs pairs.txt

Writes ``report.html``, ``report.json``, ``scores.csv``, ``roc.png``, ``roc.svg`` and
``folds.csv`` into the config's ``train.out``, and a folder for each fold. The same
command goes on where a run was stopped. ``--folds 1,2`` does a part, and the report
says so. ``train.data.crops=...`` and other such arguments change the config.

No photo and no name from outside LFW trains a network. What aligns the photos may have
learnt from others: then LFW calls the result "label-free outside data", and the report
says which it is.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from facever.config.reading import load_config
from facever.config.training import UnrestrictedConfig
from facever.csv_tables import write_csv
from facever.data.store.crop_store import CropStore
from facever.errors import FaceverError, ParameterError
from facever.files import check_folder_place, whole_file
from facever.progress import format_seconds
from facever.stages.evaluation.evaluate import summary_line
from facever.stages.evaluation.features import crop_finder, sha256
from facever.stages.evaluation.unrestricted import (
    HELD_OUT_PAIRS,
    FoldResult,
    UnrestrictedLfw,
    is_embedded,
    run_fold,
)
from facever.verification.protocols import read_lfw_pairs, read_lfw_people
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.report import write_report
from facever.verification.uncertainty.error_bars import folder_bootstrap
from facever.verification.unrestricted import merge_folds, pairs_of_folds

ALIGNMENT = {
    "mtcnn": "Unrestricted, Label-Free Outside Data: names and pairs are LFW's alone, "
    "but MTCNN, which aligned the photos, was trained on photos from outside LFW "
    "(without names). Not to be compared with results of No Outside Data",
}
ANY_ALIGNMENT = (
    "Unrestricted; No Outside Data only if whatever placed the landmarks, which "
    "this store does not say, learnt from LFW's training folds alone, and else "
    "Label-Free Outside Data"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=Path, required=True, help="LFW's people.txt")
    parser.add_argument("--pairs", type=Path, required=True, help="LFW's pairs.txt")
    parser.add_argument("--folds", help="such as 1,2 (default: all of them)")
    parser.add_argument(
        "--config", type=Path, default=Path("configs/lfw/no-outside.yaml")
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    try:
        run(options)
    except FaceverError as error:
        sys.exit(f"lfw_no_outside: {error}")


def run(options: argparse.Namespace) -> None:
    config = load_config(UnrestrictedConfig, options.config, options.overrides)
    check_folder_place(config.train.out)
    protocol = UnrestrictedLfw(
        config,
        CropStore.open(config.train.data.crops),
        read_lfw_people(options.people),
        read_lfw_pairs(options.pairs),
    )
    protocol.check()
    folds = parse_folds(options.folds, len(protocol.folds))
    results: list[FoldResult] = []
    # Trainings of earlier runs take no time now and say nothing about the others.
    to_train = [fold for fold in folds if not is_embedded(protocol, fold)]
    num_trained, seconds = 0, 0.0
    for fold in folds:
        started = time.monotonic()
        print(f"\n[{len(results) + 1}/{len(folds)}] test fold {fold + 1}", flush=True)
        results.append(run_fold(protocol, fold))
        print(results[-1])
        if fold in to_train:
            num_trained += 1
            seconds += time.monotonic() - started
            left = format_seconds(seconds / num_trained * (len(to_train) - num_trained))
            done = f"{num_trained} of {len(to_train)} trainings to do"
            print(f"{done} in {format_seconds(seconds)}, {left} left", flush=True)
    write_folds(config.train.out / "folds.csv", results)
    if len(folds) == 1:
        print("a report needs at least two folds; what is trained is kept for it")
        return
    write(options, protocol, results)


def parse_folds(text: str | None, num_folds: int) -> list[int]:
    """Folds counted from 0, rising, each once."""
    if text is None:
        return list(range(num_folds))
    fields = text.split(",")
    if not all(field.isdecimal() and 1 <= int(field) <= num_folds for field in fields):
        raise ParameterError(
            f"folds must be numbers in [1, {num_folds}], such as 1,2; got {text!r}"
        )
    return sorted({int(field) - 1 for field in fields})


def write_folds(path: Path, results: Sequence[FoldResult]) -> None:
    names = list(results[0].evaluations)
    columns = ["fold", "people", "crops", "held_out_people", "held_out_accuracy"]
    columns += [
        f"{what} {name}" for name in names for what in ("threshold", "accuracy")
    ]
    rows = [
        [
            result.fold + 1,
            result.num_people,
            result.num_crops,
            result.num_held_out,
            result.held_out_accuracy,
            *(
                number
                for name in names
                for number in (result.threshold(name), result.accuracy(name))
            ),
        ]
        for result in results
    ]
    with whole_file(path) as temporary:
        write_csv(temporary, columns, rows)


def write(
    options: argparse.Namespace,
    protocol: UnrestrictedLfw,
    results: Sequence[FoldResult],
) -> None:
    folds = [result.fold for result in results]
    pairs = pairs_of_folds(protocol.pairs, folds)
    evaluations = {
        name: merge_folds(pairs, [result.evaluations[name] for result in results])
        for name in results[0].evaluations
    }
    title = f"LFW by its other folds' people, {len(pairs):,} pairs"
    numbers = ", ".join(str(fold + 1) for fold in folds)
    total = len(protocol.folds)
    settings: dict[str, Setting] = {}
    if len(folds) < total:
        title += f": a part, folds {numbers} of {total}"
        settings["partial"] = (
            f"folds {numbers} of {total} alone, numbered from 1 on the page and in "
            "scores.csv; no result of the protocol"
        )
    page = write_report(
        protocol.config.train.out,
        evaluations,
        title,
        settings | describe(options, protocol, results),
        protocol.store.failures,
        crop_finder(protocol.store),
        extras=ReportExtras(
            {name: folder_bootstrap(each) for name, each in evaluations.items()}
        ),
    )
    print()
    for name, evaluation in evaluations.items():
        print(f"{name}: {summary_line(evaluation)}")
    print(f"report: {page}")


def describe(
    options: argparse.Namespace,
    protocol: UnrestrictedLfw,
    results: Sequence[FoldResult],
) -> dict[str, Setting]:
    """What a reader needs to judge and to repeat the numbers."""
    config, store = protocol.config, protocol.store
    detector = store.settings.get("detector", "unknown")
    return {
        "protocol": "LFW View 2, unrestricted: a network for each fold, trained on "
        "people of the other folds alone",
        "outside_data": ALIGNMENT.get(detector, ANY_ALIGNMENT),
        "pairs": str(options.pairs),
        "pairs_sha256": sha256(options.pairs),
        "people": str(options.people),
        "people_sha256": sha256(options.people),
        "crops": str(store.folder),
        "detector": detector,
        "face": store.settings.get("face", "unknown"),
        "trained_on": f"{_range([each.num_people for each in results])} people with "
        f"{config.min_photos} crops or more, {_range([e.num_crops for e in results])} "
        "crops; see folds.csv",
        "thresholds_and_pca": f"from {HELD_OUT_PAIRS:,} pairs of one person and "
        f"{HELD_OUT_PAIRS:,} of two, drawn from {config.held_out_people} people of the "
        "other folds, who did not train: on people whom a network has learnt a "
        "threshold would come out too high",
        "scores": "of each fold by its own network; the curve pools them as they are",
        "network": config.train.network.name,
        "network_options": str(config.train.network.model_extra),
        "heads": ", ".join(head.name for head in config.train.heads),
        "steps": config.train.schedule.steps,
        "batch_size": config.train.batch_size,
        "seed": config.train.seed,
    }


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


if __name__ == "__main__":
    main()
