"""LFW's unrestricted setting: a network for each fold, from the other folds' people.

Stated rules, for the network that is tested on fold k:

- It may learn from the people of the other folds alone, and ``check_no_leak`` refuses
  anything else.
- Some of those people, drawn by a seed, are held out of its training. Its threshold
  and its PCA come from them. On the people that a network was trained on, pairs of one
  person score higher and pairs of two score lower than on strangers, so a threshold
  chosen there would be too high for the tested fold. Nor may it come from other folds'
  test pairs, each scored by its own network: those networks have learnt fold k.
- The held-out pairs are drawn as LFW drew its own: for a pair of one person, a person
  with two photos or more, each as likely, and two of the photos; for a pair of two
  people, both, each as likely, and a photo of each.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from facever.data.batches.people_list import TrainingPeople
from facever.errors import DataError, ParameterError
from facever.verification.evaluation import Evaluation, judged_scores
from facever.verification.protocols import PairList, person_of

TESTED_FOLD = 0
HELD_OUT_FOLD = 1


def choose_people(
    folds: Sequence[Mapping[str, int]],
    tested: int,
    num_crops: Mapping[str, int],
    *,
    min_photos: int,
    num_held_out: int,
    seed: int,
) -> TrainingPeople:
    """Who trains and who is held out for the network that is tested on a fold.

    Args:
        folds: The people of each fold, as ``read_lfw_people`` gives them.
        tested: The fold to test, from 0.
        num_crops: Number of crops of each person; people without a crop are left out.
        min_photos: People with fewer crops do not train; they may be held out, as
            LFW's pairs of two people name them, too.
        num_held_out: People to hold out, at least 2.
        seed: Seed of the draw.

    Returns:
        The people, each part in alphabetical order.

    Raises:
        ParameterError: If num_held_out leaves fewer than two people to train on.
    """
    others = sorted(
        name
        for fold, people in enumerate(folds)
        for name in people
        if fold != tested and num_crops.get(name)
    )
    if not 2 <= num_held_out <= len(others) - 2:
        raise ParameterError(
            f"held_out_people must be in [2, {len(others) - 2}], as {len(others)} "
            f"people of the other folds have crops, got {num_held_out}"
        )
    drawn = np.random.default_rng((seed, tested, 4)).permutation(len(others))
    held_out = sorted(others[place] for place in drawn[:num_held_out])
    left = sorted(others[place] for place in drawn[num_held_out:])
    train = [name for name in left if num_crops[name] >= min_photos]
    if len(train) < 2:
        raise ParameterError(
            f"min_photos leaves {len(train)} people to train on, at least 2 are "
            f"needed; got {min_photos}"
        )
    return TrainingPeople(train=train, held_out=held_out)


def check_no_leak(
    people: TrainingPeople,
    folds: Sequence[Mapping[str, int]],
    tested: int,
    pairs: PairList,
) -> None:
    """Refuse people who are not of the other folds.

    Args:
        people: The people to train on and those to hold out.
        folds: The people of each fold.
        tested: The fold to test, from 0.
        pairs: LFW's pairs, asked as well as ``folds`` who is tested.

    Raises:
        DataError: If one of the people belongs to the tested fold, or to no fold.
    """
    tests = pairs.fold == tested
    of_pairs = {
        person_of(source)
        for sources in (pairs.left, pairs.right)
        for source, is_tested in zip(sources, tests, strict=True)
        if is_tested
    }
    allowed = {
        name for fold, others in enumerate(folds) for name in others if fold != tested
    }
    allowed -= of_pairs | folds[tested].keys()
    leaked = [name for name in people.train + people.held_out if name not in allowed]
    if leaked:
        raise DataError(
            f"{len(leaked)} people would train or set the threshold of the network "
            f"that is tested on fold {tested + 1}, such as {leaked[0]!r}, and are not "
            "of the other folds: its accuracy would mean nothing"
        )


def with_held_out(
    pairs: PairList, tested: int, held_out: Sequence[str], num_each: int, seed: int
) -> PairList:
    """The pairs of the tested fold, and pairs drawn from the held-out people's photos.

    As a fold's threshold and PCA are chosen on the others, those of ``TESTED_FOLD``
    come from ``HELD_OUT_FOLD`` alone.

    Args:
        pairs: LFW's pairs.
        tested: The fold to test, from 0.
        held_out: Sources of the held-out people's photos.
        num_each: Number of pairs of one person to draw, and of pairs of two, at least
            1. A pair may be drawn again, so that few photos weigh as they do in LFW's
            way of drawing.
        seed: Seed of the draw.

    Returns:
        Two folds: ``TESTED_FOLD``, in the order of ``pairs``, then ``HELD_OUT_FOLD``.

    Raises:
        DataError: If the held-out photos do not show two people, or nobody twice.
    """
    photos: dict[str, list[str]] = {}
    for source in sorted(held_out):
        photos.setdefault(person_of(source), []).append(source)
    everybody = list(photos.values())
    repeated = [theirs for theirs in everybody if len(theirs) > 1]
    if len(everybody) < 2 or not repeated:
        raise DataError(
            "a threshold needs held-out photos of 2 people, and 2 of one of them; got "
            f"{len(held_out)} photos of {len(everybody)} people; raise held_out_people"
        )
    rng = np.random.default_rng((seed, tested, 5))
    drawn: list[tuple[str, str]] = []
    for who in rng.integers(len(repeated), size=num_each):
        first, second = rng.choice(len(repeated[who]), 2, replace=False)
        drawn.append((repeated[who][first], repeated[who][second]))
    for _ in range(num_each):
        one, other = rng.choice(len(everybody), 2, replace=False)
        drawn.append(
            (str(rng.choice(everybody[one])), str(rng.choice(everybody[other])))
        )
    tests = np.flatnonzero(pairs.fold == tested)
    return PairList(
        left=[pairs.left[place] for place in tests] + [left for left, _ in drawn],
        right=[pairs.right[place] for place in tests] + [right for _, right in drawn],
        same=np.concatenate([pairs.same[tests], np.arange(2 * num_each) < num_each]),
        fold=np.repeat([TESTED_FOLD, HELD_OUT_FOLD], [len(tests), len(drawn)]),
    )


def pairs_of_folds(pairs: PairList, folds: Sequence[int]) -> PairList:
    """The pairs of some folds, which are numbered from 0 again.

    Args:
        pairs: The pairs.
        folds: At least two of their folds, rising, from 0.
    """
    places = np.flatnonzero(np.isin(pairs.fold, folds))
    return PairList(
        left=[pairs.left[place] for place in places],
        right=[pairs.right[place] for place in places],
        same=pairs.same[places],
        fold=np.searchsorted(folds, pairs.fold[places]),
    )


def merge_folds(pairs: PairList, tested: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of folds that were judged by a network each.

    Args:
        pairs: The pairs of all these folds.
        tested: For each fold an evaluation of pairs from ``with_held_out``, all
            compared in one way, with missing photos rejected.

    Returns:
        Scores, thresholds and accuracies of each fold by its own network. The ROC curve
        pools scores of several networks as they are.
    """
    scores = np.empty(len(pairs))
    for fold, evaluation in enumerate(tested):
        of_fold = evaluation.pairs.fold == TESTED_FOLD
        scores[pairs.fold == fold] = evaluation.scores[of_fold]
    return judged_scores(
        scores,
        np.array([evaluation.thresholds[TESTED_FOLD] for evaluation in tested]),
        pairs,
        sorted({source for evaluation in tested for source in evaluation.missing}),
        ~np.isneginf(scores),
        "reject",
        tested[0].pca_components,
    )
