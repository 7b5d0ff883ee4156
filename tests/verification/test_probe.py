"""Which way to use a network is right: the pure part, on drawn scores."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from facever.verification import probe
from facever.verification.probe import Choice, choose_way, judge_gaps, separate
from facever.verification.protocols import PairList

# Thousands of draws are too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")


def make_pairs(num_people: int = 60) -> PairList:
    """Of each person a genuine pair, and an impostor pair with the next."""
    names = [f"P{person}" for person in range(num_people)]
    after = [*names[1:], names[0]]
    left = [f"{name}/1.jpg" for name in names]
    return PairList(
        left=left + left,
        right=[f"{name}/2.jpg" for name in (*names, *after)],
        same=np.arange(2 * num_people) < num_people,
        fold=np.arange(2 * num_people, dtype=np.int64) % 2,
    )


def draw_scores(
    pairs: PairList, gaps: Sequence[float], noise: float = 0.3, seed: int = 0
) -> np.ndarray:
    """A row for each way: what is common to all, its gap, and noise of its own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=len(pairs))
    own = noise * rng.normal(size=(len(gaps), len(pairs)))
    return 0.1 * (common + own + np.outer(gaps, pairs.same))


class Ways:
    """Scores of all pairs, and a note of who asked for which."""

    def __init__(self, pairs: PairList, scores: np.ndarray) -> None:
        self._row = {
            pair: row
            for row, pair in enumerate(zip(pairs.left, pairs.right, strict=True))
        }
        self._scores = scores
        self.asked: list[tuple[list[int], list[int]]] = []

    def __call__(self, ways: Sequence[int], pairs: PairList) -> np.ndarray:
        rows = [self._row[pair] for pair in zip(pairs.left, pairs.right, strict=True)]
        self.asked.append((list(ways), rows))
        return self._scores[np.ix_(list(ways), rows)]

    @property
    def rounds(self) -> list[tuple[list[int], int]]:
        """The ways and the number of pairs of each round."""
        return [(ways, len(rows)) for ways, rows in self.asked]


def choose(pairs: PairList, scores: np.ndarray, **options: object) -> Choice:
    return choose_way(len(scores), pairs, Ways(pairs, scores), **options)


def test_the_separation_is_that_of_the_textbook() -> None:
    pairs = make_pairs()
    scores = draw_scores(pairs, [3, 1])
    found = separate(scores, pairs.same)
    for of_way, separation in zip(scores, found, strict=True):
        genuine, impostor = of_way[pairs.same], of_way[~pairs.same]
        spread = np.sqrt((genuine.var() + impostor.var()) / 2)
        expected = (genuine.mean() - impostor.mean()) / spread
        assert separation == pytest.approx(expected, abs=1e-4)


def test_weights_count_pairs_as_often_as_they_say() -> None:
    pairs = make_pairs(20)
    scores = draw_scores(pairs, [2, 1, 0])
    counts = np.random.default_rng(1).integers(0, 4, (5, len(pairs)))
    found = probe._separations(scores, pairs.same, counts.astype(float))
    for row, of_pairs in zip(found, counts, strict=True):
        repeated = np.repeat(np.arange(len(pairs)), of_pairs)
        same = pairs.same[repeated]
        for separation, of_way in zip(row, scores[:, repeated], strict=True):
            genuine, impostor = of_way[same], of_way[~same]
            spread = np.sqrt((genuine.var() + impostor.var()) / 2)
            expected = (genuine.mean() - impostor.mean()) / spread
            assert separation == pytest.approx(expected, abs=1e-4)


def test_a_p_value_counts_the_draws_in_which_any_gap_is_as_far_off() -> None:
    rng = np.random.default_rng(2)
    separations, drawn = np.array([2.0, 3.0, 2.9]), rng.normal(3, 1, (50, 3))
    found = probe._p_values(separations, drawn)
    spread = {
        (i, j): np.std([draw[i] - draw[j] for draw in drawn])
        for i, j in combinations(range(3), 2)
    }
    largest = [
        max(
            abs((draw[i] - draw[j]) - (separations[i] - separations[j])) / spread[i, j]
            for i, j in spread
        )
        for draw in drawn
    ]
    for way, pair in ((0, (0, 1)), (2, (1, 2))):
        gap = (3.0 - separations[way] - 0.01) / spread[pair]
        rarer = sum(each >= gap for each in largest)
        assert found[way] == pytest.approx((rarer + 1) / 51)
    assert found[1] == 1


def test_scores_that_are_multiplied_or_shifted_change_nothing() -> None:
    pairs = make_pairs()
    [scores] = draw_scores(pairs, [3])
    both = np.array([scores, 5 * scores - 0.3])
    first, second = separate(both, pairs.same)
    assert second == pytest.approx(first, rel=1e-5)
    assert judge_gaps(both, pairs).tolist() == [1, 1]


def test_ways_that_are_equally_good_are_seldom_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "_NUM_DRAWS", 300)
    pairs = make_pairs(100)
    num_wrong = 0
    for seed in range(30):
        scores = draw_scores(pairs, [3] * 8, noise=1.0, seed=seed)
        num_wrong += judge_gaps(scores, pairs).min() < 0.05
    # 1.5 are expected; a test of each gap for itself gives 10 and more.
    assert num_wrong <= 4


def test_the_best_way_is_found_in_rounds() -> None:
    pairs = make_pairs(500)
    ways = Ways(pairs, draw_scores(pairs, [0.5, 4, 3.6, 1, 4.4]))
    found = choose_way(5, pairs, ways, rounds=(80, 400, np.inf))
    assert (found.best, found.chosen, found.is_usable) == (4, 4, True)
    first, second, third = ways.rounds
    assert first == ([0, 1, 2, 3, 4], 80)
    assert second[1] == 400
    assert not {0, 3} & set(second[0])
    assert third[1] == 1000
    assert set(third[0]) <= set(second[0])
    rows = [set(rows) for _, rows in ways.asked]
    assert rows[0] < rows[1] < rows[2]
    for drawn in rows:
        taken = np.array(sorted(drawn))
        cells = 2 * pairs.fold[taken] + pairs.same[taken]
        assert len(set(np.bincount(cells).tolist())) == 1
    assert found.equal == {4}
    assert len(found.standings[0].evaluation.pairs) == 80
    assert len(found.standings[4].evaluation.pairs) == 1000


def test_the_most_common_way_is_taken_where_others_are_as_good() -> None:
    pairs = make_pairs(100)
    scores = draw_scores(pairs, [1, 4, 4.02, 4.01])
    found = choose(pairs, scores)
    assert found.chosen == 1
    assert found.best != 0
    assert found.equal == {1, 2, 3}


def test_a_way_that_changes_nothing_is_left_to_its_twin() -> None:
    pairs = make_pairs(300)
    scores = draw_scores(pairs, [4, 1, 4, 4])
    scores[2] = scores[0] + 1e-3 * np.random.default_rng(3).normal(size=len(pairs))
    ways = Ways(pairs, scores)
    found = choose_way(4, pairs, ways, rounds=(80, 400, np.inf))
    assert [2 in asked for asked, _ in ways.rounds] == [True, False, False]
    assert found.standings[2].alike == 0
    assert (2 in found.equal) == (0 in found.equal)
    assert [found.standings[way].alike for way in (0, 1, 3)] == [None] * 3


def test_who_stands_for_a_worse_way_is_worse_himself() -> None:
    pairs = make_pairs(800)
    scores = draw_scores(pairs, [3.8, 3.8, 4.15])
    scores[1] = scores[0]
    found = choose(pairs, scores)
    assert found.standings[1].alike == 0
    assert found.equal == {2}
    assert found.chosen == found.best == 2


def test_a_network_that_is_of_no_use_is_not_tried_on_all_pairs() -> None:
    pairs = make_pairs(500)
    ways = Ways(pairs, draw_scores(pairs, [0.3, 0.5, 0.1]))
    found = choose_way(3, pairs, ways)
    assert not found.is_usable
    assert len(ways.rounds) == 1


def test_scores_that_are_all_the_same_are_the_worst() -> None:
    pairs = make_pairs()
    scores = draw_scores(pairs, [0, 4])
    scores[0] = 0
    assert separate(scores, pairs.same)[0] == 0
    first, second = judge_gaps(scores, pairs)
    assert first < 0.01
    assert second == 1


def test_pairs_that_some_way_cannot_score_are_left_out_for_all() -> None:
    pairs = make_pairs()
    scores = draw_scores(pairs, [4, 4])
    scores[1, [3, 70]] = -np.inf
    found = choose(pairs, scores, rounds=(np.inf,))
    for standing in found.standings:
        assert len(standing.evaluation.pairs) == len(pairs) - 2
        assert pairs.left[3] not in standing.evaluation.pairs.left[:60]
