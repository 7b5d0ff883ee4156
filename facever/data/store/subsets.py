"""Choose identities and crops of a store by rules, and split a store by identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from facever.data.store.crop_store import CropStore, photo_of
from facever.errors import DataError, FileError, ParameterError
from facever.foreign_files import read_text


@dataclass(frozen=True)
class SubsetRules:
    """Which crops are wanted; the rules are applied in the order of the attributes.

    Attributes:
        identities: The identities to keep; None keeps all of them.
        exclude: What to leave out: identities, photos, or sources of single crops.
        min_photos: The least number of crops that an identity must have left, at
            least 1.
        sample: Number of identities to draw at random from those left; None takes all.
        seed: Seed of the draw.
    """

    identities: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    min_photos: int = 1
    sample: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Choice:
    """Rows of a store.

    Attributes:
        rows: The chosen rows, ascending.
        left_out: Row, identity, source and reason of each crop that is not chosen.
        unknown: Names in the rules that do not occur in the store.
    """

    rows: Int64[np.ndarray, " rows"]
    left_out: list[tuple[int, str, str, str]]
    unknown: list[str]


def choose_crops(store: CropStore, rules: SubsetRules) -> Choice:
    """Apply rules to a store.

    Raises:
        ParameterError: If a number of the rules is out of its range.
        DataError: If no crop is left, or fewer identities than are to be drawn.
    """
    if rules.min_photos < 1:
        raise ParameterError(f"min_photos must be at least 1, got {rules.min_photos}")
    reasons: list[str | None] = [None] * len(store)
    excluded = set(rules.exclude)
    wanted = None if rules.identities is None else set(rules.identities)
    for row, source in enumerate(store.sources):
        identity = store.identity_of(row)
        if wanted is not None and identity not in wanted:
            reasons[row] = "not in the list of identities"
        elif identity in excluded:
            reasons[row] = "excluded identity"
        elif source in excluded or photo_of(source) in excluded:
            reasons[row] = "excluded photo"
    counts = _count_left(store, reasons)
    few = (counts > 0) & (counts < rules.min_photos)
    _leave_out(store, reasons, few, f"fewer than {rules.min_photos} photos")
    if rules.sample is not None:
        counts = _count_left(store, reasons)
        drawn = _draw(np.flatnonzero(counts), rules.sample, rules.seed)
        _leave_out(store, reasons, ~np.isin(np.arange(len(counts)), drawn), "not drawn")
    chosen = [row for row, reason in enumerate(reasons) if reason is None]
    if not chosen:
        raise DataError(f"no crop of {store.folder} fits the rules: loosen them")
    left_out = [
        (row, store.identity_of(row), store.sources[row], reason)
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    anything = {*store.identities, *store.sources, *map(photo_of, store.sources)}
    unknown = sorted((wanted or set()) - set(store.identities)) + sorted(
        excluded - anything
    )
    return Choice(np.array(chosen, np.int64), left_out, unknown)


def split_rows(
    store: CropStore, share: float, seed: int
) -> tuple[Int64[np.ndarray, " first"], Int64[np.ndarray, " second"]]:
    """Rows of a random share of the identities, and those of all others.

    Args:
        store: A store of at least two identities.
        share: The share of the identities in the first part, in (0, 1); rounded so that
            no part is empty.
        seed: Seed of the draw.

    Raises:
        ParameterError: If the share is out of its range.
        DataError: If there are fewer than two identities.
    """
    if not 0 < share < 1:
        raise ParameterError(f"share must be in (0, 1), got {share}")
    num_identities = len(store.identities)
    if num_identities < 2:
        raise DataError(
            f"{store.folder} holds {num_identities} identities: a split by identity "
            "needs at least 2"
        )
    num_first = min(max(round(share * num_identities), 1), num_identities - 1)
    first = _draw(np.arange(num_identities), num_first, seed)
    in_first = np.isin(store.labels, first)
    return np.flatnonzero(in_first), np.flatnonzero(~in_first)


def read_list(path: Path) -> list[str]:
    """The names in a text file, one a line; empty lines and ``#`` comments are not.

    Raises:
        FileError: If the file cannot be read or names nothing.
    """
    try:
        text = read_text(path, "utf-8-sig", "surrogateescape")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from None
    names = [line for line in text.split("\n") if line.strip() and line[0] != "#"]
    if not names:
        raise FileError(f"{path} names nothing: expected one name a line")
    return [name.removesuffix("\r") for name in names]


def _count_left(
    store: CropStore, reasons: Sequence[str | None]
) -> Int64[np.ndarray, " identities"]:
    is_left = np.array([reason is None for reason in reasons], bool)
    return np.bincount(store.labels[is_left], minlength=len(store.identities))


def _leave_out(
    store: CropStore,
    reasons: list[str | None],
    identities: np.ndarray,
    reason: str,
) -> None:
    for row in np.flatnonzero(identities[store.labels]).tolist():
        reasons[row] = reasons[row] or reason


def _draw(
    labels: Int64[np.ndarray, " labels"], count: int, seed: int
) -> Int64[np.ndarray, " drawn"]:
    if not 1 <= count <= len(labels):
        raise ParameterError(
            f"sample must be in [1, {len(labels)}], the identities that are left, "
            f"got {count}"
        )
    drawn: Int64[np.ndarray, " drawn"] = np.random.default_rng(seed).choice(
        labels, count, replace=False
    )
    return drawn
