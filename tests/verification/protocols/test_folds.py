import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.protocols.folds import (
    consecutive_folds,
    deal_folds,
    divide_pairs,
)

# Two pairs of each kind at least.
KINDS = st.lists(st.booleans(), max_size=60).flatmap(
    lambda more: st.permutations([True, True, False, False, *more])
)


@given(st.lists(st.booleans(), max_size=50), st.integers(1, 12))
def test_dealing_is_even(same: list[bool], num_folds: int) -> None:
    folds = deal_folds(np.array(same, dtype=bool), num_folds)
    for kind in (True, False):
        mine = [
            fold for fold, is_same in zip(folds, same, strict=True) if is_same == kind
        ]
        assert mine == [place % num_folds for place in range(len(mine))]


@given(KINDS, st.randoms(use_true_random=False))
def test_the_order_of_a_list_that_is_dealt_is_no_matter(
    same: list[bool], order: random.Random
) -> None:
    texts = [(f"{place % 7}", f"{place}") for place in range(len(same))]
    pairs = list(zip(same, texts, strict=True))
    before = deal_folds(np.array(same), written=texts)
    fold_of = dict(zip(texts, before.tolist(), strict=True))
    order.shuffle(pairs)
    after = deal_folds(
        np.array([kind for kind, _ in pairs]), written=[text for _, text in pairs]
    )
    assert after.tolist() == [fold_of[text] for _, text in pairs]


@given(KINDS)
def test_folds_serve_whatever_the_order(same: list[bool]) -> None:
    folds = divide_pairs(np.array(same))
    by_fold = [
        np.array(same)[folds.fold == fold] for fold in range(max(folds.fold) + 1)
    ]
    assert len(by_fold) >= 2
    assert all(kinds.any() and not kinds.all() for kinds in by_fold)
    assert np.ptp([np.count_nonzero(kinds) for kinds in by_fold]) <= 1
    in_order = np.array_equal(folds.fold, consecutive_folds(len(same)))
    assert (folds.rule_fold is None) == in_order
    assert ("its ten tenths are taken" in folds.notes[0]) == in_order


def test_tenths_of_a_list_by_folds() -> None:
    same = np.array(([True] * 3 + [False] * 3) * 10)
    folds = divide_pairs(same)
    assert folds.fold.tolist() == [place // 6 for place in range(60)]
    # One pair more or less in a fold does not make it another list.
    assert divide_pairs(same[:-2]).rule_fold is None


def test_kinds_one_after_the_other_are_dealt() -> None:
    folds = divide_pairs(np.arange(40) < 20)
    assert folds.fold.tolist() == [place % 10 for place in range(40)]
    assert folds.rule_fold.tolist() == [place // 4 for place in range(40)]
    dealt, rules = folds.notes
    assert dealt.startswith("fold 1 of 10 in the list's order has 4 genuine and 0 ")
    assert "10 folds, of which 10 have pairs of one kind: the accuracy there" in rules


def test_a_shuffled_list_is_dealt() -> None:
    same = np.array(([True, True, False] * 2 + [True, False, False] * 2) * 5)
    dealt, rules = divide_pairs(same).notes
    assert dealt.startswith("the list names no folds, and its order is none by folds")
    assert rules == "other projects' rules (--rule) keep the list's own 10 folds"


def test_named_folds_are_taken_however_uneven() -> None:
    same = np.array([True, False, True, True, True, False])
    named = np.array([1, 1, 0, 0, 0, 0])
    folds = divide_pairs(same, named)
    assert folds.fold is named
    assert (folds.rule_fold, folds.notes) == (None, ())


def test_named_folds_that_do_not_serve() -> None:
    same = np.array([True, True, False, False])
    folds = divide_pairs(same, np.array([0, 0, 1, 1]))
    assert folds.fold.tolist() == [0, 1, 0, 1]
    assert folds.rule_fold.tolist() == [0, 0, 1, 1]
    assert folds.notes[0].startswith("fold 1 of 2 of the list has 2 genuine and 0 ")
    one_fold = divide_pairs(same, np.zeros(4, int))
    assert one_fold.notes[0].startswith("the list has one fold: ")
    # A fold alone leaves no threshold to other projects either: each pair is a fold.
    assert one_fold.rule_fold.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("genuine", [0, 1])
@pytest.mark.parametrize("kind", [True, False])
def test_too_few_of_a_kind(genuine: int, kind: bool) -> None:
    same = np.array([kind] * genuine + [not kind] * 5)
    with pytest.raises(
        DataError, match=r"no threshold can be chosen: .* at least 2 gen"
    ):
        divide_pairs(same)
