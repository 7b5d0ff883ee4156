"""Each photo of a gallery looked up among all others: what a stranger would score."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.errors import DataError, ParameterError
from facever.progress import Advance, ignore_progress
from facever.verification.roc import num_allowed

# Scores held at once: 64 MiB of float32.
_BLOCK_SCORES = 2**24


@dataclass(frozen=True)
class LeaveOneOut:
    """Each photo looked up among all others.

    Attributes:
        own: Highest cosine with another photo of the same person; -inf if there is
            none.
        stranger: Highest cosine with a photo of anybody else: what the person would
            score if they were unknown; -inf if there is nobody else.
        nearest: Row of the photo of somebody else that is most similar; -1 if there is
            nobody else.
        rank: 1 + the number of other people who score at least as high as the person
            themselves; 0 where ``own`` is -inf.
    """

    own: Float32[np.ndarray, " photos"]
    stranger: Float32[np.ndarray, " photos"]
    nearest: Int64[np.ndarray, " photos"]
    rank: Int64[np.ndarray, " photos"]

    @property
    def mated(self) -> Bool[np.ndarray, " photos"]:
        """Photos of people with two or more."""
        return np.asarray(np.isfinite(self.own))


@dataclass(frozen=True)
class OpenSet:
    """What a threshold does to known and unknown people.

    Attributes:
        threshold: The cosine above which a photo is accepted.
        fpir: Share of photos, taken for unknown people's, that are taken for somebody.
        tpir: Share of the photos of people with two or more that are found, by name and
            above the threshold; None if nobody has two.
        num_unknown: Number of photos that ``fpir`` is a share of.
        num_mated: Number of photos that ``tpir`` is a share of.
    """

    threshold: float
    fpir: float
    tpir: float | None
    num_unknown: int
    num_mated: int


@dataclass(frozen=True)
class Stranger:
    """Two photos of different names that are very similar.

    Attributes:
        first: Row of the first photo.
        second: Row of the second photo.
        cosine: Cosine of the two photos.
    """

    first: int
    second: int
    cosine: float


def leave_one_out(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    probes: Int64[np.ndarray, " probes"],
    advance: Advance = ignore_progress,
) -> LeaveOneOut:
    """Look some photos up among all others.

    Args:
        units: Embeddings of unit length.
        codes: The identity of each embedding, as a number.
        probes: Rows to look up.
        advance: Called with the number of probes done since the last call.
    """
    order = np.argsort(codes, kind="stable")
    _, starts = np.unique(codes[order], return_index=True)
    ends = np.append(starts[1:], len(units))
    parts = []
    for scores, best, own in _look_up(units, codes, probes, advance):
        stranger = best.max(axis=1)
        at_least = np.count_nonzero(best >= own[:, None], axis=1)
        rank = np.where(np.isfinite(own), 1 + at_least, 0)
        nearest = np.full(len(own), -1, np.int64)
        for row, code in enumerate(best.argmax(axis=1)):
            if np.isfinite(stranger[row]):
                theirs = slice(starts[code], ends[code])
                nearest[row] = order[starts[code] + scores[row, theirs].argmax()]
        parts.append((own, stranger, nearest, rank))
    if not parts:
        parts = [(np.empty(0, np.float32),) * 2 + (np.empty(0, np.int64),) * 2]
    own, stranger, nearest, rank = map(np.concatenate, zip(*parts, strict=True))
    return LeaveOneOut(own, stranger, nearest, rank)


def false_match_rate(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    probes: Int64[np.ndarray, " probes"],
    threshold: float,
    advance: Advance = ignore_progress,
) -> float:
    """The share of pairs of a photo and another person that a threshold accepts.

    A person's score is that of their most similar photo, as in a search. Where
    everybody has one photo, this is the false match rate over pairs of photos.

    Args:
        units: Embeddings of unit length, of at least two people.
        codes: The identity of each embedding, as a number.
        probes: Rows whose pairs with all other people are counted, at least one.
        threshold: Pairs of a higher cosine are accepted.
        advance: Called with the number of probes done since the last call.
    """
    num_above = sum(
        int(np.count_nonzero(best > threshold))
        for _, best, _ in _look_up(units, codes, probes, advance)
    )
    return num_above / (len(probes) * (len(np.unique(codes)) - 1))


def independent_fpir(fmr: float, num_people: int) -> float:
    """The share of strangers taken for somebody, if pairs were independent.

    Pairs that share a person are not: who resembles many people takes more than one
    share of the false matches, so the measured rate is mostly lower.

    Args:
        fmr: False match rate over pairs of a photo and a person, in [0, 1].
        num_people: Number of people whom a stranger is compared with.

    Examples:
        >>> f"{independent_fpir(0.001, 1000):.1%}"
        '63.2%'
    """
    return 1 - (1 - fmr) ** num_people


def _look_up(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    probes: Int64[np.ndarray, " probes"],
    advance: Advance,
) -> Iterator[
    tuple[
        Float32[np.ndarray, "rows photos"],
        Float32[np.ndarray, "rows people"],
        Float32[np.ndarray, " rows"],
    ]
]:
    """Look probes up, some at a time.

    Yields:
        Cosines with all photos, those of a person side by side, in the order of the
        codes; the highest of each other person; and the highest of the person's own
        other photos. What there is not is -inf.
    """
    order = np.argsort(codes, kind="stable")
    units, codes = units[order], codes[order]
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    _, starts, person = np.unique(codes, return_index=True, return_inverse=True)
    step = max(1, _BLOCK_SCORES // max(1, len(units)))
    for start in range(0, len(probes), step):
        places = place_of[probes[start : start + step]]
        scores = units[places] @ units.T
        rows = np.arange(len(places))
        scores[rows, places] = -np.inf
        best = np.maximum.reduceat(scores, starts, axis=1)
        own = best[rows, person[places]].copy()
        best[rows, person[places]] = -np.inf
        yield scores, best, own
        advance(len(places))


def threshold_at_fpir(found: LeaveOneOut, fpir: float) -> float:
    """The lowest threshold that at most this share of unknown people exceeds.

    Args:
        found: Photos looked up among other people's.
        fpir: False positive identification rate in (0, 1).

    Raises:
        ParameterError: If ``fpir`` is outside (0, 1).
        DataError: If there are fewer than ``1 / fpir`` photos with other people.
    """
    if not 0 < fpir < 1:
        raise ParameterError(f"fpir must be in (0, 1), got {fpir}")
    scores = np.sort(found.stranger[np.isfinite(found.stranger)])[::-1]
    allowed = num_allowed(len(scores), fpir) if len(scores) else 0
    if allowed < 1:
        raise DataError(
            f"a share of {fpir:g} needs at least {int(np.ceil(1 / fpir)):,} photos to "
            f"look up among other people, there are {len(scores):,}; enroll more, or "
            "give a higher share"
        )
    # Midway, so that a cosine that another machine rounds otherwise changes nothing.
    higher = scores[scores > scores[allowed]]
    if not len(higher):
        return float(np.nextafter(scores[allowed], np.float32(2)))
    return (float(scores[allowed]) + float(higher.min())) / 2


def open_set(found: LeaveOneOut, threshold: float) -> OpenSet:
    """What a threshold does to the photos that were looked up."""
    unknown = found.stranger[np.isfinite(found.stranger)]
    mated = found.mated
    hits = (found.rank[mated] == 1) & (found.own[mated] > threshold)
    return OpenSet(
        threshold=threshold,
        fpir=float(np.mean(unknown > threshold)) if len(unknown) else 0.0,
        tpir=float(np.mean(hits)) if len(hits) else None,
        num_unknown=len(unknown),
        num_mated=len(hits),
    )


def similar_strangers(
    found: LeaveOneOut, probes: Int64[np.ndarray, " probes"], above: float
) -> list[Stranger]:
    """Photos whose most similar one of another name is above a cosine, each pair once.

    The same photo or person may be enrolled under two names.

    Args:
        found: What looking up these probes found.
        probes: Rows that were looked up.
        above: The cosine above which a pair is given.

    Returns:
        Most similar first.
    """
    pairs: dict[tuple[int, int], float] = {}
    for row in np.flatnonzero(found.stranger > above):
        first, second = sorted((int(probes[row]), int(found.nearest[row])))
        pairs[first, second] = float(found.stranger[row])
    ordered = sorted(pairs.items(), key=lambda pair: -pair[1])
    return [Stranger(*rows, cosine) for rows, cosine in ordered]
