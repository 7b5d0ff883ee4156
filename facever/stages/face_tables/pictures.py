"""The pictures of a table on faces: ROC curves, cosine beside Euclidean, pairs."""

from collections.abc import Sequence
from pathlib import Path

from facever.config.tables import folder_name
from facever.stages.evaluation.compare import ModelComparison, write_comparison
from facever.stages.face_tables.cell import MEASURES, FaceRun
from facever.stages.face_tables.judging import PairTest, evaluate_again
from facever.tables.figure_files import save_figure
from facever.tables.rows import CellResults
from facever.tables.side_by_side import draw_side_by_side


def write_pictures(
    out: Path,
    title: str,
    cells: Sequence[CellResults[FaceRun]],
    tests: Sequence[PairTest],
) -> list[ModelComparison]:
    """Write what the papers' figures show, each row by its first run.

    For each test a folder with a report as ``facever evaluate compare`` writes it: the
    ROC curves of all rows in one picture, and the pairs that a row judges right and the
    table's first row wrong, and the other way round, with their faces. Beside it a
    picture of the accuracies by cosine and by Euclidean distance.

    Args:
        out: The folder of the table.
        title: The title of the table.
        cells: Its rows.
        tests: What they were judged on.

    Returns:
        The comparison of each test.
    """
    found = []
    for test in tests:
        judged = {
            cell.name: [run for run in cell.runs if test.name in run.judged]
            for cell in cells
        }
        done = [cell for cell in cells if judged[cell.name]]
        evaluations, headlines = {}, {}
        for cell in done:
            run = judged[cell.name][0]
            folder = out / folder_name(cell.name) / f"seed{run.seed}"
            evaluations[cell.name] = evaluate_again(test, folder, run.pca_components)
            headlines[cell.name] = (
                f"PCA to {run.pca_components}, cosine; seed {run.seed}, "
                f"{run.steps:,} steps"
            )
        found.append(
            write_comparison(
                out / test.name,
                evaluations,
                headlines,
                f"{title}: {test.title}",
                test.crop_of,
                reference=done[0].name,
            )
        )
        by_key = {measure.key: measure for measure in MEASURES}
        shown = {
            "cosine": by_key[test.name],
            "Euclidean distance": by_key[f"{test.name}_euclidean"],
        }
        figure = draw_side_by_side(done, shown, f"Accuracy on {test.title}, percent")
        save_figure(figure, out / f"{test.name}-measures")
    return found
