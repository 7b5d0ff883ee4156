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

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from facever.errors import DataError, FileError, ParameterError
from facever.verification.protocols import photo_key
from facever.verification.roc import roc_curve, tar_at_far

TARGET_FPIRS = (1e-1, 1e-2, 1e-3)

# Scores held at once: 64 MiB of float32, and as much again for the identities' best.
_BLOCK_SCORES = 2**24


@dataclass(frozen=True)
class IdentityList:
    """Photos and who is in them: a gallery, or probes.

    Attributes:
        images: Source of each photo, such as ``"A_B/A_B_0001.jpg"``.
        identities: Who is in each.

    Raises:
        DataError: If the lengths differ, there is no photo, or one is listed twice.
    """

    images: list[str]
    identities: list[str]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.identities) or not self.images:
            raise DataError(
                "a gallery or probe list must hold at least one photo, and as many "
                f"identities as photos; got {len(self.images)} photos and "
                f"{len(self.identities)} identities"
            )
        _row_of_key(self.images)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class TpirAtFpir:
    """True positive identification rate at a false one never above the target.

    Also called detection and identification rate (DIR) at a false alarm rate.

    Attributes:
        target_fpir: What was asked for.
        fpir: Share of unmated probes whose highest score is above the threshold, at
            most ``target_fpir``.
        tpir: Share of mated probes of rank 1 whose score is above it; None where the
            probes cannot say.
        threshold: Accept above it; None where the probes cannot say.
        note: Why there is no number; empty where there is one.
    """

    target_fpir: float
    fpir: float | None
    tpir: float | None
    threshold: float | None
    note: str


@dataclass(frozen=True)
class Identification:
    """Everything that a gallery and probes say about one model.

    Attributes:
        cmc: Cumulative match characteristic: ``cmc[k - 1]`` is the share of mated
            probes of rank k or better, for k from 1 to the gallery's identities.
        tpir: Open-set identification at each target.
        mated_scores: Each mated probe's score with its own identity; ``-inf`` where
            the probe, or all gallery photos of its identity, are missing.
        mated_ranks: Each mated probe's rank; where the score is ``-inf``, one more
            than there are identities.
        unmated_scores: Each unmated probe's highest score; ``-inf`` where missing.
        missing_gallery: Gallery photos without an embedding.
        missing_probes: Probes without an embedding.
    """

    cmc: Float64[np.ndarray, " identities"]
    tpir: list[TpirAtFpir]
    mated_scores: Float64[np.ndarray, " mated"]
    mated_ranks: Int64[np.ndarray, " mated"]
    unmated_scores: Float64[np.ndarray, " unmated"]
    missing_gallery: list[str]
    missing_probes: list[str]


def read_identity_list(path: Path) -> IdentityList:
    """Read a gallery or probe list: CSV in UTF-8 with the header ``image,identity``.

    Args:
        path: The file. Blank lines are skipped.

    Raises:
        FileError: If the file cannot be read.
        DataError: If it is not of that form or a photo is listed twice.
    """
    expected = "expected CSV in UTF-8 with the header image,identity"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [field.strip() for field in r]) for r in reader]
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; {expected}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no list: {error}; {expected}") from None
    rows = [(line, row) for line, row in rows if any(row)]
    header = rows[0][1] if rows else []
    if header != ["image", "identity"]:
        raise DataError(f"{path} starts with {header}; {expected}")
    for line, row in rows[1:]:
        if len(row) != 2 or not all(row):
            raise DataError(
                f"{path} line {line}: expected an image and an identity, got {row}"
            )
    images, identities = [r[0] for _, r in rows[1:]], [r[1] for _, r in rows[1:]]
    try:
        return IdentityList(images, identities)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


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
        gallery: Who is enrolled, with which photos.
        probes: Who is searched for.
        target_fpirs: False positive identification rates in (0, 1].

    Returns:
        All numbers. Held meanwhile, beside float32 copies of the embeddings: 200 MiB,
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
    gallery_rows = find_rows(embeddings, images, gallery.images)
    probe_rows = find_rows(embeddings, images, probes.images)
    enrolled, searched = gallery_rows >= 0, probe_rows >= 0

    own = np.full(len(probes), -np.inf)
    highest = np.full(len(probes), -np.inf)
    ranks = np.full(len(probes), len(identities) + 1, dtype=np.int64)
    own[searched], highest[searched], found_ranks = _search(
        unit_rows(embeddings, images, gallery_rows[enrolled]),
        gallery_codes[enrolled],
        unit_rows(embeddings, images, probe_rows[searched]),
        probe_codes[searched],
    )
    ranks[searched] = found_ranks
    ranks[np.isneginf(own)] = len(identities) + 1
    num_at_rank = np.bincount(ranks[mated], minlength=len(identities) + 2)
    return Identification(
        cmc=np.cumsum(num_at_rank[1:-1]) / np.count_nonzero(mated),
        tpir=_tpir_at_fpir(own[mated], ranks[mated], highest[~mated], target_fpirs),
        mated_scores=own[mated],
        mated_ranks=ranks[mated],
        unmated_scores=highest[~mated],
        missing_gallery=[gallery.images[i] for i in np.flatnonzero(~enrolled)],
        missing_probes=[probes.images[i] for i in np.flatnonzero(~searched)],
    )


def find_rows(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    wanted: Sequence[str],
) -> Int64[np.ndarray, " wanted"]:
    """Row of each wanted photo's embedding, -1 where it has none.

    Raises:
        DataError: If ``images`` does not fit ``embeddings``, lists one twice, or holds
            no wanted photo at all.
    """
    if len(embeddings) != len(images):
        raise DataError(
            "embeddings and images must have one length, got "
            f"{len(embeddings)} embeddings and {len(images)} images"
        )
    row_of = _row_of_key(images)
    rows = np.array([row_of.get(photo_key(image), -1) for image in wanted], np.int64)
    if not (rows >= 0).any():
        raise DataError(
            f"none of the {len(wanted)} photos of a list, such as {wanted[0]!r}, has "
            f"an embedding; there are {len(images)}"
            + (f", such as of {images[0]!r}" if images else "")
        )
    return rows


def unit_rows(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    rows: Int64[np.ndarray, " rows"],
) -> Float32[np.ndarray, "rows dim"]:
    """These rows' embeddings, scaled to unit length.

    Raises:
        DataError: If one is not finite or all zero.
    """
    used = embeddings[rows]
    lengths = np.sqrt(np.einsum("ij,ij->i", used, used, dtype=np.float64))
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if wrong.size:
        raise DataError(
            f"{wrong.size} embeddings hold NaN, infinity or nothing but zeros, the "
            f"first is that of {images[rows[wrong[0]]]!r}; leave out photos without "
            "an embedding, they are counted as missing"
        )
    units = np.empty(used.shape, np.float32)
    np.divide(used, lengths[:, None], out=units, casting="same_kind")
    return units


def _row_of_key(images: Sequence[str]) -> dict[str, int]:
    row_of: dict[str, int] = {}
    for row, image in enumerate(images):
        earlier = row_of.setdefault(photo_key(image), row)
        if earlier != row:
            raise DataError(
                "each photo must be listed once (the extension does not count); rows "
                f"{earlier + 1} and {row + 1} are {images[earlier]!r} and {image!r}"
            )
    return row_of


def _check_lists(gallery: IdentityList, probes: IdentityList, any_mated: bool) -> None:
    enrolled = _row_of_key(gallery.images)
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
]:
    """Each probe's score with its own identity, its highest score, and its rank.

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
    step = max(1, _BLOCK_SCORES // len(gallery))
    for start in range(0, len(probes), step):
        block = slice(start, start + step)
        # Probes along the fast axis: the maximum over an identity's photos is taken
        # for all of them at once.
        best = np.maximum.reduceat(gallery @ probes[block].T, first_photos, axis=0)
        own_best = np.take_along_axis(best, places[None, block], axis=0)
        own[block] = own_best
        highest[block] = best.max(axis=0)
        ranks[block] = np.count_nonzero(best >= own_best, axis=0)
    own[identities[places] != probe_codes] = -np.inf
    return own, highest, ranks


def _tpir_at_fpir(
    mated_scores: Float64[np.ndarray, " mated"],
    mated_ranks: Int64[np.ndarray, " mated"],
    unmated_scores: Float64[np.ndarray, " unmated"],
    targets: Sequence[float],
) -> list[TpirAtFpir]:
    """A ROC curve whose genuine scores are the mated probes' that have rank 1."""
    num_unmated = len(unmated_scores)
    if not np.isfinite(unmated_scores).any():
        note = (
            "FPIR needs unmated probes with an embedding, there is none among "
            f"{num_unmated:,} unmated probes"
        )
        return [TpirAtFpir(target, None, None, None, note) for target in targets]
    hits = np.where(mated_ranks == 1, mated_scores, -np.inf)
    same = np.arange(len(hits) + num_unmated) < len(hits)
    points = tar_at_far(roc_curve(np.append(hits, unmated_scores), same), targets)
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
        for point in points
    ]
