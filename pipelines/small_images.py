"""The papers' experiments on small images: a recipe gives a table and pictures.

    RECIPES=configs/small_images/ie-loss
    python pipelines/small_images.py $RECIPES/mnist-lenet.yaml --data DATA
    python pipelines/small_images.py $RECIPES --data DATA --cells softmax IE

Trains each cell of a recipe once a seed, a cell with a sweep once for each value, and
judges the last step. A folder stands for all recipes in it. Each run brings
``table.md`` and ``results.json`` up to date, in a folder of the recipe's name, with all
that lies there, whatever ``--cells`` and ``--seeds`` ask for; a job that was stopped
goes on where it was. A sweep is drawn as a curve, too. DATA holds the files of the
sets, or a folder of each set's name (mnist, fashion-mnist, cifar10, cifar100).
``--figures`` draws the papers' pictures of what is done. To choose what a paper leaves
out, ``--hold-out 10000`` judges on the last training images, which are not trained on
then, and leaves the test set alone.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from facever.config.reading import load_config
from facever.config.small_images import SmallImageTable
from facever.config.tables import find_recipes
from facever.errors import FaceverError
from facever.files import check_folder_place
from facever.small_images.runs import MEASURES, CellRun
from facever.stages.small_images.cell import SmallImageTrainer
from facever.stages.small_images.figures import write_figures
from facever.stages.tables.running import TableRuns
from facever.stages.tables.writing import TABLE_FILE, write_sweeps, write_table
from facever.tables.rows import CellResults

say = partial(print, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+", help="YAML files or folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", nargs="+", default=[], help="these alone, by name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/small_images"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
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
        check_folder_place(options.out)
        for path in find_recipes(options.recipes):
            run(path, options)
    except FaceverError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def run(path: Path, options: argparse.Namespace) -> None:
    table = load_config(SmallImageTable, path, options.set)
    held_out = options.hold_out
    judged = "the last step of each run, on the test set, once"
    if held_out is not None:
        judged = f"the last step of each run, on {held_out:,} training images held out"
    part = "" if held_out is None else f"-hold-out-{held_out}"
    out = options.out / path.parent.name / f"{path.stem}{part}"
    trainer = SmallImageTrainer(
        out,
        options.data,
        say,
        held_out,
        not options.unchecked,
        options.device,
        options.compile,
    )
    runs = TableRuns(out, table, trainer, say)

    def write(cells: list[CellResults[CellRun]]) -> None:
        write_table(out, table, path, options.set, judged, cells, MEASURES)

    say(f"\n{table.title}: {path}")
    cells = runs.train(options.cells, options.seeds, write)
    write_sweeps(out, cells, MEASURES[:1])
    say(f"\n{(out / TABLE_FILE).read_text(encoding='utf-8')}")
    for folder, reason in runs.left_out.items():
        say(f"{out / folder} is left out of the table: {reason}")
    if options.figures:
        say(write_figures(out / "figures", table, out, cells))


if __name__ == "__main__":
    main()
