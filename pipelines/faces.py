"""The papers' tables on faces: a recipe gives a table beside the paper, and pictures.

    python pipelines/faces.py configs/faces/ie-loss/normal.yaml \
        --lfw-crops runs/lfw/crops --pairs pairs.txt
    python pipelines/faces.py configs/faces/all-heads/short.yaml --crops runs/crops \
        --lfw-crops runs/lfw/crops --pairs pairs.txt --seeds 3

Trains each cell of a recipe once a seed, a cell with a sweep once for each value, and
judges the last step, never the best one. A folder stands for all recipes in it.
``--crops`` trains on other crops than the recipe names. Each run brings ``table.md``
and ``results.json`` up to date, in a folder of the recipe's name, with all that lies
there, whatever ``--cells`` and ``--seeds`` ask for; a job that was stopped goes on
where it was. ``lfw/`` and ``ytf/`` get the ROC curves of all cells in one picture, and
the pairs that one judges right and the first cell wrong, with their faces.

For YouTube Faces, align its frames once with ``facever align``. To choose a setting
without looking at a test set, leave out the tests: held-out people alone judge then.
What an earlier call has judged stays in the table.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from facever.config.faces import FaceTable
from facever.config.reading import load_config
from facever.config.tables import find_recipes
from facever.errors import FaceverError
from facever.files import check_folder_place
from facever.stages.face_tables.cell import MEASURES, FaceRun, FaceTrainer
from facever.stages.face_tables.judging import PairTest, make_tests
from facever.stages.face_tables.pictures import write_pictures
from facever.stages.tables.running import TableRuns
from facever.stages.tables.writing import TABLE_FILE, write_sweeps, write_table
from facever.tables.rows import CellResults

SWEPT = ("lfw", "ytf", "held_out_auc")
"""The measures that are drawn against a swept key."""

say = partial(print, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+", help="YAML files or folders")
    parser.add_argument("--crops", type=Path, help="a crop store to train on")
    parser.add_argument("--lfw-crops", type=Path, help="a crop store of LFW's photos")
    parser.add_argument("--pairs", type=Path, help="LFW's pairs.txt")
    parser.add_argument("--ytf-crops", type=Path, help="a crop store of YTF's frames")
    parser.add_argument("--ytf-splits", type=Path, help="YTF's splits.txt")
    parser.add_argument("--cells", nargs="+", default=[], help="these alone, by name")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/faces"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change every recipe, such as train.schedule.factor=0.1",
    )
    options = parser.parse_args()
    try:
        check_folder_place(options.out)
        tests = make_tests(
            options.lfw_crops, options.pairs, options.ytf_crops, options.ytf_splits
        )
        for path in find_recipes(options.recipes):
            run(path, options, tests)
    except FaceverError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def run(path: Path, options: argparse.Namespace, tests: tuple[PairTest, ...]) -> None:
    changes = options.set
    if options.crops is not None:
        changes = [f"train.data.crops={json.dumps(str(options.crops))}", *changes]
    table = load_config(FaceTable, path, changes)
    out = options.out / path.parent.name / path.stem
    runs = TableRuns(out, table, FaceTrainer(tests, table.pca_components), say)

    def write(cells: list[CellResults[FaceRun]]) -> None:
        judged = say_judged(tests, cells)
        write_table(out, table, path, options.set, judged, cells, MEASURES)

    say(f"\n{table.title}: {path}")
    cells = runs.train(options.cells, options.seeds, write)
    write_sweeps(out, cells, [each for each in MEASURES if each.key in SWEPT])
    pages = write_pictures(out, table.title, cells, tests)
    say(f"\n{(out / TABLE_FILE).read_text(encoding='utf-8')}")
    for folder, reason in runs.left_out.items():
        say(f"{out / folder} is left out of the table: {reason}")
    for found in pages:
        say(f"curves and pairs: {found.page}")


def say_judged(
    tests: tuple[PairTest, ...], cells: Sequence[CellResults[FaceRun]]
) -> str:
    """What the numbers of a table come from, in words."""
    parts = [
        f"{len(test.pairs):,} pairs of {test.title} in {test.pairs.num_folds} folds"
        for test in tests
    ]
    found = {name for cell in cells for run in cell.runs for name in run.judged}
    earlier = sorted(found - {test.name for test in tests})
    parts += [f"{name.upper()} as earlier calls had it" for name in earlier]
    return "the last step of each run, on " + (" and ".join(parts) or "held-out people")


if __name__ == "__main__":
    main()
