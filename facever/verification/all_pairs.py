"""Verification over all pairs of many photos, exact and in bounded memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int64

from facever.errors import DataError, ParameterError
from facever.verification.identity_list import IdentityList, find_rows, unit_rows
from facever.verification.roc import TarAtFar

# Scores held at once: 16 MiB of float32.
_BLOCK_SCORES = 2**22


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

    Held are, beside a float32 copy of the embeddings, 100 MiB, all genuine scores and
    the k + 1 highest impostor scores, never all scores.

    Args:
        embeddings: One row an image, of any length but zero.
        images: Source of each row; its extension does not matter.
        photos: Whose pairs are compared by cosine (a float32 product).
        target_far: False accept rate in (0, 1).

    Returns:
        The rates; a note instead where there are fewer than ``1 / target_far`` impostor
        pairs. The threshold is -inf where all pairs with a score may be accepted.

    Raises:
        ParameterError: If ``target_far`` is outside (0, 1).
        DataError: If no pair is genuine, no photo has an embedding, ``images`` does not
            fit ``embeddings``, or an embedding is not finite or all zero.
    """
    if not 0 < target_far < 1:
        raise ParameterError(f"a false accept rate must be in (0, 1), got {target_far}")
    _, codes, counts = np.unique(
        photos.identities, return_inverse=True, return_counts=True
    )
    num_genuine = int(np.sum(counts * (counts - 1) // 2))
    num_impostor = len(photos) * (len(photos) - 1) // 2 - num_genuine
    if num_genuine == 0:
        raise DataError(
            f"all pairs of {len(photos)} photos are impostors; list 2 of one person"
        )
    if num_impostor == 0 or 1 / num_impostor > target_far:
        note = (
            f"FAR {target_far:g} needs at least {int(np.ceil(1 / target_far)):,} "
            f"impostor pairs, there are {num_impostor:,}"
        )
        return TarAtFar(target_far, None, None, None, note)
    allowed = int(target_far * num_impostor)
    # The product is rounded: the quotient decides, as for every other rate.
    allowed += int((allowed + 1) / num_impostor <= target_far)
    allowed -= int(allowed / num_impostor > target_far)

    rows = find_rows(embeddings, images, photos.images)
    units = unit_rows(embeddings, images, rows[rows >= 0])
    genuine, highest = _compare_all(units, codes[rows >= 0], allowed + 1)
    threshold = highest[0]
    return TarAtFar(
        target_far=target_far,
        far=int(np.count_nonzero(highest > threshold)) / num_impostor,
        tar=int(np.count_nonzero(genuine > threshold)) / num_genuine,
        threshold=float(threshold),
        note="",
    )


def _compare_all(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    num_kept: int,
) -> tuple[Float32[np.ndarray, " genuine"], Float32[np.ndarray, " kept"]]:
    """All genuine scores and the highest impostor scores, the lowest of them first.

    Where there are fewer impostor pairs than are to be kept, -inf fills up.
    """
    genuine = []
    highest = np.full(num_kept, -np.inf, np.float32)
    place = np.arange(len(units))
    start = 0
    while start < len(units):
        block = slice(start, start + max(1, _BLOCK_SCORES // (len(units) - start)))
        scores = units[block] @ units[start:].T
        same = codes[block, None] == codes[start:]
        later = place[block, None] < place[start:]
        genuine.append(scores[same & later])
        higher = scores[(scores > highest[0]) & later & ~same]
        highest = np.append(highest, higher)
        highest = np.partition(highest, len(higher))[len(higher) :]
        start = block.stop
    return np.concatenate(genuine), highest
