"""Error bars of an evaluation, by the people whom the photos' folders name."""

import numpy as np
from jaxtyping import Int64

from facever.verification.evaluation import TARGET_FARS, Evaluation
from facever.verification.protocols import PairList
from facever.verification.uncertainty.intervals import (
    BootstrapIntervals,
    Interval,
    bootstrap,
    wilson,
)


def folder_identities(
    pairs: PairList,
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]] | None:
    """Who is on each pair's photos, where the photos' folders are the people.

    ``"A_B/A_B_0001.jpg"`` and the video ``"A_B/0"`` show A_B.

    Args:
        pairs: The pairs.

    Returns:
        A number for the person on the left and on the right photos; None where the
        folders contradict what the pairs say, and so are no people.
    """
    folders = [source.rpartition("/")[0] for source in (*pairs.left, *pairs.right)]
    _, numbers = np.unique(folders, return_inverse=True)
    left, right = numbers.astype(np.int64).reshape(2, -1)
    return (left, right) if np.array_equal(left == right, pairs.same) else None


def folder_bootstrap(evaluation: Evaluation) -> BootstrapIntervals:
    """The bootstrap over the people whom folders name, or else over pairs."""
    left, right = folder_identities(evaluation.pairs) or (None, None)
    return bootstrap(
        scores=evaluation.scores,
        same=evaluation.pairs.same,
        right=evaluation.accepted == evaluation.pairs.same,
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
    )


def accuracy_interval(evaluation: Evaluation) -> Interval:
    """Wilson's interval of the share of pairs judged right."""
    right = np.count_nonzero(evaluation.accepted == evaluation.pairs.same)
    return wilson(int(right), len(evaluation.pairs))
