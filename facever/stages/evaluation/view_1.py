"""``facever evaluate lfw`` with two files: LFW's View 1, for development."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facever.errors import ParameterError
from facever.files import whole_file
from facever.results import Result
from facever.stages.evaluation.features import Inputs, find_features, sha256
from facever.stages.evaluation.judging import EXACT, Judging
from facever.stages.evaluation.pair_protocols import (
    AS_LISTED,
    PAIR_PROTOCOLS,
    PairReading,
)
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.evaluation import Evaluation
from facever.verification.protocols import DEV_TEST_FOLD, read_lfw_view_1
from facever.verification.uncertainty.intervals import wilson

VIEW_1_FILE = "view_1.json"


@dataclass(frozen=True)
class View1Report(Result):
    """What LFW's View 1 says about a model.

    Attributes:
        numbers: What ``view_1.json`` holds: the settings, the numbers of pairs and, for
            each comparison, the headline first, its accuracy on DevTest.
        warnings: How photos were found, what was left out, and why, a line each.
        path: The file with the numbers.
    """

    numbers: dict[str, Any]
    warnings: tuple[str, ...]
    path: Path

    @property
    def accuracies(self) -> dict[str, float]:
        """Accuracy on DevTest in [0, 1] by the name of the comparison."""
        return {model["name"]: model["accuracy"] for model in self.numbers["models"]}

    def lines(self) -> list[str]:
        """A line for each comparison and warning, and one for the file."""
        models = [self._line(model) for model in self.numbers["models"]]
        return [*models, *self.warnings, f"numbers: {self.path}"]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, the warnings and the path of the file."""
        more = {"warnings": list(self.warnings), "report": str(self.path)}
        return {**self.numbers, **more}

    def _line(self, model: dict[str, Any]) -> str:
        low, high = model["wilson"]["accuracy"]
        num_missing = len(model["missing_photos"])
        return (
            f"{model['name']}: {model['accuracy']:.2%} of "
            f"{self.numbers['num_test_pairs']:,} DevTest pairs (95% interval "
            f"{low:.2%} to {high:.2%}), threshold {model['threshold']:.4f} chosen on "
            f"{self.numbers['num_train_pairs']:,} DevTrain pairs"
            + f", {num_missing} photos missing"
            * bool(num_missing)
        )


def evaluate_lfw_view_1(
    out: str | Path,
    pairs: Sequence[str | Path],
    inputs: Inputs,
    judging: Judging = EXACT,
    reading: PairReading = AS_LISTED,
) -> View1Report:
    """Evaluate LFW's View 1, for development: choose on DevTrain, test on DevTest.

    Args:
        out: Folder of ``view_1.json``, and of the crops of photos.
        pairs: The official files ``pairsDevTrain.txt`` and ``pairsDevTest.txt``.
        inputs: What to take embeddings from; photos are named
            ``<Name>/<Name>_0001.jpg``.
        judging: How pairs are compared and judged.
        reading: Only as listed: the two files are official ones.

    Returns:
        The numbers.

    Raises:
        FaceverError: In the same cases as ``evaluate_lfw``.
    """
    out = Path(out)
    inputs.check()
    judging.check()
    if judging.rule != "exact":
        raise ParameterError(
            "View 1 has one test set, no folds for other projects' rules: rule must be "
            f"exact, got {judging.rule!r}"
        )
    if judging.groups is not None or judging.quality:
        raise ParameterError(
            "View 1 is for choosing models, with too few pairs for groups and "
            "qualities: leave out --groups and --quality, or evaluate pairs.txt"
        )
    if len(pairs) != 2:
        raise ParameterError(
            "give pairs.txt, or for View 1 pairsDevTrain.txt and pairsDevTest.txt; got "
            f"{len(pairs)} pairs files"
        )
    if reading != AS_LISTED:
        raise ParameterError(
            "View 1's files are official ones, without columns and repeated pairs: "
            "leave out --columns and --unique"
        )
    check_report_folder(out)
    train, test = map(Path, pairs)
    if "devtest" in train.name.lower() and "devtrain" in test.name.lower():
        raise ParameterError(
            "View 1 chooses on pairsDevTrain.txt and tests on pairsDevTest.txt: give "
            f"them in this order, got {train.name} first"
        )
    pair_list = read_lfw_view_1(train, test)
    features = find_features(
        inputs, pair_list.sources, out, face=PAIR_PROTOCOLS["lfw"].face
    )
    num_test = int(np.count_nonzero(pair_list.fold == DEV_TEST_FOLD))
    judged = judging.evaluate(features, pair_list)
    numbers = {
        "settings": {
            "train_pairs": str(train),
            "train_pairs_sha256": sha256(train),
            "test_pairs": str(test),
            "test_pairs_sha256": sha256(test),
            **features.settings,
            **judging.settings(
                features.embeddings.shape[1],
                judged.evaluations,
                "on the photos of DevTrain",
            ),
            "thresholds": "all midpoints between neighbouring scores of DevTrain, the "
            "mean of the best ones",
        },
        "num_train_pairs": len(pair_list) - num_test,
        "num_test_pairs": num_test,
        "models": [
            {"name": name, **_numbers(evaluation)}
            for name, evaluation in judged.evaluations.items()
        ],
    }
    path = out / VIEW_1_FILE
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return View1Report(numbers, (*features.notes, *judged.warnings), path)


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    """What one comparison says on DevTest."""
    tested = evaluation.pairs.fold == DEV_TEST_FOLD
    num_pairs = int(np.count_nonzero(tested))
    accuracy = float(evaluation.accuracies[DEV_TEST_FOLD])
    interval = wilson(round(accuracy * num_pairs), num_pairs)
    return {
        "accuracy": accuracy,
        "wilson": {
            "level": interval.level,
            "accuracy": [interval.low, interval.high],
        },
        "threshold": float(evaluation.thresholds[DEV_TEST_FOLD]),
        "pca_components": evaluation.pca_components,
        "num_test_pairs_without_score": int(
            np.count_nonzero(np.isneginf(evaluation.scores[tested]))
        ),
        "missing_photos": evaluation.missing,
    }
