"""The stage ``facever gallery threshold``: below which cosine is it nobody?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from facever.errors import DataError, ParameterError
from facever.gallery.base import AnyGallery, Place
from facever.gallery.entries import Entry
from facever.gallery.meta import Threshold
from facever.gallery.opening import check_gallery_place, open_gallery
from facever.progress import progress_bar
from facever.results import Result, counted, table_lines
from facever.verification.all_pairs import compare_all, count_pairs
from facever.verification.identification.leave_one_out import (
    OpenSet,
    Stranger,
    false_match_rate,
    independent_fpir,
    leave_one_out,
    open_set,
    similar_strangers,
    threshold_at_fpir,
)
from facever.verification.roc import num_allowed, too_few_impostors

# Twenty thousand photos are 200 million pairs, enough for any rate worth asking for.
_MAX_PHOTOS = 20_000
_SEED = 0
# A cosine above it is that of a photo with itself, but for rounding.
_SAME_FACE = 1 - 1e-5
_MOST_SHOWN = 5


@dataclass(frozen=True)
class SimilarPair:
    """Two enrolled photos of different names that are very similar."""

    first: Entry
    second: Entry
    cosine: float


@dataclass(frozen=True)
class GalleryThreshold(Result):
    """A gallery's threshold, and what the gallery's own photos say about it.

    Attributes:
        gallery: The gallery's folder or URL.
        threshold: The threshold as it is kept in the gallery.
        num_probes: Number of photos that were looked up among the others.
        open_set: What the threshold does to known and unknown people.
        num_others: Number of people whom an unknown one is compared with: all but the
            one whose photo stands for them.
        fmr: Share of the pairs of a photo and another person that are above the
            threshold, by the person's most similar photo.
        independent_fpir: The FPIR that this would give if pairs were independent.
        rank_one: Share of the photos of people with two or more whose most similar
            other photo shows the same person; None if nobody has two.
        similar: Pairs of different names that look like the same person, the most
            similar first: the cosine is above that of half of the people to themselves.
        num_shown: Number of similar pairs to list for people to read.
    """

    gallery: str
    threshold: Threshold
    num_probes: int
    open_set: OpenSet
    num_others: int
    fmr: float
    independent_fpir: float
    rank_one: float | None
    similar: list[SimilarPair]
    num_shown: int

    def lines(self) -> list[str]:
        """The threshold, what it does, and pairs that may be one person."""
        threshold, rates = self.threshold, self.open_set
        rate = {
            "far": "false accept rate over pairs",
            "fpir": "share of unknown people",
        }
        lines = [
            f"{self.gallery}: a cosine up to {threshold.cosine:.4f} is nobody, for a "
            f"{rate[threshold.rule]} of {threshold.rate:g}, by {self.num_probes:,} of "
            f"{threshold.num_embeddings:,} photos",
            f"{rates.fpir:.2%} of unknown people are taken for somebody (FPIR), as "
            f"measured; {self.independent_fpir:.2%} as predicted from pairs: "
            f"1 - (1 - FMR)^N, with an FMR of {self.fmr:.2g} over pairs of a photo and "
            f"another person, N = {self.num_others:,} people.",
            "The prediction takes the comparisons of one unknown person for "
            "independent, which they are not: who resembles many takes more than one "
            "share of the false matches.",
        ]
        if rates.tpir is not None:
            lines.append(
                f"{rates.tpir:.2%} of {rates.num_mated:,} photos of people with two or "
                f"more are found by name (TPIR); without a threshold "
                f"{self.rank_one:.2%} (rank 1)."
            )
        if self.similar:
            columns = ["cosine", "name", "photo", "other name", "other photo"]
            rows = [
                [f"{pair.cosine:.4f}", *_name_and_photo((pair.first, pair.second))]
                for pair in self.similar[: self.num_shown]
            ]
            lines += [
                "as similar as one person usually is to themselves: "
                f"{counted(len(self.similar), 'pair')} of different names; is somebody "
                "enrolled under two names?",
                *table_lines(columns, rows),
            ]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All but how many pairs people are shown."""
        facts = super().to_dict()
        del facts["num_shown"]
        return facts


def choose_threshold(
    gallery: Place,
    *,
    far: float | None = None,
    fpir: float | None = None,
    num_shown: int = 20,
) -> GalleryThreshold:
    """Set a gallery's threshold by comparing its own people with one another.

    ``far`` is about pairs: at most that share of the pairs of different names is above
    the threshold. But whoever searches a gallery compares a photo with everybody in it,
    and then ``fpir`` is what counts: the share of unknown people who are taken for
    somebody. Each enrolled photo, looked up among the photos of all other people,
    stands for an unknown person. In a gallery of more than 20,000 photos, 20,000 are
    drawn with a fixed seed.

    Args:
        gallery: The gallery's folder or URL.
        far: False accept rate over pairs, in (0, 1); None with ``fpir``.
        fpir: False positive identification rate, in (0, 1); None with ``far``.
        num_shown: Largest number of similar pairs of different names to list.

    Raises:
        ParameterError: Unless exactly one of the rates is given, and it is in (0, 1).
        DataError: If the gallery has too few photos or people for the rate, or one
            photo under several names decides the threshold.
        FileError: If there is no gallery, or it is damaged.
    """
    if (far is None) == (fpir is None):
        raise ParameterError("give either --far, over pairs, or --fpir, over people")
    if far is not None and not 0 < far < 1:
        raise ParameterError(f"far must be in (0, 1), got {far}")
    check_gallery_place(gallery)
    with open_gallery(gallery) as people:
        # Changes nothing, and is refused to those who may not: not only after minutes.
        people.update([])
        entries, units = _read_all(people)
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
        if cosine > _SAME_FACE:
            doubles = similar_strangers(found, probes, _SAME_FACE)
            raise _same_faces(gallery, _as_pairs(entries, doubles))
        people.set_threshold(threshold)
    with progress_bar("count false matches", len(probes), "photos") as advance:
        fmr = false_match_rate(units, codes, probes, cosine, advance)
    num_others = int(codes.max())
    mated = found.mated
    usual = float(np.median(found.own[mated])) if mated.any() else 1.0
    return GalleryThreshold(
        gallery=str(gallery),
        threshold=threshold,
        num_probes=len(probes),
        open_set=open_set(found, threshold.cosine),
        num_others=num_others,
        fmr=fmr,
        independent_fpir=independent_fpir(fmr, num_others),
        rank_one=float(np.mean(found.rank[mated] == 1)) if mated.any() else None,
        similar=_as_pairs(
            entries, similar_strangers(found, probes, max(usual, threshold.cosine))
        ),
        num_shown=num_shown,
    )


def _as_pairs(
    entries: Sequence[Entry], strangers: Sequence[Stranger]
) -> list[SimilarPair]:
    return [
        SimilarPair(entries[pair.first], entries[pair.second], pair.cosine)
        for pair in strangers
    ]


def _same_faces(gallery: Place, doubles: Sequence[SimilarPair]) -> DataError:
    """The error that photos are enrolled under several names."""
    shown = [
        " and ".join(
            f"{e.source} of {e.name} ({e.id})" for e in (one.first, one.second)
        )
        for one in doubles[:_MOST_SHOWN]
    ]
    if len(doubles) > _MOST_SHOWN:
        shown.append(f"and {len(doubles) - _MOST_SHOWN:,} more pairs")
    return DataError(
        f"{gallery}: the same photo is enrolled under different names, so that only a "
        f"threshold of 1 would do, which calls everybody nobody: {'; '.join(shown)}; "
        "remove the wrong ones with gallery remove ID, or give a higher rate; nothing "
        "was changed"
    )


def _name_and_photo(entries: Iterable[Entry]) -> list[str]:
    return [text for entry in entries for text in (entry.name, entry.source)]


def _read_all(
    people: AnyGallery,
) -> tuple[list[Entry], Float32[np.ndarray, "photos dim"]]:
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
