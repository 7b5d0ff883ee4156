"""``facever evaluate lfw`` with two files: LFW's View 1, for development."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facever.errors import ParameterError
from facever.files import whole_file
from facever.stages.evaluation.features import Inputs, find_features, sha256
from facever.stages.evaluation.judging import EXACT, Judging
from facever.verification.protocols import DEV_TEST_FOLD, read_lfw_view_1
from facever.verification.uncertainty.intervals import wilson

VIEW_1_FILE = "view_1.json"


def evaluate_lfw_view_1(
    out: Path, pairs: Sequence[Path], inputs: Inputs, judging: Judging = EXACT
) -> dict[str, float]:
    """LFW's View 1, for development: choose on DevTrain, test on DevTest.

    Args:
        out: Folder of ``view_1.json``, and of the crops of photos.
        pairs: ``pairsDevTrain.txt`` and ``pairsDevTest.txt``.
        inputs: Photos are ``<Name>/<Name>_0001.jpg``.
        judging: How to compare and judge.

    Returns:
        Accuracy on DevTest in [0, 1], by the name of the comparison.

    Raises:
        FaceverError: As ``evaluate_lfw``.
    """
    inputs.check()
    judging.check()
    if judging.protocol != "exact":
        raise ParameterError(
            "View 1 has one test set, no folds for other projects' rules: protocol "
            f"must be exact, got {judging.protocol!r}"
        )
    if len(pairs) != 2:
        raise ParameterError(
            "give pairs.txt, or for View 1 pairsDevTrain.txt and pairsDevTest.txt; got "
            f"{len(pairs)} pairs files"
        )
    train, test = pairs
    if "devtest" in train.name.lower() and "devtrain" in test.name.lower():
        raise ParameterError(
            "View 1 chooses on pairsDevTrain.txt and tests on pairsDevTest.txt: give "
            f"them in this order, got {train.name} first"
        )
    pair_list = read_lfw_view_1(train, test)
    features = find_features(inputs, pair_list.sources, out, face="center")
    found = {}
    models = []
    tested = pair_list.fold == DEV_TEST_FOLD
    num_pairs = int(np.count_nonzero(tested))
    evaluations = judging.evaluate(features, pair_list)
    for name, evaluation in evaluations.items():
        found[name] = float(evaluation.accuracies[DEV_TEST_FOLD])
        threshold = float(evaluation.thresholds[DEV_TEST_FOLD])
        interval = wilson(round(found[name] * num_pairs), num_pairs)
        unscored = np.count_nonzero(np.isneginf(evaluation.scores[tested]))
        models.append(
            {
                "name": name,
                "accuracy": found[name],
                "wilson": {
                    "level": interval.level,
                    "accuracy": [interval.low, interval.high],
                },
                "threshold": threshold,
                "pca_components": evaluation.pca_components,
                "num_test_pairs_without_score": int(unscored),
                "missing_photos": evaluation.missing,
            }
        )
        print(
            f"{name}: {found[name]:.2%} of {num_pairs:,} DevTest pairs (95% interval "
            f"{interval.low:.2%} to {interval.high:.2%}), threshold {threshold:.4f} "
            f"chosen on {len(pair_list) - num_pairs:,} DevTrain pairs"
            + f", {len(evaluation.missing)} photos missing"
            * bool(evaluation.missing)
        )
    numbers = {
        "settings": {
            "train_pairs": str(train),
            "train_pairs_sha256": sha256(train),
            "test_pairs": str(test),
            "test_pairs_sha256": sha256(test),
            **features.settings,
            **judging.settings(
                features.embeddings.shape[1], evaluations, "on the photos of DevTrain"
            ),
            "thresholds": "all midpoints between neighbouring scores of DevTrain, the "
            "mean of the best ones",
        },
        "num_train_pairs": len(pair_list) - num_pairs,
        "num_test_pairs": num_pairs,
        "models": models,
    }
    with whole_file(out / VIEW_1_FILE) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(f"numbers: {out / VIEW_1_FILE}")
    return found
