"""Folds for lists of pairs that name none, or none that thresholds can be chosen on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from facever.errors import DataError

NUM_FOLDS = 10


class Folds(NamedTuple):
    """How pairs are divided.

    Attributes:
        fold: Fold of each pair, each with genuine and impostor pairs.
        rule_fold: Fold of each pair under other projects' rules, where that is another:
            the list's own. It may have pairs of one kind alone. Else None.
        notes: What a reader of the numbers must know, a line each.
    """

    fold: Int64[np.ndarray, " pairs"]
    rule_fold: Int64[np.ndarray, " pairs"] | None
    notes: tuple[str, ...]


def divide_pairs(
    same: Bool[np.ndarray, " pairs"],
    named: Int64[np.ndarray, " pairs"] | None = None,
    written: Sequence[tuple[str, ...]] | None = None,
) -> Folds:
    """Divide pairs into folds.

    The folds that the list names are taken, or else its ten tenths in their order, as
    the projects that publish lists do. Where these do not serve, because a fold has
    pairs of one kind, or tenths differ in their number of genuine pairs (so that the
    order is no protocol's), the pairs of each kind are dealt in turn, and that is said.
    Other projects' rules keep the list's own folds.

    Args:
        same: True for genuine pairs.
        named: The fold of each pair, from 0, where the list names them.
        written: How the list spells each pair. Pairs are dealt in the order of this
            text, so that the same pairs give the same folds in whatever order they
            stand; None deals them in the order of the list.

    Raises:
        DataError: If there are fewer than two pairs of a kind.
    """
    num_genuine = int(np.count_nonzero(same))
    num_impostor = len(same) - num_genuine
    if min(num_genuine, num_impostor) < 2:
        raise DataError(
            "no threshold can be chosen: that takes at least 2 genuine and 2 impostor "
            f"pairs, got {num_genuine} genuine and {num_impostor} impostor pairs"
        )
    own = consecutive_folds(len(same)) if named is None else named
    counts = _count_kinds(same, own)
    if counts.shape[0] > 1 and counts.all():
        if named is not None:
            return Folds(own, None, ())
        if np.ptp(counts[:, 1]) <= 1:
            note = "the list names no folds: its ten tenths are taken, in its order"
            return Folds(own, None, (note,))
    num_folds = min(NUM_FOLDS, num_genuine, num_impostor)
    note = (
        f"{_what_is_wrong(counts, named is not None)}: genuine and impostor pairs are "
        f"dealt in turn into {num_folds} folds"
    )
    fold = deal_folds(same, num_folds, written)
    if counts.shape[0] < 2:
        own = consecutive_folds(len(same))
        counts = _count_kinds(same, own)
    return Folds(fold, own, (note, _what_rules_do(counts)))


def consecutive_folds(
    num_pairs: int, num_folds: int = NUM_FOLDS
) -> Int64[np.ndarray, " pairs"]:
    """Consecutive folds of equal size, the first of them longer by one where needed.

    scikit-learn's KFold, by which other projects divide. Fewer pairs than folds, of
    which KFold makes none, are a fold each.
    """
    num_folds = min(num_pairs, num_folds)
    sizes = num_pairs // num_folds + (np.arange(num_folds) < num_pairs % num_folds)
    return np.repeat(np.arange(num_folds), sizes)


def deal_folds(
    same: Bool[np.ndarray, " pairs"],
    num_folds: int = NUM_FOLDS,
    written: Sequence[tuple[str, ...]] | None = None,
) -> Int64[np.ndarray, " pairs"]:
    """Deal the pairs of each kind in turn into folds.

    Args:
        same: True for genuine pairs.
        num_folds: Number of folds.
        written: Text of each pair, in whose order pairs are dealt; None is that of the
            list.

    Returns:
        Fold of each pair: how many pairs of its kind come before it, modulo the number
        of folds.
    """
    order = list(range(len(same)))
    if written is not None:
        order.sort(key=written.__getitem__)
    kinds = same[order]
    turn = np.where(kinds, np.cumsum(kinds), np.cumsum(~kinds)) - 1
    folds = np.empty(len(same), dtype=np.int64)
    folds[order] = turn % num_folds
    return folds


def _count_kinds(
    same: Bool[np.ndarray, " pairs"], fold: Int64[np.ndarray, " pairs"]
) -> Int64[np.ndarray, "folds 2"]:
    """Number of impostor and of genuine pairs in each fold."""
    counts: Int64[np.ndarray, " both"] = np.bincount(
        2 * fold + same, minlength=2 * (int(fold.max()) + 1)
    )
    return counts.reshape(-1, 2)


def _what_is_wrong(counts: Int64[np.ndarray, "folds 2"], are_named: bool) -> str:
    if are_named and len(counts) == 1:
        return "the list has one fold"
    lacking = np.flatnonzero(~counts.all(axis=1))
    if not lacking.size:
        return "the list names no folds, and its order is none by folds"
    number, (impostor, genuine) = lacking[0] + 1, counts[lacking[0]]
    where = "of the list" if are_named else "in the list's order"
    return (
        f"fold {number} of {len(counts)} {where} has {genuine} genuine and {impostor} "
        "impostor pairs"
    )


def _what_rules_do(counts: Int64[np.ndarray, "folds 2"]) -> str:
    said = f"other projects' rules (--rule) keep the list's own {len(counts)} folds"
    lacking = np.count_nonzero(~counts.all(axis=1))
    if not lacking:
        return said
    return (
        f"{said}, of which {lacking} have pairs of one kind: the accuracy there is the "
        "share that is accepted, or rejected, alone"
    )
