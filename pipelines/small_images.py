"""The papers' experiments on small images: a recipe gives a table and pictures.

    RECIPES=configs/small_images/ie-loss
    python pipelines/small_images.py $RECIPES/mnist-lenet.yaml --data DATA
    python pipelines/small_images.py $RECIPES --data DATA --cells softmax IE

Trains each cell of a recipe once a seed and judges its last step. A folder stands for
all recipes in it. Each run brings ``table.md`` and ``results.json`` up to date, in
a folder of the recipe's name; a job that was stopped goes on where it was. DATA holds
the files of the sets, or a folder of each set's name (mnist, fashion-mnist, cifar10,
cifar100). ``--figures`` draws the papers' pictures of what is done. To choose what a
paper leaves out, ``--hold-out 10000`` judges on the last training images, which are not
trained on then, and leaves the test set alone.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from facever.config.reading import load_config
from facever.config.small_images import SmallImageTable
from facever.environment import describe_machine, describe_versions
from facever.errors import FaceverError, FileError, ParameterError
from facever.files import check_folder_place, whole_file
from facever.small_images.sets import SmallImageSet, read_small_images
from facever.small_images.tables import CellResults, CellRun, markdown
from facever.stages.small_images.cell import train_cell
from facever.stages.small_images.figures import write_figures
from facever.training.checkpoint import CHECKPOINT_FILE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+", help="YAML files or folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", nargs="+", help="these alone, by name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/small_images"))
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="change every recipe, such as train.schedule.factor=0.1",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument(
        "--unchecked", action="store_true", help="take files of any MD5 sum"
    )
    parser.add_argument(
        "--hold-out", type=int, metavar="N", help="judge on the last N training images"
    )
    parser.add_argument("--figures", action="store_true")
    options = parser.parse_args()
    try:
        if options.seeds < 1:
            raise ParameterError(f"--seeds must be >= 1, got {options.seeds}")
        check_folder_place(options.out)
        sets: dict[str, SmallImageSet] = {}
        for path in _recipes(options.recipes):
            _run(path, options, sets)
    except FaceverError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _recipes(paths: list[Path]) -> list[Path]:
    files = []
    for path in paths:
        inside = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise FileError(f"{path} holds no recipe, a .yaml file")
        files += inside
    return files


def _run(
    path: Path, options: argparse.Namespace, sets: dict[str, SmallImageSet]
) -> None:
    table = load_config(SmallImageTable, path, options.set)
    names = _cells(path, table, options.cells)
    part = "" if options.hold_out is None else f"-hold-out-{options.hold_out}"
    out = options.out / path.parent.name / f"{path.stem}{part}"
    runs: dict[str, list[CellRun]] = {name: [] for name in names}
    print(f"\n{table.title}: {path}")
    # Seeds outside: whenever the job is stopped, every cell has had its turn as often.
    for seed in range(options.seeds):
        for name in names:
            cell = table.cells[name]
            images = _read_images(cell.data.set, options, sets)
            start = None
            if cell.start is not None:
                start = _place(out, cell.start, seed) / CHECKPOINT_FILE
            result = train_cell(
                cell,
                images,
                seed,
                _place(out, name, seed),
                title=f"{name}, seed {seed}",
                start=start,
                device=options.device,
                compiled=options.compile,
            )
            runs[name].append(result)
            print(f"{name}, {result}", flush=True)
            _write(out, table, path, runs, options.hold_out)
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}")
    if options.figures:
        folders = {name: _place(out, name, 0) for name in names}
        print(write_figures(out / "figures", table, folders, _results(table, runs)))


def _cells(path: Path, table: SmallImageTable, wanted: list[str] | None) -> list[str]:
    """The names asked for, and the cells that these go on from before them."""
    for name in wanted or []:
        if name not in table.cells:
            raise ParameterError(
                f"{path} has no cell {name!r}; it has {', '.join(table.cells)}"
            )
    names = set(wanted or table.cells)
    names |= {start for name in names if (start := table.cells[name].start)}
    return [name for name in table.cells if name in names]


def _read_images(
    name: str, options: argparse.Namespace, sets: dict[str, SmallImageSet]
) -> SmallImageSet:
    if name not in sets:
        inside = options.data / name
        folder = inside if inside.is_dir() else options.data
        sets[name] = read_small_images(name, folder, verify=not options.unchecked)
        found = sets[name]
        note = "the published files" if found.verified else "MD5 sums not compared"
        if options.hold_out is not None:
            found = sets[name] = found.held_out(options.hold_out)
            note = f"{note}; the test set is left alone"
        print(f"{name}: {len(found.train):,} + {len(found.test):,} images, {note}")
    return sets[name]


def _place(out: Path, name: str, seed: int) -> Path:
    return out / name.replace(" ", "-").replace("/", "-") / f"seed{seed}"


def _results(
    table: SmallImageTable, runs: dict[str, list[CellRun]]
) -> list[CellResults]:
    return [
        CellResults(
            name,
            table.cells[name].printed.error,
            table.cells[name].printed.top5_error,
            results,
        )
        for name, results in runs.items()
        if results
    ]


def _write(
    out: Path,
    table: SmallImageTable,
    path: Path,
    runs: dict[str, list[CellRun]],
    hold_out: int | None,
) -> None:
    done = _results(table, runs)
    judged = "the last step of each run, on the test set, once"
    if hold_out is not None:
        judged = f"the last step of each run, on {hold_out:,} training images held out"
    chosen = "".join(f"- {line}\n" for line in table.chosen)
    said = f"{table.paper}. Judged: {judged}."
    text = f"# {table.title}\n\n{said}\n\n{markdown(done)}\n{chosen}"
    content = {
        "title": table.title,
        "paper": table.paper,
        "recipe": f"{path.parent.name}/{path.name}",
        "judged": judged,
        "chosen": table.chosen,
        "cells": {
            cell.name: {
                "printed": table.cells[cell.name].printed.model_dump(),
                "runs": [_without_curve(run) for run in cell.runs],
            }
            for cell in done
        },
        "machine": describe_machine(),
        "versions": describe_versions(),
        "threads": torch.get_num_threads(),
    }
    with whole_file(out / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    with whole_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _without_curve(run: CellRun) -> dict[str, Any]:
    return {key: value for key, value in run.to_dict().items() if key != "curve"}


if __name__ == "__main__":
    main()
