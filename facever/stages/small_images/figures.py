"""Results of a small-image table become the papers' figures and one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from facever.config.small_images import SmallImageTable
from facever.config.tables import folder_name
from facever.errors import FileError
from facever.files import whole_file
from facever.results import Result
from facever.small_images.figures import (
    AccuracyCurve,
    Cloud,
    draw_angles,
    draw_clouds,
    draw_curves,
    draw_margins,
    draw_over_steps,
    draw_similarities,
)
from facever.small_images.page import PageFigure, render_small_image_page
from facever.small_images.runs import MEASURES, CellRun
from facever.stages.small_images.cell import FEATURES_FILE
from facever.stages.tables.writing import sweep_figures
from facever.tables.figure_files import save_figure
from facever.tables.rows import CellResults

FIGURES_PAGE_FILE = "index.html"

# Similarity matrices, as angular-loss.md has them: 10 features of each of 10 classes,
# or one of each of 100.
_MATRIX_ROWS = 100

_Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FiguresResult(Result):
    """What ``write_figures`` wrote.

    Attributes:
        page: The page that shows the table and all figures.
        num_figures: Number of figures on it; each lies beside it as PNG and SVG.
    """

    page: Path
    num_figures: int

    def lines(self) -> list[str]:
        """The page."""
        return [f"figures: {self.page}"]


def write_figures(
    out: Path,
    table: SmallImageTable,
    runs: Path,
    cells: Sequence[CellResults[CellRun]],
) -> FiguresResult:
    """Draw what is done, each figure as PNG and SVG, and all of them in a page.

    Args:
        out: The folder to write the figures to.
        table: The recipe.
        runs: The folder of the table, with those of its runs.
        cells: All rows of the table; features are drawn of each one's first run.

    Returns:
        Where the page lies.

    Raises:
        FileError: If a run's features are missing.
    """
    done = [cell for cell in cells if cell.runs]
    features = {cell.name: _read(_folder(runs, cell)) for cell in done}
    figures: list[PageFigure] = []

    def add(name: str, figure: Figure, title: str, caption: str) -> None:
        figures.append(PageFigure(title, caption, save_figure(figure, out / name)))

    flat = {name: each for name, each in features.items() if "train" in each}
    for part, whose in (("train", "training"), ("test", "test")) if flat else ():
        clouds = {
            cell.name: _cloud(flat[cell.name], part, cell.runs[0])
            for cell in done
            if cell.name in flat
        }
        add(
            f"features-{part}",
            draw_clouds(clouds),
            f"2-D features of the {whose} set",
            "A colour a class. Stars are the anchors, centers or class vectors that a "
            "loss pulls its classes to; C-NCM's, which are directions, stand at the "
            "median length of the features. First seed.",
        )
    add(
        "accuracy",
        draw_curves({cell.name: _curve(cell) for cell in done}),
        "Accuracy against iterations",
        "Means over seeds. The test accuracy on the way decides nothing.",
    )
    for key, title, what in (
        ("confidence", "Confidence", "Mean probability of the right class"),
        ("wc_intra", "WCIntra", "Mean angle of class vector and center, radians"),
    ):
        if all(key in line for cell in done for run in cell.runs for line in run.curve):
            add(
                key.replace("_", "-"),
                draw_over_steps({cell.name: _line(cell, key) for cell in done}, what),
                f"{title} against iterations",
                f"{what}, of the images that were judged on; means over seeds.",
            )
    add(
        "angles",
        draw_angles({cell.name: _angles(cell) for cell in done}),
        "Angles of class 0 over the run",
        "Share of 200 training images by the angle between feature and class vector; "
        "the line is the median. First seed.",
    )
    add(
        "similarities",
        draw_similarities({name: _matrix(each) for name, each in features.items()}),
        "Cosine similarity of test features, by class",
        "The same number of features of each class, sorted by class. First seed.",
    )
    add(
        "margins",
        draw_margins(),
        "Margins and angular gradients",
        "What takes the place of cos θ for the target class, and how steeply it falls.",
    )
    for name, figure in sweep_figures(cells, MEASURES[:1]).items():
        add(
            name,
            figure,
            "Sweep",
            "Means over seeds with their deviation. Hollow points are the paper's; a "
            "cross is a value whose runs failed.",
        )
    page = out / FIGURES_PAGE_FILE
    with whole_file(page) as temporary:
        text = render_small_image_page(
            table.title, table.paper, table.chosen, cells, figures
        )
        temporary.write_text(text, encoding="utf-8")
    return FiguresResult(page, len(figures))


def _read(folder: Path) -> _Arrays:
    path = folder / FEATURES_FILE
    try:
        with np.load(path) as file:
            return dict(file)
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror}; delete its folder to train again"
        ) from None


def _folder(runs: Path, cell: CellResults[CellRun]) -> Path:
    return runs / folder_name(cell.name) / f"seed{cell.runs[0].seed}"


def _cloud(features: _Arrays, part: str, run: CellRun) -> Cloud:
    points = features.get("points")
    if points is not None and run.recipe["heads"][0].get("distance") == "cosine":
        lengths = np.linalg.norm(features[part], axis=1)
        points = points * float(np.median(lengths))
    return Cloud(features[part], features[f"{part}_labels"], points)


def _curve(cell: CellResults[CellRun]) -> AccuracyCurve:
    lines = [run.curve for run in cell.runs]

    def accuracy(key: str) -> list[float]:
        errors = [[line[key] for line in run] for run in lines]
        return [1 - float(each) for each in np.mean(errors, axis=0)]

    steps = [line["step"] for line in lines[0]]
    return AccuracyCurve(steps, accuracy("train_error"), accuracy("test_error"))


def _line(cell: CellResults[CellRun], key: str) -> tuple[list[int], list[float]]:
    values = [[line[key] for line in run.curve] for run in cell.runs]
    # A number that a run does not have there is None, and NaN in the mean.
    means = np.mean(np.array(values, dtype=np.float64), axis=0)
    return [line["step"] for line in cell.runs[0].curve], means.tolist()


def _angles(
    cell: CellResults[CellRun],
) -> tuple[list[int], Float[np.ndarray, "times images"]]:
    lines = cell.runs[0].curve
    angles = np.array([line["angles"] for line in lines])
    return [line["step"] for line in lines], angles


def _matrix(features: _Arrays) -> Float[np.ndarray, "rows dim"]:
    labels = features["test_labels"]
    classes = np.unique(labels)
    per_class = max(1, _MATRIX_ROWS // len(classes))
    rows = np.concatenate(
        [np.flatnonzero(labels == label)[:per_class] for label in classes]
    )
    matrix: Float[np.ndarray, "rows dim"] = features["test"][rows]
    return matrix
