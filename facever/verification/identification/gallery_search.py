"""Who is this? Closed-set and open-set identification of probes in a gallery.

Stated rules:

- A gallery identity's score for a probe is the best of its photos' cosines.
- A probe is *mated* if the gallery list names its identity, else *unmated*.
- A mated probe's rank is 1 + the number of other identities that score at least as high
  as its own: a tie counts against it.
- A photo without an embedding is *missing*, counted and never dropped. A missing mated
  probe, or one whose identity's gallery photos are all missing, is a miss at every rank
  and threshold. A missing unmated probe is no false alarm, but one of the unmated
  probes. A missing gallery photo is never found; its identity stays enrolled.

Products are float32: cosines that differ by less than about 1e-6 may tie, and equal
ones may part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from facever.errors import DataError, ParameterError
from facever.inference.vectors import unit_vectors
from facever.verification.photo_matching import row_of_key
from facever.verification.protocols import photo_key
from facever.verification.protocols.identity_list import (
    IdentityList,
    find_listed,
)
from facever.verification.roc import Roc, roc_curve, tar_at_far

TARGET_FPIRS = (1e-1, 1e-2, 1e-3)

# Scores held at once: 64 MiB of float32, and as much again for the identities' best.
_BLOCK_SCORES = 2**24


@dataclass(frozen=True)
class TpirAtFpir:
    """True positive identification rate at a false one never above the target.

    Also called detection and identification rate (DIR) at a false alarm rate.

    Attributes:
        target_fpir: The false positive identification rate asked for.
        fpir: Share of unmated probes whose highest score is above the threshold, at
            most ``target_fpir``.
        tpir: Share of mated probes of rank 1 whose score is above the threshold; None
            where there are too few probes to say.
        threshold: The score above which a probe is accepted; None where there are too
            few probes to say.
        note: The reason why there is no number; empty where there is one.
    """

    target_fpir: float
    fpir: float | None
    tpir: float | None
    threshold: float | None
    note: str


@dataclass(frozen=True)
class Identification:
    """All identification numbers of one model, for a gallery and probes.

    Attributes:
        cmc: Cumulative match characteristic: ``cmc[k - 1]`` is the share of mated
            probes of rank k or better, for k from 1 to the gallery's identities.
        tpir: Open-set identification at each target.
        mated_scores: Each mated probe's score with its own identity; ``-inf`` where
            the probe, or all gallery photos of its identity, are missing.
        mated_ranks: Each mated probe's rank; where the score is ``-inf``, one more
            than there are identities.
        unmated_scores: Each unmated probe's highest score; ``-inf`` where missing.
        open_set: TPIR, in the place of the true accept rate, over FPIR; None where no
            unmated probe has an embedding.
        mated: True for mated probes, in the order of the list.
        nearest: Place in the gallery list of the photo most similar to each probe, in
            the order of the list; -1 where the probe is missing.
        nearest_scores: Score of the most similar gallery photo; ``-inf`` where the
            probe is missing.
        missing_gallery: Gallery photos without an embedding.
        missing_probes: Probes without an embedding.
    """

    cmc: Float64[np.ndarray, " identities"]
    tpir: list[TpirAtFpir]
    mated_scores: Float64[np.ndarray, " mated"]
    mated_ranks: Int64[np.ndarray, " mated"]
    unmated_scores: Float64[np.ndarray, " unmated"]
    open_set: Roc | None
    mated: Bool[np.ndarray, " probes"]
    nearest: Int64[np.ndarray, " probes"]
    nearest_scores: Float64[np.ndarray, " probes"]
    missing_gallery: list[str]
    missing_probes: list[str]


def evaluate_identification(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    gallery: IdentityList,
    probes: IdentityList,
    target_fpirs: Sequence[float] = TARGET_FPIRS,
) -> Identification:
    """Search a gallery for every probe.

    Args:
        embeddings: One row an image, of any length but zero. Rows that neither list
            names are ignored.
        images: Source of each row; its extension does not matter.
        gallery: The enrolled photos, and who is on them.
        probes: The photos to search for, and who is on them.
        target_fpirs: False positive identification rates in (0, 1].

    Returns:
        All numbers. The work takes float32 copies of the embeddings and 200 MiB more,
        or three scores for each gallery photo if that is more.

    Raises:
        DataError: If a photo is in both lists, no probe is mated, no gallery photo or
            no probe has an embedding, ``images`` does not fit ``embeddings``, an image
            is listed twice, or a used embedding is not finite or all zero.
        ParameterError: If a target is outside (0, 1].

    References:
        Phillips, Grother and Micheals, Evaluation Methods in Face Recognition, in the
        Handbook of Face Recognition, 2011 (CMC, DIR at FAR); Grother and Ngan, NISTIR
        8009, 2014 (TPIR at FPIR).
    """
    for target in target_fpirs:
        if not 0 < target <= 1:
            raise ParameterError(
                f"a false positive identification rate must be in (0, 1], got {target}"
            )
    identities = list(dict.fromkeys(gallery.identities))
    code_of = {identity: code for code, identity in enumerate(identities)}
    gallery_codes = np.array([code_of[name] for name in gallery.identities], np.int64)
    probe_codes = np.array([code_of.get(n, -1) for n in probes.identities], np.int64)
    mated = probe_codes >= 0
    _check_lists(gallery, probes, bool(mated.any()))
    gallery_rows = find_listed(embeddings, images, gallery)
    probe_rows = find_listed(embeddings, images, probes)
    enrolled, searched = gallery_rows >= 0, probe_rows >= 0

    own = np.full(len(probes), -np.inf)
    highest = np.full(len(probes), -np.inf)
    ranks = np.full(len(probes), len(identities) + 1, dtype=np.int64)
    nearest = np.full(len(probes), -1, dtype=np.int64)
    found = _search(
        _units(embeddings, images, gallery_rows[enrolled]),
        gallery_codes[enrolled],
        _units(embeddings, images, probe_rows[searched]),
        probe_codes[searched],
    )
    own[searched], highest[searched], ranks[searched] = found[:3]
    nearest[searched] = np.flatnonzero(enrolled)[found[3]]
    ranks[np.isneginf(own)] = len(identities) + 1
    num_at_rank = np.bincount(ranks[mated], minlength=len(identities) + 2)
    open_set = _open_set(own[mated], ranks[mated], highest[~mated])
    return Identification(
        cmc=np.cumsum(num_at_rank[1:-1]) / np.count_nonzero(mated),
        tpir=_tpir_at_fpir(open_set, int(np.count_nonzero(~mated)), target_fpirs),
        mated_scores=own[mated],
        mated_ranks=ranks[mated],
        unmated_scores=highest[~mated],
        open_set=open_set,
        mated=mated,
        nearest=nearest,
        nearest_scores=highest,
        missing_gallery=[gallery.images[i] for i in np.flatnonzero(~enrolled)],
        missing_probes=[probes.images[i] for i in np.flatnonzero(~searched)],
    )


def _check_lists(gallery: IdentityList, probes: IdentityList, any_mated: bool) -> None:
    enrolled = row_of_key(gallery.images)
    shared = [image for image in probes.images if photo_key(image) in enrolled]
    if shared:
        raise DataError(
            f"{len(shared)} photos are in the gallery and among the probes, such as "
            f"{shared[0]!r}; a photo found by itself says nothing, list it once"
        )
    if not any_mated:
        raise DataError(
            "identification needs a probe of somebody in the gallery; none of the "
            f"{len(probes)} probes' identities is, such as {probes.identities[0]!r}"
        )


def _search(
    gallery: Float32[np.ndarray, "photos dim"],
    gallery_codes: Int64[np.ndarray, " photos"],
    probes: Float32[np.ndarray, "probes dim"],
    probe_codes: Int64[np.ndarray, " probes"],
) -> tuple[
    Float64[np.ndarray, " probes"],
    Float64[np.ndarray, " probes"],
    Int64[np.ndarray, " probes"],
    Int64[np.ndarray, " probes"],
]:
    """Each probe's own identity's score, its highest, its rank, and the nearest photo.

    Where its own identity is not in the gallery, the score is -inf and the rank is of
    no meaning.
    """
    order = np.argsort(gallery_codes, kind="stable")
    gallery = gallery[order]
    identities, first_photos = np.unique(gallery_codes[order], return_index=True)
    places = np.searchsorted(identities, probe_codes).clip(max=len(identities) - 1)
    own = np.empty(len(probes))
    highest = np.empty(len(probes))
    ranks = np.empty(len(probes), np.int64)
    nearest = np.empty(len(probes), np.int64)
    step = max(1, _BLOCK_SCORES // len(gallery))
    for start in range(0, len(probes), step):
        block = slice(start, start + step)
        # Probes along the fast axis: the maximum over an identity's photos is taken
        # for all of them at once.
        scores = gallery @ probes[block].T
        best = np.maximum.reduceat(scores, first_photos, axis=0)
        own_best = np.take_along_axis(best, places[None, block], axis=0)
        own[block] = own_best
        places_of_best = scores.argmax(axis=0)
        nearest[block] = order[places_of_best]
        highest[block] = scores[places_of_best, np.arange(scores.shape[1])]
        ranks[block] = np.count_nonzero(best >= own_best, axis=0)
    own[identities[places] != probe_codes] = -np.inf
    return own, highest, ranks, nearest


def _open_set(
    mated_scores: Float64[np.ndarray, " mated"],
    mated_ranks: Int64[np.ndarray, " mated"],
    unmated_scores: Float64[np.ndarray, " unmated"],
) -> Roc | None:
    """A ROC curve whose genuine scores are the mated probes' that have rank 1."""
    if not np.isfinite(unmated_scores).any():
        return None
    hits = np.where(mated_ranks == 1, mated_scores, -np.inf)
    same = np.arange(len(hits) + len(unmated_scores)) < len(hits)
    return roc_curve(np.append(hits, unmated_scores), same)


def _tpir_at_fpir(
    open_set: Roc | None, num_unmated: int, targets: Sequence[float]
) -> list[TpirAtFpir]:
    if open_set is None:
        note = (
            "FPIR needs unmated probes with an embedding, there is none among "
            f"{num_unmated:,} unmated probes"
        )
        return [TpirAtFpir(target, None, None, None, note) for target in targets]
    return [
        TpirAtFpir(
            target_fpir=point.target_far,
            fpir=point.far,
            tpir=point.tar,
            threshold=point.threshold,
            note=""
            if point.tar is not None
            else f"FPIR {point.target_far:g} needs at least "
            f"{int(np.ceil(1 / point.target_far)):,} unmated probes, there are "
            f"{num_unmated:,}",
        )
        for point in tar_at_far(open_set, targets)
    ]


def _units(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    rows: Int64[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows dim"]:
    return unit_vectors(embeddings[rows], [images[row] for row in rows])
