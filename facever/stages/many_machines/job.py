"""The job: photos are aligned, crops embedded and faces enrolled, shard by shard.

Who computes the shards is not known here: several machines, or one process.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from facever.choices import Backend, Detector
from facever.csv_tables import read_csv, write_csv
from facever.data.store.crop_store import fingerprint_of
from facever.data.store.folder import FAILURES_FILE, STORE_FILE
from facever.data.store.tables import FAILURE_COLUMNS
from facever.data.store.unfinished import check_settings
from facever.errors import FileError, ParameterError
from facever.faces.aligner import AlignRecipe
from facever.faces.photo_source import PhotoSource
from facever.files import (
    check_folder_place,
    check_outside,
    hold_folder,
    whole_file,
)
from facever.foreign_files import read_json
from facever.gallery.base import NamedPhoto, Place
from facever.gallery.enrollment import Enrollment, enroll
from facever.gallery.opening import (
    check_gallery_place,
    gallery_exists,
    open_gallery,
)
from facever.inference.embedder import Embedder, load
from facever.progress import format_seconds, progress_bar
from facever.results import Result
from facever.stages.align import plan_alignment, store_settings
from facever.stages.gallery.enroll import create_for
from facever.stages.gallery.faces import detector_in_use
from facever.stages.many_machines.shards import (
    CropShard,
    PhotoShard,
    Plan,
    ShardAligner,
    ShardEmbedder,
    ShardEnroller,
    ShardFaces,
    failures_of,
)

JOB_FILE = "job.json"

_WHOLE_BATCHES = 64
"""Crops that ``facever embed`` computes at a time; twice the photos of ``align``."""

_SEVERAL_WRITERS = "postgresql://"


@runtime_checkable
class Workers(Protocol):
    """Processes that work on shards."""

    def answers(
        self,
        make_work: Callable[[Plan], Callable[[Any], Any]],
        plan: Plan,
        shards: Sequence[Any],
    ) -> Iterator[Any]:
        """What the work gives for each shard, in any order.

        Args:
            make_work: A class of ``shards``, of which each process makes one.
            plan: What it is made with.
            shards: What it is called with, once each, or again where a process ended.

        Raises:
            FaceverError: What the work raises.
        """
        ...


@dataclass(frozen=True)
class JobSummary(Result):
    """What a job has made.

    Attributes:
        out: The job's folder.
        num_photos: Photos of the source.
        num_new: How many of them were aligned by this run.
        num_crops: Crops of them, each with an embedding unless the ledger says why not.
        num_stores: Crop stores and, each of as many crops, tables of faces.
        num_failures: Photos and crops in the ledger.
        notes: What there is to know about the source, a line each.
        gallery: Where the faces were enrolled; None for nowhere.
        num_added: Faces that are new there.
        num_known: Faces that were there under their name already.
        alike: The same crops under several names, each as names and sources.
        seconds: Wall time of this run.
    """

    out: Path
    num_photos: int
    num_new: int
    num_crops: int
    num_stores: int
    num_failures: int
    notes: tuple[str, ...]
    gallery: Place | None
    num_added: int
    num_known: int
    alike: list[list[NamedPhoto]]
    seconds: float

    def lines(self) -> list[str]:
        """The totals, where the reasons stand, and what was enrolled."""
        lines = [
            f"{self.out}: {self.num_crops:,} crops of {self.num_photos:,} photos, "
            f"{self.num_new:,} of them aligned now, in {format_seconds(self.seconds)}",
            *(f"  {note}" for note in self.notes),
        ]
        if self.num_failures:
            lines.append(
                f"  {self.num_failures:,} photos without a crop or an embedding, and "
                f"why: {self.out / FAILURES_FILE}"
            )
        if self.gallery is not None:
            lines.append(
                f"{self.gallery}: {self.num_added:,} enrolled, {self.num_known:,} were "
                "there already"
            )
        lines += [
            "  the same crop under several names: "
            + " and ".join(f"{source} of {name}" for name, source in photos)
            for photos in self.alike
        ]
        return lines


def run_job(
    source: Path,
    out: Path,
    model: str,
    workers: Workers,
    *,
    gallery: Place | None = None,
    detector: Detector | None = None,
    identity: str | None = None,
    frames: str = "all",
    backend: Backend = "auto",
    shard_photos: int = 1024,
) -> JobSummary:
    """Align and embed photos in shards, and enroll the faces.

    ``out`` gets ``crops``, stores that ``facever data merge`` joins, in the order of
    their names, to that of one ``facever align``; ``faces``, tables with crop and
    embedding of each face, which are those of ``facever embed`` of that store; the
    ledger; and ``job.json``. A run that was killed goes on: shards that are whole are
    not made again.

    Args:
        source: Photos; see ``find_photos``. Every machine finds it at this path.
        out: Folder that every machine finds at this path.
        model: The model file, which every machine finds at this path, or the name of a
            ready model. Its crops are cut, on CPUs.
        workers: Who computes the shards.
        gallery: Where to enroll, a folder or URL; made if it is not there. One in
            PostgreSQL is written by all workers, another by this process.
        detector: How faces are found; None for the gallery's way.
        identity: Who is in a photo, by its path; see ``align``.
        frames: Which frames of a video are taken; see ``find_photos``.
        backend: What computes the networks; see ``Embedder``.
        shard_photos: Photos, and crops, in a shard: a multiple of 64.

    Raises:
        ParameterError: If an option is out of its range.
        MismatchError: If ``out`` is of another job, or the gallery of another model.
        FaceverError: As ``align``, ``embed`` and ``add`` raise it.
    """
    started = time.monotonic()
    if shard_photos < 1 or shard_photos % _WHOLE_BATCHES:
        raise ParameterError(
            f"shard_photos must be a multiple of {_WHOLE_BATCHES}, whole batches, got "
            f"{shard_photos}"
        )
    source, out = source.absolute(), out.absolute()
    check_outside(out, source, "--out", "the photos")
    check_folder_place(out)
    if gallery is not None:
        check_gallery_place(gallery)
        detector = detector_in_use(gallery, detector)
    embedder = load(model, "cpu", detector=detector or "mtcnn", backend=backend)
    listing, recipe = plan_alignment(
        source,
        AlignRecipe(
            embedder.detector,
            template=embedder.template.name,
            device="cpu",
            backend=backend,
        ),
        identity=identity,
        frames=frames,
    )
    plan = Plan(
        out,
        recipe,
        str(Path(model).absolute()) if Path(model).is_file() else model,
        embedder.model_fingerprint,
        embedder.started.backend,
        str(embedder.started),
        gallery,
    )
    if gallery is not None:
        _open_or_create(gallery, embedder)
    with hold_folder(out):
        _claim(plan, listing.photos, shard_photos)
        _clean(plan)
        num_new = _align(plan, listing.photos, shard_photos, workers)
        num_stores = -(-len(listing.photos) // shard_photos)
        num_crops = _embed(plan, num_stores, shard_photos, workers)
        num_tables = -(-num_crops // shard_photos)
        num_failures = _write_ledger(plan, num_stores, num_tables)
        done = _enroll(plan, num_tables, num_crops, workers)
        _clean(plan)
    return JobSummary(
        out=out,
        num_photos=len(listing.photos),
        num_new=num_new,
        num_crops=num_crops,
        num_stores=num_stores,
        num_failures=num_failures,
        notes=listing.notes,
        gallery=gallery,
        num_added=sum(each.num_added for each in done),
        num_known=sum(each.num_known for each in done),
        alike=_distinct([photos for each in done for photos in each.alike]),
        seconds=time.monotonic() - started,
    )


def _open_or_create(gallery: Place, embedder: Embedder) -> None:
    """Find out before the long work whether the gallery takes the embeddings."""
    if gallery_exists(gallery):
        open_gallery(gallery, embedder.model_fingerprint).close()
    else:
        create_for(gallery, embedder).close()


def _claim(plan: Plan, photos: Sequence[PhotoSource], shard_photos: int) -> None:
    """Write what the job is, or compare it."""
    names = [(photo.source, photo.identity) for photo in photos]
    about = {
        "photos": f"{len(photos)} with the fingerprint {fingerprint_of(names, ())}",
        "shard_photos": shard_photos,
        "model": plan.model_fingerprint,
        "computed_by": plan.computed_by,
        "detector_by": f"{plan.recipe.backend}, {plan.recipe.device}",
        **store_settings(plan.recipe),
    }
    path = plan.folder / JOB_FILE
    if path.exists():
        check_settings(plan.folder, read_json(path), about)
    else:
        if others := [each.name for each in plan.folder.iterdir()]:
            raise FileError(
                f"{plan.folder} is not empty and holds no {JOB_FILE} (it holds "
                f"{others[0]}): write into a new folder"
            )
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _clean(plan: Plan) -> None:
    """Take away what workers left that were killed."""
    for folder in (plan.crops(0).parent, plan.faces(0).parent):
        for unfinished in folder.glob(".*"):
            shutil.rmtree(unfinished, ignore_errors=True)


def _align(
    plan: Plan, photos: Sequence[PhotoSource], shard_photos: int, workers: Workers
) -> int:
    shards = [
        PhotoShard(number, photos[start : start + shard_photos])
        for number, start in enumerate(range(0, len(photos), shard_photos))
    ]
    missing = [shard for shard in shards if not plan.crops(shard.number).exists()]
    num_new = sum(len(shard.photos) for shard in missing)
    _work("align", "photos", len(photos), num_new, workers, ShardAligner, plan, missing)
    return num_new


def _embed(plan: Plan, num_stores: int, shard_photos: int, workers: Workers) -> int:
    counts = [
        int(read_json(plan.crops(number) / STORE_FILE)["num_crops"])
        for number in range(num_stores)
    ]
    missing = [
        shard
        for shard in cut_crops(counts, shard_photos)
        if not plan.faces(shard.number).exists()
    ]
    num_new = sum(shard.num_crops for shard in missing)
    num_crops = sum(counts)
    _work("embed", "crops", num_crops, num_new, workers, ShardEmbedder, plan, missing)
    return num_crops


def _work(
    title: str,
    unit: str,
    total: int,
    num_new: int,
    workers: Workers,
    make_work: Callable[[Plan], Callable[[Any], int]],
    plan: Plan,
    missing: Sequence[Any],
) -> None:
    if missing:
        with progress_bar(title, total, unit, total - num_new) as advance:
            for count in workers.answers(make_work, plan, missing):
                advance(count)


def _write_ledger(plan: Plan, num_stores: int, num_tables: int) -> int:
    """Join the ledgers of all shards, in their order."""
    rows: list[tuple[str, str]] = []
    for number in range(num_stores):
        ledger = read_csv(
            plan.crops(number) / FAILURES_FILE, FAILURE_COLUMNS, exact=True
        )
        rows += [(row["source"], row["reason"]) for row in ledger]
    for number in range(num_tables):
        rows += failures_of(plan.faces(number)).items()
    with whole_file(plan.folder / FAILURES_FILE) as temporary:
        write_csv(temporary, FAILURE_COLUMNS, rows)
    return len(rows)


def cut_crops(counts: Sequence[int], size: int) -> list[CropShard]:
    """Shards of as many crops, counted through stores that follow each other.

    Args:
        counts: How many crops each store holds.
        size: Crops in a shard, at least 1; the last one has what is left.

    >>> [shard.pieces for shard in cut_crops([3, 0, 4], 2)]
    [[(0, 0, 2)], [(0, 2, 3), (2, 0, 1)], [(2, 1, 3)], [(2, 3, 4)]]
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1])
    shards = []
    for number, start in enumerate(range(0, total, size)):
        end = min(start + size, total)
        first, last = np.searchsorted(ends, [start, end - 1], side="right").tolist()
        pieces = []
        for store in range(first, last + 1):
            begin = int(ends[store]) - counts[store]
            rows = max(start - begin, 0), min(end - begin, counts[store])
            if counts[store]:
                pieces.append((store, *rows))
        shards.append(CropShard(number, pieces))
    return shards


def _enroll(
    plan: Plan, num_tables: int, num_crops: int, workers: Workers
) -> list[Enrollment]:
    if plan.gallery is None:
        return []
    numbers = range(num_tables)
    done: list[Enrollment] = []
    with progress_bar("enroll", num_crops, "faces") as advance:
        if str(plan.gallery).startswith(_SEVERAL_WRITERS):
            for each in workers.answers(ShardEnroller, plan, numbers):
                done.append(each)
                advance(each.num_added + each.num_known + len(each.left_out))
        else:
            with open_gallery(plan.gallery, plan.model_fingerprint) as people:
                for number in numbers:
                    faces = ShardFaces(plan, number)
                    done.append(enroll(people, faces, advance=advance))
    return done


def _distinct(groups: Sequence[list[NamedPhoto]]) -> list[list[NamedPhoto]]:
    """Each group once, which every shard names that has a photo of it."""
    return [list(photos) for photos in dict.fromkeys(map(tuple, groups))]
