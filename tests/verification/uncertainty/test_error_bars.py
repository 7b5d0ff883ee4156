import math

import numpy as np
import pytest

from facever.verification.evaluation import TARGET_FARS, evaluate_pairs, evaluate_scores
from facever.verification.protocols import PairList
from facever.verification.uncertainty.error_bars import (
    accuracy_interval,
    folder_bootstrap,
    folder_identities,
)
from facever.verification.uncertainty.intervals import bootstrap


def pair_list(pairs: list[tuple[str, str, bool]]) -> PairList:
    """In two folds: even and odd places."""
    left, right, same = zip(*pairs, strict=True)
    fold = np.arange(len(pairs), dtype=np.int64) // 2 % 2
    return PairList(list(left), list(right), np.array(same), fold)


def test_folders_are_people_by_hand() -> None:
    found = folder_identities(
        pair_list(
            [
                ("Ann/1.jpg", "Ann/2.jpg", True),
                ("Ann/1.jpg", "Bob/1.jpg", False),
                ("Bob/1.jpg", "Bob/2.png", True),
                ("Cy/1.jpg", "Bob/7.jpg", False),
            ]
        )
    )
    assert found is not None
    left, right = (side.tolist() for side in found)
    ann, bob, cy = left[0], left[2], left[3]
    assert len({ann, bob, cy}) == 3
    assert left == [ann, ann, bob, cy]
    assert right == [ann, bob, bob, bob]


def test_videos_lie_in_the_folder_of_a_person() -> None:
    found = folder_identities(
        pair_list(
            [
                ("A_B/0", "A_B/4", True),
                ("A_B/0", "C/0", False),
                ("C/0", "C/1", True),
                ("C/1", "A_B/4", False),
            ]
        )
    )
    assert found is not None
    assert (found[0] == found[1]).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    "pattern",
    ["{p}/frontal/0{n}.jpg", "P_{p}_000{n}.jpg", "x/{p}_{n}.jpg", "{n}_Al {p}_3{n}_m"],
)
def test_people_are_known_by_an_outer_folder_or_the_photos_names(pattern: str) -> None:
    listed = pair_list(
        [
            (pattern.format(p=a, n=1), pattern.format(p=b, n=2), a == b)
            for a, b in ["XX", "XY", "YY", "YZ", "ZZ", "ZX"]
        ]
    )
    found = folder_identities(listed)
    assert found is not None
    left, right = (side.tolist() for side in found)
    x, y, z = left[0], left[2], left[4]
    assert len({x, y, z}) == 3
    assert left == [x, x, y, y, z, z]
    assert right == [x, y, y, z, z, x]


@pytest.mark.parametrize(
    "pairs",
    [
        # Photos in no folder, as in a .bin.
        [("000000", "000001", True), ("000002", "000003", False)] * 2,
        # All photos in one folder.
        [("all/1.jpg", "all/2.jpg", True), ("all/3.jpg", "all/4.jpg", False)] * 2,
        # A folder for each photo.
        [("1/a.jpg", "2/a.jpg", True), ("3/a.jpg", "4/a.jpg", False)] * 2,
        # One pair of LFW whose names are wrong.
        [
            ("Ann/1.jpg", "Ann/2.jpg", True),
            ("Ann/1.jpg", "Ann/3.jpg", False),
            ("Bob/1.jpg", "Bob/2.jpg", True),
            ("Ann/1.jpg", "Bob/2.jpg", False),
        ],
    ],
    ids=["no folder", "one folder", "a folder each", "one contradiction"],
)
def test_folders_that_contradict_the_pairs_are_no_people(
    pairs: list[tuple[str, str, bool]], types_unchecked: None
) -> None:
    listed = pair_list(pairs)
    assert folder_identities(listed) is None
    scores = np.linspace(0, 1, len(listed))
    evaluation = evaluate_scores(scores, listed)
    assert folder_bootstrap(evaluation) == bootstrap(
        scores=scores,
        same=listed.same,
        right=evaluation.accepted == listed.same,
        targets=TARGET_FARS,
    )


@pytest.mark.parametrize("gone", [False, True], ids=["all there", "a photo missing"])
def test_the_bootstrap_draws_the_people_of_the_folders(
    draw, types_unchecked: None, gone: bool
) -> None:
    embeddings, images, pairs = draw(seed=12)
    if gone:
        row = images.index(pairs.left[0])
        embeddings = np.delete(embeddings, row, axis=0)
        images = [image for image in images if image != pairs.left[0]]
    evaluation = evaluate_pairs(embeddings, images, pairs)
    found = folder_bootstrap(evaluation)
    # Photos are "P3/P3_0001.jpg". The order of the people decides who is drawn.
    people = sorted({source.split("/")[0] for source in pairs.left + pairs.right})
    left, right = (
        np.array([people.index(source.split("/")[0]) for source in side])
        for side in (pairs.left, pairs.right)
    )
    judged = [
        bool(score > evaluation.thresholds[fold]) == same
        for score, same, fold in zip(
            evaluation.scores, pairs.same, pairs.fold, strict=True
        )
    ]
    expected = bootstrap(
        scores=evaluation.scores,
        same=pairs.same,
        right=np.array(judged),
        left_identity=left,
        right_identity=right,
        targets=TARGET_FARS,
    )
    assert found == expected
    assert found.num_identities == len(people) == 12
    assert found.accuracy.low < sum(judged) / len(judged) < found.accuracy.high
    assert found.auc.low < evaluation.auc < found.auc.high


def test_wilson_by_hand(draw) -> None:
    _, _, pairs = draw()
    scores = np.where(pairs.same, 0.8, 0.2)
    wrong = np.flatnonzero(pairs.same)[:12]
    scores[wrong] = 0.2
    found = accuracy_interval(evaluate_scores(scores, pairs))
    # 108 of 120 right. The ends p solve |0.9 - p| = z * sqrt(p (1 - p) / 120).
    for end in (found.low, found.high):
        deviation = math.sqrt(end * (1 - end) / 120)
        assert abs(0.9 - end) == pytest.approx(1.959964 * deviation, rel=1e-6)
    assert found.low < 0.9 < found.high
    assert found.level == 0.95


def test_wilson_of_all_right(draw) -> None:
    _, _, pairs = draw()
    scores = np.where(pairs.same, 0.8, 0.2)
    found = accuracy_interval(evaluate_scores(scores, pairs))
    # z squared is 3.841459.
    assert found.low == pytest.approx(120 / (120 + 3.841459))
    assert (found.high, found.level) == (1.0, 0.95)


def test_a_missing_genuine_pair_is_judged_wrong_in_the_interval(draw) -> None:
    _, _, pairs = draw()
    scores = np.where(pairs.same, 0.8, 0.2)
    missing, low = scores.copy(), scores.copy()
    missing[0], low[0] = -np.inf, 0.1
    assert pairs.same[0]
    assert accuracy_interval(evaluate_scores(missing, pairs)) == accuracy_interval(
        evaluate_scores(low, pairs)
    )
