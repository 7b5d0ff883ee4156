"""A report on pairs, read back from its files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facever.csv_tables import CsvRow, read_csv
from facever.errors import DataError, FileError
from facever.foreign_files import read_json
from facever.stages.evaluation.report_folder import NUMBERS_FILES
from facever.verification.evaluation import Evaluation, judged_scores
from facever.verification.protocols import PairList
from facever.verification.reporting.report import (
    JSON_FILE,
    SCORE_COLUMNS,
    SCORES_FILE,
)


@dataclass(frozen=True)
class ReadReport:
    """What a report says.

    Attributes:
        folder: Its folder.
        settings: The settings that it names.
        evaluations: Its comparisons by their names, the headline first.
    """

    folder: Path
    settings: Mapping[str, Any]
    evaluations: dict[str, Evaluation]

    @property
    def ways(self) -> dict[str, str]:
        """The names of the comparisons by what they have in common with others'.

        The size of a PCA is a model's own, since embeddings have different sizes.
        """
        return {re.sub(r"^PCA to \d+", "PCA", name): name for name in self.evaluations}

    def describe(self, name: str) -> str:
        """In words, what one of the comparisons was measured on."""
        of = self.settings.get("model") or self.settings.get("embeddings")
        parts = [name, f"of {of}"] if of else [name]
        if cutoffs := self.settings.get("min_quality"):
            parts.append(f"without photos below {cutoffs}")
        return ", ".join(parts)


def read_report(folder: Path) -> ReadReport:
    """Read a report and check that its files say the same.

    Args:
        folder: The report's folder, with ``report.json`` and ``scores.csv``.

    Raises:
        FileError: If a file is missing or cannot be read.
        DataError: If it is damaged, of another version of facever, or a report that is
            not on pairs in folds.
    """
    others = [name for name in NUMBERS_FILES if (folder / name).exists()]
    if others and JSON_FILE not in others:
        raise DataError(
            f"{folder} holds {others[0]}, which is not a report on pairs in folds; "
            "compare those of evaluate lfw with its ten folds, pairs, bin or ytf"
        )
    try:
        numbers = read_json(folder / JSON_FILE)
        rows = list(
            read_csv(folder / SCORES_FILE, SCORE_COLUMNS, exact=True, for_people=True)
        )
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"cannot read {error.filename}: {error.strerror}; give the folder of a "
            "report, with report.json and scores.csv"
        ) from None
    except ValueError as error:
        raise DataError(
            f"{folder} has a damaged {JSON_FILE} or {SCORES_FILE} ({error}); evaluate "
            "again"
        ) from None
    try:
        evaluations = {
            model["name"]: _evaluation(
                model, [row for row in rows if row["model"] == model["name"]]
            )
            for model in numbers["models"]
        }
        if not evaluations:
            raise DataError("it has no model")
        return ReadReport(folder, dict(numbers["settings"]), evaluations)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder} is not a whole report of this version of facever ({error}); "
            "evaluate again"
        ) from None


def _evaluation(model: Mapping[str, Any], rows: list[CsvRow]) -> Evaluation:
    pairs = PairList(
        [row["left"] for row in rows],
        [row["right"] for row in rows],
        np.array([row["same"] == "1" for row in rows], dtype=np.bool_),
        np.array([int(row["fold"]) - 1 for row in rows], dtype=np.int64),
    )
    missing = model["missing"]
    scores = np.array([float(row["score"] or "-inf") for row in rows])
    gone = set(missing["photos"])
    # By the rule "lowest" pairs of missing photos have a score, too.
    with_both = [row["left"] not in gone and row["right"] not in gone for row in rows]
    compared = np.isfinite(scores) & np.array(with_both, dtype=np.bool_)
    if np.count_nonzero(~compared) != missing["num_pairs"]:
        raise DataError(f"{SCORES_FILE} lacks other pairs than {JSON_FILE}")
    evaluation = judged_scores(
        scores,
        np.array([float(fold["threshold"]) for fold in model["folds"]]),
        pairs,
        list(missing["photos"]),
        compared,
        missing["rule"],
        model["pca_components"],
    )
    # Quotients of counts, which are the same on every machine.
    found = [*evaluation.accuracies.tolist(), evaluation.auc]
    if found != [*(fold["accuracy"] for fold in model["folds"]), model["auc"]]:
        raise DataError(f"{SCORES_FILE} gives other numbers than {JSON_FILE}")
    return evaluation
