"""The stage ``facever gallery calibrate``: where does nobody begin?"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import DataError, ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Entry
from facever.gallery.meta import Threshold
from facever.gallery.opening import Place, open_gallery
from facever.progress import progress_bar
from facever.stages.gallery.console import print_json, print_table
from facever.verification.all_pairs import compare_all, count_pairs
from facever.verification.identification.leave_one_out import (
    OpenSet,
    leave_one_out,
    open_set,
    similar_strangers,
    threshold_at_fpir,
)
from facever.verification.roc import num_allowed, too_few_impostors

# Twenty thousand photos are 200 million pairs, enough for any rate worth asking for.
_MAX_PHOTOS = 20_000
_SEED = 0


@dataclass(frozen=True)
class SimilarPair:
    """Two enrolled photos of different names that are very similar."""

    first: Entry
    second: Entry
    cosine: float


@dataclass(frozen=True)
class GalleryCalibration:
    """What a gallery's own photos say about a threshold.

    Attributes:
        threshold: As it is kept in the gallery.
        open_set: What it does to known and unknown people.
        rank_one: Share of the photos of people with two or more whose most similar
            other photo is that person's; None if there are none.
        similar: Pairs of different names that look like the same person, most similar
            first: the cosine is above that of half of the people to themselves.
    """

    threshold: Threshold
    open_set: OpenSet
    rank_one: float | None
    similar: list[SimilarPair]


def calibrate(
    gallery: Place,
    far: float | None = None,
    fpir: float | None = None,
    num_shown: int = 20,
    as_json: bool = False,
) -> GalleryCalibration:
    """Set a gallery's threshold from the scores of its own people with one another.

    ``far`` counts pairs: that share of pairs of different names may be above it. Who
    asks a gallery compares with everybody in it, so what counts there is ``fpir``: the
    share of unknown people who are taken for somebody. Each enrolled photo, looked up
    among all other people's, stands for an unknown person. Of more than 20,000 photos
    that many are drawn, with a fixed seed.

    Args:
        gallery: The gallery's folder or URL.
        far: False accept rate over pairs, in (0, 1); or
        fpir: false positive identification rate, in (0, 1).
        num_shown: How many similar pairs of different names to print at most.
        as_json: Print one JSON object in place of tables.

    Raises:
        ParameterError: Unless one of the rates is given, and in (0, 1).
        DataError: If the gallery has too few photos or people for the rate.
        FileError: If there is no gallery, or it is damaged.
    """
    if (far is None) == (fpir is None):
        raise ParameterError("give either --far, over pairs, or --fpir, over people")
    if far is not None and not 0 < far < 1:
        raise ParameterError(f"far must be in (0, 1), got {far}")
    with open_gallery(gallery) as people:
        entries, units = _read(people)
        if len({entry.name for entry in entries}) < 2:
            raise DataError(
                f"{gallery}: a threshold needs at least 2 people; enroll more"
            )
        codes = np.unique([entry.name for entry in entries], return_inverse=True)[1]
        probes = np.arange(len(entries))
        if len(probes) > _MAX_PHOTOS:
            rng = np.random.default_rng(_SEED)
            probes = np.sort(rng.choice(probes, _MAX_PHOTOS, replace=False))
        with progress_bar("look up", len(probes), "photos") as advance:
            found = leave_one_out(units, codes, probes, advance)
        if far is not None:
            cosine = _threshold_at_far(units[probes], codes[probes], far)
            threshold = Threshold(cosine, "far", far, len(entries))
        else:
            assert fpir is not None
            cosine = threshold_at_fpir(found, fpir)
            threshold = Threshold(cosine, "fpir", fpir, len(entries))
        people.set_threshold(threshold)
    mated = found.mated
    usual = float(np.median(found.own[mated])) if mated.any() else 1.0
    result = GalleryCalibration(
        threshold=threshold,
        open_set=open_set(found, threshold.cosine),
        rank_one=float(np.mean(found.rank[mated] == 1)) if mated.any() else None,
        similar=[
            SimilarPair(entries[pair.first], entries[pair.second], pair.cosine)
            for pair in similar_strangers(found, probes, max(usual, threshold.cosine))
        ],
    )
    if as_json:
        print_json(asdict(result))
    else:
        _print(gallery, result, len(probes), num_shown)
    return result


def _read(people: AnyGallery) -> tuple[list[Entry], Float32[np.ndarray, "photos dim"]]:
    entries: list[Entry] = []
    blocks = [np.empty((0, people.info().embedding_size), np.float32)]
    for some, units in people.read():
        entries += some
        blocks.append(units)
    return entries, np.concatenate(blocks)


def _threshold_at_far(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    far: float,
) -> float:
    num_impostor = count_pairs(codes)[1]
    note = too_few_impostors(num_impostor, far)
    if note:
        raise DataError(f"{note}; enroll more photos, or give a higher rate")
    with progress_bar("compare", len(codes), "photos") as advance:
        scores = compare_all(units, codes, num_allowed(num_impostor, far) + 1, advance)
    return float(scores.highest[0])


def _print(
    gallery: Place, result: GalleryCalibration, num_probes: int, num_shown: int
) -> None:
    threshold, rates = result.threshold, result.open_set
    what = {"far": "false accept rate over pairs", "fpir": "share of unknown people"}
    print(
        f"{gallery}: nobody at or below cosine {threshold.cosine:.4f}, for a "
        f"{what[threshold.rule]} of {threshold.rate:g}, by {num_probes:,} of "
        f"{threshold.num_embeddings:,} photos"
    )
    print(f"Of unknown people {rates.fpir:.2%} are taken for somebody (FPIR).")
    if rates.tpir is not None:
        print(
            f"Of {rates.num_mated:,} photos of people with two or more, "
            f"{rates.tpir:.2%} are found by name (TPIR); without a threshold "
            f"{result.rank_one:.2%} (rank 1)."
        )
    if result.similar:
        print(
            f"{len(result.similar):,} pairs of different names are as similar as one "
            "person usually is to themselves; is somebody enrolled under two names?"
        )
        rows = [
            [f"{p.cosine:.4f}", *(t for e in (p.first, p.second) for t in _shown(e))]
            for p in result.similar[:num_shown]
        ]
        print_table(["cosine", "name", "photo", "other name", "other photo"], rows)


def _shown(entry: Entry) -> tuple[str, str]:
    return entry.name, entry.source
