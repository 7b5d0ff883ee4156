from collections import Counter

import numpy as np
import pytest

from facever.data.batches.people_list import TrainingPeople
from facever.errors import DataError, ParameterError
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairList, person_of
from facever.verification.unrestricted import (
    HELD_OUT_FOLD,
    TESTED_FOLD,
    check_no_leak,
    choose_people,
    merge_folds,
    pairs_of_folds,
    with_held_out,
)

# Person 3 of fold 1 is "1-3" and has 4 crops; number 0 has one, the others two or more.
FOLDS = [{f"{fold}-{number}": number + 1 for number in range(6)} for fold in range(4)]
NUM_CROPS = {name: count for people in FOLDS for name, count in people.items()}


def photo(name: str, number: int = 1) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def make_pairs() -> PairList:
    """Two pairs a fold: one of person 5, one of persons 4 and 5."""
    return PairList(
        left=[photo(f"{fold}-5", n) for fold in range(4) for n in (1, 2)],
        right=[photo(f"{fold}-{who}", 3) for fold in range(4) for who in (5, 4)],
        same=np.array([True, False] * 4),
        fold=np.repeat(np.arange(4), 2),
    )


def choose(tested: int = 1, **changes: int) -> TrainingPeople:
    options = {"min_photos": 2, "num_held_out": 5, "seed": 0} | changes
    return choose_people(FOLDS, tested, NUM_CROPS, **options)


class TestChoosePeople:
    @pytest.mark.parametrize("tested", range(4))
    def test_all_of_the_other_folds_have_their_part(self, tested: int) -> None:
        people = choose(tested)
        others = {n for fold in range(4) if fold != tested for n in FOLDS[fold]}
        single = {name for name in others if NUM_CROPS[name] == 1}
        assert len(people.held_out) == 5
        assert set(people.train) == others - set(people.held_out) - single
        check_no_leak(people, FOLDS, tested, make_pairs())

    def test_people_of_one_photo_are_held_out_but_train_only_where_asked(self) -> None:
        held_out = [name for seed in range(20) for name in choose(seed=seed).held_out]
        assert {NUM_CROPS[name] for name in held_out} == set(range(1, 7))
        assert any(NUM_CROPS[name] == 1 for name in choose(min_photos=1).train)
        assert len(choose(min_photos=1).train) == 18 - 5

    def test_the_draw_is_that_of_the_seed_and_the_fold(self) -> None:
        assert choose() == choose()
        assert choose(seed=1) != choose()
        numbers = [{n[1:] for n in choose(tested).held_out} for tested in range(4)]
        assert any(each != numbers[0] for each in numbers)

    def test_people_without_a_crop_are_left_out(self) -> None:
        crops = {name: n for name, n in NUM_CROPS.items() if name != "0-5"}
        crops["2-5"] = 0
        people = choose_people(FOLDS, 1, crops, min_photos=1, num_held_out=8, seed=0)
        everybody = people.train + people.held_out
        assert len(everybody) == 16
        assert not {"0-5", "2-5"} & set(everybody)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_held_out": 1}, r"held_out_people must be in \[2, 16\].* got 1"),
            ({"num_held_out": 17}, r"\[2, 16\], as 18 people .* got 17"),
            ({"min_photos": 7}, "min_photos leaves 0 people to train on"),
        ],
    )
    def test_too_few_or_too_many(self, changes: dict[str, int], message: str) -> None:
        with pytest.raises(ParameterError, match=message):
            choose(**changes)


class TestNoLeak:
    @pytest.mark.parametrize("part", ["train", "held_out"])
    @pytest.mark.parametrize("leaked", ["1-0", "1-5", "Stranger"])
    def test_one_person_of_the_tested_fold_is_refused(
        self, part: str, leaked: str
    ) -> None:
        people = choose()
        getattr(people, part).append(leaked)
        with pytest.raises(DataError, match=f"1 people would .* fold 2.*{leaked!r}"):
            check_no_leak(people, FOLDS, 1, make_pairs())

    def test_the_pairs_are_asked_as_well(self) -> None:
        """A people.txt that has 1-5 in another fold does not hide the leak."""
        folds = [dict(people) for people in FOLDS]
        folds[2]["1-5"] = folds[1].pop("1-5")
        people = TrainingPeople(["0-1", "0-2", "1-5"], ["3-1", "3-2"])
        with pytest.raises(DataError, match="such as '1-5'"):
            check_no_leak(people, folds, 1, make_pairs())


class TestHeldOutPairs:
    PHOTOS = [photo("A", n) for n in range(1, 10)] + [
        photo("B", 1),
        photo("B", 2),
        photo("C"),
    ]

    def draw(self, num_each: int = 3000, seed: int = 0) -> PairList:
        return with_held_out(make_pairs(), 2, self.PHOTOS, num_each, seed)

    def test_the_tested_fold_comes_first_in_its_order(self) -> None:
        pairs, all_pairs = self.draw(7), make_pairs()
        tested = pairs.fold == TESTED_FOLD
        assert tested.tolist() == [True] * 2 + [False] * 14
        assert pairs.left[:2] == all_pairs.left[4:6]
        assert pairs.right[:2] == all_pairs.right[4:6]
        assert pairs.same.tolist() == [True, False] + [True] * 7 + [False] * 7

    def test_drawn_as_lfw_drew(self) -> None:
        pairs = self.draw()
        drawn = [
            (person_of(left), person_of(right), left, right, bool(same))
            for left, right, same, fold in zip(
                pairs.left, pairs.right, pairs.same, pairs.fold, strict=True
            )
            if fold == HELD_OUT_FOLD
        ]
        genuine = [pair for pair in drawn if pair[4]]
        assert all(left == right for left, right, *_ in genuine)
        assert all(first != second for *_, first, second, _ in genuine)
        # A has 36 pairs of photos and B one, but each is as likely: half of 3,000.
        assert Counter(who for who, *_ in genuine)["B"] == pytest.approx(1500, abs=150)
        impostor = [frozenset(pair[:2]) for pair in drawn if not pair[4]]
        assert all(len(pair) == 2 for pair in impostor)
        counts = Counter(impostor)
        for pair in ("AB", "AC", "BC"):
            assert counts[frozenset(pair)] == pytest.approx(1000, abs=150)
        of_a = Counter(s for *_, a, b, same in drawn if not same for s in (a, b))
        for number in range(1, 10):
            assert of_a[photo("A", number)] == pytest.approx(2000 / 9, abs=90)

    def test_the_order_of_the_photos_changes_nothing(self) -> None:
        turned = with_held_out(make_pairs(), 2, self.PHOTOS[::-1], 50, 0)
        assert turned.left == self.draw(50).left
        assert self.draw(50, seed=1).left != self.draw(50).left

    @pytest.mark.parametrize("photos", [[photo("A"), photo("B")], PHOTOS[:9], []])
    def test_too_few_photos(self, photos: list[str]) -> None:
        with pytest.raises(DataError, match=f"got {len(photos)} photos of"):
            with_held_out(make_pairs(), 2, photos, 3, 0)


def test_folds_are_merged_each_with_its_own_network() -> None:
    """Three folds by hand, the last with a missing photo."""
    all_pairs = make_pairs()
    pairs = pairs_of_folds(all_pairs, [0, 2, 3])
    assert pairs.fold.tolist() == [0, 0, 1, 1, 2, 2]
    assert pairs.left == all_pairs.left[:2] + all_pairs.left[4:]
    rng = np.random.default_rng(0)
    held_out = TestHeldOutPairs.PHOTOS
    evaluations = []
    for fold in (0, 2, 3):
        both = with_held_out(all_pairs, fold, held_out, 40, 0)
        images = [source for source in both.sources if source != photo("3-4", 3)]
        embeddings = rng.normal(size=(len(images), 8))
        evaluations.append(evaluate_pairs(embeddings, images, both))
        # Labels of the tested fold say nothing to the threshold.
        flipped = PairList(both.left, both.right, both.same.copy(), both.fold)
        flipped.same[:2] = ~flipped.same[:2]
        again = evaluate_pairs(embeddings, images, flipped)
        assert again.thresholds[TESTED_FOLD] == evaluations[-1].thresholds[TESTED_FOLD]

    merged = merge_folds(pairs, evaluations)

    for place, evaluation in enumerate(evaluations):
        scores = evaluation.scores[:2]
        assert merged.scores[2 * place : 2 * place + 2].tolist() == scores.tolist()
        threshold = evaluation.thresholds[0]
        assert merged.thresholds[place] == threshold
        right = int(scores[0] > threshold) + int(scores[1] <= threshold)
        assert merged.accuracies[place] == right / 2
    assert merged.scores[5] == -np.inf
    assert merged.missing == [photo("3-4", 3)]
    assert merged.num_missing_pairs == 1
    assert merged.accuracy == pytest.approx(np.mean(merged.accuracies))
