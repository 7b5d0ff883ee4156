"""The stage ``facever align``: photos in, a crop store out."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    Backend,
    Detector,
    FaceRule,
    TemplateName,
)
from facever.data.recordio.extra_labels import write_extra_labels
from facever.data.sources.any_source import find_photos
from facever.data.sources.folders import describe_skipped
from facever.data.sources.identities import describe_people, settle_people
from facever.data.sources.landmark_check import check_landmarks
from facever.data.sources.landmark_file import read_landmarks, with_landmarks
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import FAILURES_FILE
from facever.data.store.writer import CropWriter
from facever.errors import DataError, ParameterError
from facever.faces.aligner import NO_FACE, NO_LANDMARKS, AlignedPhoto, AlignRecipe
from facever.faces.detection import FACE_RULES
from facever.faces.detectors import check_detector
from facever.faces.photo_source import PhotoListing, PhotoSource
from facever.faces.photos import check_max_pixels
from facever.faces.quality import LOW_QUALITY, check_min_quality
from facever.faces.templates import TEMPLATES, find_template
from facever.faces.workers import AlignWorkers, count_workers
from facever.files import check_file_place, check_folder_place, check_outside
from facever.progress import format_seconds, progress_bar, waiting
from facever.results import Result

OUTSIDE_SHARE = 0.3
"""A crop of which more than this part lies outside its photo is counted.

From about there on SFace knows people noticeably less well.
"""

_BATCH_PHOTOS = 32


@dataclass(frozen=True)
class AlignSummary(Result):
    """What a run of ``align`` left in the store.

    Attributes:
        out: The store's folder.
        num_photos: Photos of the source that are in the store or its ledger.
        num_new: Number of these that this run aligned.
        num_crops: Crops in the store.
        num_without_face: Photos in the ledger because no face was found in them.
        num_without_landmarks: Photos in the ledger because landmarks are listed, and
            none for them.
        num_refused: Photos in the ledger because the face is of too low quality.
        num_unusable: Photos in the ledger for another reason, such as damage.
        outside: Photos that this run aligned and whose crop, or one of them, lies by
            more than ``OUTSIDE_SHARE`` outside the photo.
        skipped: Files of the source that have no photo's suffix, in words.
        notes: What else there is to know about the source, a line each.
        seconds: Wall time of this run.
    """

    out: Path
    num_photos: int
    num_new: int
    num_crops: int
    num_without_face: int
    num_without_landmarks: int
    num_refused: int
    num_unusable: int
    outside: list[str]
    skipped: str
    notes: tuple[str, ...]
    seconds: float

    def why_without(self) -> str:
        """How many photos gave no crop, by the kind of reason."""
        without = [f"{self.num_without_face} without a face"]
        if self.num_without_landmarks:
            without.append(f"{self.num_without_landmarks} without landmarks")
        if self.num_refused:
            without.append(f"{self.num_refused} of too low quality")
        return ", ".join([*without, f"{self.num_unusable} unusable"])

    def lines(self) -> list[str]:
        """The totals, and where the reasons stand for photos that gave no crop."""
        lines = [
            f"{self.out}: {self.num_crops} crops of {self.num_photos} photos, "
            f"{self.why_without()}"
        ]
        if (
            self.num_without_face
            + self.num_without_landmarks
            + self.num_refused
            + self.num_unusable
        ):
            ledger = self.out / FAILURES_FILE
            lines.append(f"  photos without a crop, and why: {ledger}")
        if self.outside:
            lines.append(
                f"  over {OUTSIDE_SHARE:.0%} of the crop lies outside the photo in "
                f"{len(self.outside)} of {self.num_new} photos, such as "
                f"{self.outside[0]}"
            )
        if self.skipped:
            lines.append(f"  skipped {self.skipped}")
        lines += [f"  {note}" for note in self.notes]
        if self.num_new:
            took = format_seconds(self.seconds)
            lines.append(f"  {self.num_new} photos aligned in {took}")
        else:
            lines.append("  nothing new to align")
        return lines


@dataclass(frozen=True)
class Shard:
    """One machine's part of the photos.

    Attributes:
        number: From 1.
        total: Parts in all.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``number/total``, such as ``2/8``.

        Raises:
            ParameterError: If it is not of that form.
        """
        number, _, total = text.partition("/")
        if number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total):
            return cls(int(number), int(total))
        raise ParameterError(
            f"shard must be number/total, such as 2/8, the number from 1; got {text!r}"
        )

    def of(self, photos: list[PhotoSource]) -> list[PhotoSource]:
        """Its run of whole batches, so that no batch depends on the number of parts.

        Raises:
            ParameterError: If there are fewer batches than parts.
        """
        num_batches = -(-len(photos) // _BATCH_PHOTOS)
        if num_batches < self.total:
            raise ParameterError(
                f"{len(photos)} photos make {num_batches} batches of {_BATCH_PHOTOS}: "
                f"there can be no more shards than that, got {self.total}"
            )
        first, last = (
            _BATCH_PHOTOS * (num_batches * edge // self.total)
            for edge in (self.number - 1, self.number)
        )
        return photos[first:last]


def align(
    source: Path,
    out: Path,
    *,
    face: FaceRule = DEFAULT_FACE,
    detector: Detector = "mtcnn",
    landmarks: Path | None = None,
    identity: str | None = None,
    frames: str = "all",
    extra_labels: Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    template: TemplateName = "112x96",
    min_quality: Mapping[str, float] | None = None,
    by_person: bool = True,
    only: set[str] | None = None,
    shard: Shard | None = None,
) -> AlignSummary:
    """Align the photos of a source into a crop store.

    A run that was killed goes on where it was; a run over a finished store aligns only
    photos that are new in the source. A photo is known by its path, so one that changed
    is not aligned again: for that, write into a new folder.

    Args:
        source: Folders of photos and videos, a list or CSV file, ``.rec``, ``.bin``,
            ``.tar``, ``.parquet`` or a crop store; see ``find_photos``. Landmarks that
            it lists are used in place of the network.
        out: Folder of the store.
        face: Which face to take when a photo has several. With ``all``, the one that
            the default rule takes is the photo's person, and the others are people of
            their own, named after photo and face (``Ann/1.jpg#2``).
        detector: ``mtcnn``, ``mtcnn-sphereface`` for the thresholds 0.6, 0.7, 0.9 and
            the pyramid factor 0.85 of SphereFace, ``yunet`` for OpenCV's, which runs on
            the CPU, or ``crops`` for photos that are crops of the template, or of one
            that contains it, already; other sizes go to the ledger.
        landmarks: A landmark file to use in place of a detector; see
            ``read_landmarks``.
        identity: Who is in a photo, by its path: ``top``, ``parent`` or a regular
            expression, see ``name_people``; by default as the source says, and the
            topmost folder where it says nothing.
        frames: Which frames of a video are taken; see ``find_photos``.
        extra_labels: A CSV file to write with the labels of a ``.rec`` behind the
            first; see ``write_extra_labels``.
        workers: Processes; by default one for each CPU that this process may use.
        device: Where MTCNN runs; ``auto``: on a GPU if there is one.
        backend: What computes its networks; see ``make_detector``. Another backend or
            kind of device rounds differently: a store of two is not byte for byte that
            of one.
        max_pixels: Larger photos go to the ledger.
        template: The crops that the model takes; see ``TEMPLATES``.
        min_quality: The least of some ``FACE_QUALITIES``; a photo whose face is below
            one of them goes to the ledger. The store keeps them among its settings.
        by_person: Whether anybody will ask who is on the photos; if not, folders that
            are no people, such as ``train/``, do not matter.
        only: Sources that are wanted, others are left for a later run; by default all.
        shard: The part of the photos that this machine aligns. ``facever data merge``
            of all parts, in their order, gives the store of one run, byte for byte.

    Raises:
        ParameterError: If an option is out of its range.
        FileError: If there are no photos, or ``out`` cannot be written.
        ModelFileError: If a package that the detector needs is not installed.
        DataError: If landmarks are wrong throughout, ``train/`` and ``test/`` would be
            people, ``out`` holds crops of other photos or made in another way, or no
            photo gave a crop.
    """
    started = time.monotonic()
    check_outside(out, source, "OUT", "SOURCE")
    check_folder_place(out)
    if extra_labels is not None:
        check_file_place(extra_labels)
    num_workers = count_workers(workers)
    listing, recipe = plan_alignment(
        source,
        AlignRecipe(
            detector,
            face,
            False,
            max_pixels,
            template,
            device,
            backend,
            # A store does not depend on the order of options or the kind of numbers.
            {name: float(least) for name, least in sorted((min_quality or {}).items())},
        ),
        landmarks=landmarks,
        identity=identity,
        frames=frames,
        extra_labels=extra_labels,
        by_person=by_person,
    )
    photos = listing.photos if shard is None else shard.of(listing.photos)
    names = [(photo.source, photo.identity) for photo in photos]
    with CropWriter(out, store_settings(recipe), names) as writer:
        missing = set(writer.missing) if only is None else only & set(writer.missing)
        batches = list(photo_batches(photos, missing))
        outside = []
        if batches:
            with (
                AlignWorkers(recipe, min(num_workers, len(batches))) as crew,
                progress_bar("align", len(missing), "photos") as advance,
            ):
                for aligned in crew.align(batches):
                    write_aligned(writer, aligned)
                    outside += [
                        photo.source
                        for photo in aligned
                        if (photo.outside > OUTSIDE_SHARE).any()
                    ]
                    advance(len(aligned))
        store = writer.finish()
    summary = _summarise(
        out,
        store,
        len(missing),
        outside,
        listing,
        time.monotonic() - started,
    )
    if summary.num_crops == 0:
        raise DataError(
            f"{out}: none of {summary.num_photos} photos gave a crop "
            f"({summary.why_without()}); {FAILURES_FILE} there says why"
        )
    return summary


def plan_alignment(
    source: Path,
    recipe: AlignRecipe,
    *,
    landmarks: Path | None = None,
    identity: str | None = None,
    frames: str = "all",
    extra_labels: Path | None = None,
    by_person: bool = True,
) -> tuple[PhotoListing, AlignRecipe]:
    """What is to be aligned, with the people settled, and how.

    Args:
        source: As for ``align``.
        recipe: What was asked for; ``by_landmarks`` is set here.
        landmarks: As for ``align``, as are all others.
        identity: Who is in a photo, by its path.
        frames: Which frames of a video are taken.
        extra_labels: A CSV file to write.
        by_person: Whether anybody will ask who is on the photos.

    Returns:
        The photos with their landmarks, where there are any, and the recipe with all
        that ``auto`` means here.

    Raises:
        FaceverError: As ``align`` does before it aligns the first photo.
    """
    _check_options(recipe, landmarks)
    known = None if landmarks is None else read_landmarks(landmarks)
    with waiting(f"listing {source}"):
        listing = find_photos(source, frames)
        if by_person:
            listing = settle_people(listing, identity)
            people = describe_people(listing)
            listing = replace(listing, notes=(*people, *listing.notes))
        if extra_labels is not None:
            write_extra_labels(extra_labels, listing.photos)
        if known is not None:
            listing = with_landmarks(listing, known)
    by_landmarks = recipe.detector != "crops" and listing.has_landmarks
    recipe = replace(recipe, by_landmarks=by_landmarks)
    recipe.check_min_quality()
    if by_landmarks and TEMPLATES[recipe.template].needs_box:
        raise ParameterError(
            f"template {recipe.template} cuts faces out by the detector's box, which "
            "known landmarks do not say: take photos without a list of landmarks"
        )
    if by_landmarks:
        with waiting("checking the landmarks"):
            listing = replace(listing, photos=check_landmarks(listing.photos))
    return listing, recipe.settle()


def _check_options(recipe: AlignRecipe, landmarks: Path | None) -> None:
    if recipe.face not in FACE_RULES:
        rules = ", ".join(FACE_RULES)
        raise ParameterError(f"face must be one of {rules}, got {recipe.face!r}")
    check_detector(recipe.detector)
    if landmarks is not None and recipe.detector != "mtcnn":
        raise ParameterError(
            f"landmarks cannot be combined with detector {recipe.detector!r}"
        )
    check_max_pixels(recipe.max_pixels)
    find_template(recipe.template)
    check_min_quality(recipe.min_quality)
    if recipe.min_quality and recipe.face == "all":
        raise ParameterError(
            "min_quality refuses photos and not single faces of them, so it cannot be "
            "combined with face all: choose one face of each photo"
        )


def store_settings(recipe: AlignRecipe) -> dict[str, Any]:
    """What a crop store says of how its crops were made.

    Cut-offs stand there only where there are some, as in stores of earlier versions.
    """
    cutoffs = {"min_quality": dict(recipe.min_quality)} if recipe.min_quality else {}
    return {
        "template": TEMPLATES[recipe.template].description,
        "detector": "landmarks" if recipe.by_landmarks else recipe.detector,
        "face": recipe.face if recipe.uses_network else None,
        "max_pixels": recipe.max_pixels,
        **cutoffs,
    }


def photo_batches(
    photos: Sequence[PhotoSource], missing: set[str]
) -> Iterator[list[PhotoSource]]:
    """Batches of what is missing, cut at the same photos in every run.

    What a network gives for a photo may differ in the last bit with its batch; this way
    a resumed run has the same batches as one that was never killed.
    """
    for start in range(0, len(photos), _BATCH_PHOTOS):
        whole = photos[start : start + _BATCH_PHOTOS]
        batch = [photo for photo in whole if photo.source in missing]
        if batch:
            yield batch


def write_aligned(writer: CropWriter, aligned: Sequence[AlignedPhoto]) -> None:
    """Bring what became of a batch of photos into a store."""
    for photo in aligned:
        if photo.reason is None:
            writer.add(
                photo.source,
                photo.crops,
                photo.landmarks,
                photo.scores,
                photo.num_found,
                photo.taken_by,
            )
        else:
            writer.fail(photo.source, photo.reason)
    writer.commit()


def _say_of_others(store: CropStore) -> Iterator[str]:
    """Who the faces are that ``--face all`` takes beside the photo's person."""
    photos = {*map(photo_of, store.sources)}
    if num_others := len(store) - len(photos):
        yield (
            f"{num_others} faces beside the one that --face {DEFAULT_FACE} takes of "
            f"their photo are people of their own, such as {_name_of_other(store)}"
        )


def _name_of_other(store: CropStore) -> str:
    """The first identity that is a face of a photo."""
    return next(
        identity
        for row, source in enumerate(store.sources)
        if photo_of(identity := store.identity_of(row)) == photo_of(source) != identity
    )


def _summarise(
    out: Path,
    store: CropStore,
    num_new: int,
    outside: list[str],
    listing: PhotoListing,
    seconds: float,
) -> AlignSummary:
    reasons = Counter(store.failures.values())
    num_without_face, num_without_landmarks = reasons[NO_FACE], reasons[NO_LANDMARKS]
    num_refused = sum(why.startswith(LOW_QUALITY) for why in store.failures.values())
    num_photos = len(store.failures) + len(
        {photo_of(source) for source in store.sources}
    )
    return AlignSummary(
        out=out,
        num_photos=num_photos,
        num_new=num_new,
        num_crops=len(store),
        num_without_face=num_without_face,
        num_without_landmarks=num_without_landmarks,
        num_refused=num_refused,
        num_unusable=len(store.failures)
        - num_without_face
        - num_without_landmarks
        - num_refused,
        outside=outside,
        skipped=describe_skipped(listing.skipped),
        notes=(*_say_of_others(store), *listing.notes),
        seconds=seconds,
    )
