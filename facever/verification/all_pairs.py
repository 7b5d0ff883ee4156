"""Verification over all pairs of many photos, exact and in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from facever.errors import DataError, ParameterError
from facever.inference.vectors import unit_vectors
from facever.progress import Advance, ignore_progress
from facever.verification.protocols.identity_list import (
    IdentityList,
    find_listed,
)
from facever.verification.roc import TarAtFar, num_allowed, too_few_impostors

# Scores held at once: 16 MiB of float32.
_BLOCK_SCORES = 2**22


@dataclass(frozen=True)
class PairScores:
    """The cosines of all pairs, in short.

    Attributes:
        genuine: Cosines of the pairs of one identity, ascending.
        highest: The highest cosines of pairs of two identities, the lowest of them
            first; the number of them was asked for, and -inf fills up if there are
            fewer pairs.
        auc: Chance that a genuine pair scores above an impostor pair, a tie counting
            half; NaN without both kinds.
    """

    genuine: Float32[np.ndarray, " genuine"]
    highest: Float32[np.ndarray, " kept"]
    auc: float


def count_pairs(codes: Int64[np.ndarray, " photos"]) -> tuple[int, int]:
    """The number of pairs of one identity, and of pairs of two."""
    _, counts = np.unique(codes, return_counts=True)
    num_genuine = int(np.sum(counts * (counts - 1) // 2))
    return num_genuine, len(codes) * (len(codes) - 1) // 2 - num_genuine


def all_pairs_tar_at_far(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    photos: IdentityList,
    target_far: float,
) -> TarAtFar:
    """True accept rate at a false accept rate, exact over all pairs of photos.

    With n impostor pairs, k of them may be accepted (the largest k with
    ``k / n <= target_far``): the threshold is the impostor score of rank k + 1. Pairs
    of a photo without an embedding are rejected, and counted among the others.

    Args:
        embeddings: The embeddings, one row for each image, of any length but zero.
        images: Source of each embedding; its extension does not matter.
        photos: The photos whose pairs are compared by cosine (a float32 product).
        target_far: False accept rate in (0, 1).

    Returns:
        The rates; a note instead where there are fewer than ``1 / target_far`` impostor
        pairs. The threshold is -inf where all pairs with a score may be accepted. For
        the memory see ``compare_all``.

    Raises:
        ParameterError: If ``target_far`` is outside (0, 1).
        DataError: If no pair is genuine, no photo has an embedding, ``images`` does not
            fit ``embeddings``, or an embedding is not finite or all zero.
    """
    if not 0 < target_far < 1:
        raise ParameterError(f"a false accept rate must be in (0, 1), got {target_far}")
    codes = np.unique(photos.identities, return_inverse=True)[1]
    num_genuine, num_impostor = count_pairs(codes)
    if num_genuine == 0:
        raise DataError(
            f"all pairs of {len(photos)} photos are impostors; list 2 of one person"
        )
    note = too_few_impostors(num_impostor, target_far)
    if note:
        return TarAtFar(target_far, None, None, None, note)
    rows = find_listed(embeddings, images, photos)
    found = rows[rows >= 0]
    units = unit_vectors(embeddings[found], [images[row] for row in found])
    num_kept = num_allowed(num_impostor, target_far) + 1
    scores = compare_all(units, codes[rows >= 0], num_kept)
    threshold = scores.highest[0]
    return TarAtFar(
        target_far=target_far,
        far=int(np.count_nonzero(scores.highest > threshold)) / num_impostor,
        tar=int(np.count_nonzero(scores.genuine > threshold)) / num_genuine,
        threshold=float(threshold),
        note="",
    )


def compare_all(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    num_kept: int,
    advance: Advance = ignore_progress,
) -> PairScores:
    """Compare all pairs by cosine, block by block.

    In memory are two copies of ``units``, 100 MiB, all genuine scores and up to four
    times the impostor scores that are kept, but never all scores.

    Args:
        units: The embeddings scaled to length 1, one row for each photo.
        codes: The identity of each photo, as a number.
        num_kept: Number of impostor scores to keep, at least one.
        advance: Called with the number of photos done since the last call.
    """
    order = np.argsort(codes, kind="stable")
    units, codes = units[order], codes[order]
    starts = np.searchsorted(codes, codes, side="left")
    ends = np.searchsorted(codes, codes, side="right")
    genuine = np.sort(np.concatenate(list(_genuine_scores(units, starts, ends))))

    highest = np.full(num_kept, -np.inf, np.float32)
    waiting: list[Float32[np.ndarray, " some"]] = []
    num_waiting = num_impostor = twice_wins = 0
    for scores in _impostor_scores(units, ends, advance):
        scores.sort()
        num_impostor += scores.size
        not_above = np.searchsorted(scores, genuine, side="left")
        not_above += np.searchsorted(scores, genuine, side="right")
        twice_wins += int(not_above.sum())
        higher = scores[np.searchsorted(scores, highest[0], side="right") :]
        waiting.append(higher[-num_kept:].copy())
        num_waiting += waiting[-1].size
        # Not at every block: that would pass over all that are kept each time.
        if num_waiting >= max(num_kept, _BLOCK_SCORES):
            highest = _highest(highest, waiting)
            waiting, num_waiting = [], 0
    highest = _highest(highest, waiting)
    couples = num_impostor * genuine.size
    return PairScores(
        genuine, highest, twice_wins / (2 * couples) if couples else np.nan
    )


def _highest(
    highest: Float32[np.ndarray, " kept"],
    others: list[Float32[np.ndarray, " _"]],
) -> Float32[np.ndarray, " kept"]:
    """The highest of all, the lowest of them first."""
    scores = np.concatenate([highest, *others])
    num_dropped = scores.size - highest.size
    scores.partition(num_dropped)
    return scores[num_dropped:].copy()


def _genuine_scores(
    units: Float32[np.ndarray, "photos dim"],
    starts: Int64[np.ndarray, " photos"],
    ends: Int64[np.ndarray, " photos"],
) -> Iterator[Float32[np.ndarray, " some"]]:
    """Scores of the pairs of each identity, whose photos are neighbours."""
    for start in np.unique(starts):
        end = int(ends[start])
        step = max(1, _BLOCK_SCORES // (end - start))
        for first in range(int(start), end, step):
            scores = units[first : min(first + step, end)] @ units[first:end].T
            yield scores[np.triu_indices(len(scores), k=1, m=scores.shape[1])]


def _impostor_scores(
    units: Float32[np.ndarray, "photos dim"],
    ends: Int64[np.ndarray, " photos"],
    advance: Advance,
) -> Iterator[Float32[np.ndarray, " some"]]:
    """Scores of photos with those of later identities, a block of photos at a time."""
    for _, _, scores, are_impostors in _blocks(units, ends, advance):
        yield scores[are_impostors]


def accepted_impostors(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    threshold: float,
    advance: Advance = ignore_progress,
) -> Iterator[tuple[Int64[np.ndarray, " accepted"], Int64[np.ndarray, " accepted"]]]:
    """The rows of the pairs of two identities whose cosine is above a threshold.

    The cosines are those of ``compare_all``, bit for bit.

    Args:
        units: The embeddings scaled to length 1, one row for each photo.
        codes: The identity of each photo, as a number, ascending.
        threshold: A cosine.
        advance: Called with the number of photos done since the last call.
    """
    ends = np.searchsorted(codes, codes, side="right")
    for start, later, scores, are_impostors in _blocks(units, ends, advance):
        left, right = np.nonzero(are_impostors & (scores > threshold))
        yield left + start, right + later


def _blocks(
    units: Float32[np.ndarray, "photos dim"],
    ends: Int64[np.ndarray, " photos"],
    advance: Advance,
) -> Iterator[
    tuple[
        int,
        int,
        Float32[np.ndarray, "rows columns"],
        Bool[np.ndarray, "rows columns"],
    ]
]:
    """First row and column, scores, and which are of two identities, by blocks."""
    place = np.arange(len(units))
    start = 0
    while start < len(units):
        block = slice(start, start + max(1, _BLOCK_SCORES // (len(units) - start)))
        # Columns before the end of the block's first identity are no impostors' of it.
        later = int(ends[start])
        scores = units[block] @ units[later:].T
        yield start, later, scores, place[later:] >= ends[block, None]
        advance(len(ends[block]))
        start = block.stop
