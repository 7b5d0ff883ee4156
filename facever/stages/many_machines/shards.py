"""The work on one shard, which any process may do, and do again.

A shard of crops is a crop store, ``crops/00000`` and so on, of so many photos. A shard
of faces is a table, ``faces/00000.parquet``, of so many crops, counted through all
stores: it has the batches that ``facever embed`` would make of them in one store, and
so gives the same bits. Each is made under a name of its own and renamed when it is
whole.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float32, Int64, UInt8

from facever.choices import Backend
from facever.data.store.crop_store import CropStore
from facever.data.store.exporting import encode_crops
from facever.data.store.writer import CropWriter
from facever.errors import FaceverError, MismatchError
from facever.faces.aligner import AlignRecipe, PhotoAligner
from facever.faces.photo_source import PhotoSource
from facever.files import naming_write_errors, put_in_place
from facever.gallery.base import Place
from facever.gallery.enrollment import Enrollment, as_unicode, enroll
from facever.gallery.entries import Origin
from facever.gallery.opening import open_gallery
from facever.inference.embedder import NO_EMBEDDING, Embedder, load
from facever.inference.vectors import has_direction
from facever.stages.align import photo_batches, store_settings, write_aligned

_MOST_KILLED = 5
"""Attempts at a shard that may end in the middle before the job gives up."""

_ABOUT = b"facever_faces"


@dataclass(frozen=True)
class Plan:
    """What every process of a job knows.

    Attributes:
        folder: The job's folder, absolute.
        recipe: How photos become crops, settled.
        model: The model file, absolute, or the name of a ready model.
        model_fingerprint: The model's fingerprint.
        backend: What computes the model's network.
        computed_by: The same with its numbers and its device, in words.
        gallery: Where to enroll; None for nowhere.
    """

    folder: Path
    recipe: AlignRecipe
    model: str
    model_fingerprint: str
    backend: Backend
    computed_by: str
    gallery: Place | None

    def crops(self, number: int) -> Path:
        """The crop store of a shard."""
        return self.folder / "crops" / f"{number:05d}"

    def faces(self, number: int) -> Path:
        """The table of a shard."""
        return self.folder / "faces" / f"{number:05d}.parquet"


@dataclass(frozen=True)
class PhotoShard:
    """Photos to align.

    Attributes:
        number: From 0.
        photos: The photos, whole batches of them but for the last shard.
    """

    number: int
    photos: Sequence[PhotoSource]


@dataclass(frozen=True)
class CropShard:
    """Crops to embed.

    Attributes:
        number: From 0.
        pieces: Number of a crop store, its first row, and the row behind its last.
    """

    number: int
    pieces: Sequence[tuple[int, int, int]]

    @property
    def num_crops(self) -> int:
        """Crops of all pieces."""
        return sum(end - first for _, first, end in self.pieces)


class ShardAligner:
    """Aligns shards of photos; the detector is loaded with the first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, shard: PhotoShard) -> int:
        """Write the crop store of a shard, and say how many photos it is of."""
        names = [(photo.source, photo.identity) for photo in shard.photos]
        with (
            _own_place(self._plan.crops(shard.number)) as folder,
            CropWriter(folder, store_settings(self._plan.recipe), names) as writer,
        ):
            for batch in photo_batches(shard.photos, set(writer.missing)):
                write_aligned(writer, self._aligner.align(batch))
            writer.finish()
        return len(names)

    @cached_property
    def _aligner(self) -> PhotoAligner:
        return self._plan.recipe.make_aligner()


class ShardEmbedder:
    """Embeds shards of crops; the model is loaded with the first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, shard: CropShard) -> int:
        """Write the table of a shard, and say how many crops it is of.

        Raises:
            MismatchError: If the model, or what computes it, is another one here than
                where the job was begun.
        """
        with _own_place(self._plan.faces(shard.number)) as path:
            pq.write_table(self._embed(shard), path)
        return shard.num_crops

    def _embed(self, shard: CropShard) -> pa.Table:
        pieces = [
            (number, CropStore.open(self._plan.crops(number)), np.arange(first, end))
            for number, first, end in shard.pieces
        ]
        template = self._embedder.template
        crops = [store.crops_for(template)[rows] for _, store, rows in pieces]
        embeddings = self._embedder.embed_crops(np.concatenate(crops))
        reasons = [None if good else NO_EMBEDDING for good in has_direction(embeddings)]
        about = {
            "model_fingerprint": self._plan.model_fingerprint,
            "computed_by": self._plan.computed_by,
            "crops": store_settings(self._plan.recipe),
        }
        return (
            pa.concat_tables(map(_describe, *zip(*pieces, strict=True), crops))
            .append_column("embedding", _lists(embeddings))
            .append_column("reason", pa.array(reasons, pa.string()))
            .replace_schema_metadata({_ABOUT: json.dumps(about)})
        )

    @cached_property
    def _embedder(self) -> Embedder:
        plan = self._plan
        embedder = load(plan.model, "cpu", backend=plan.backend)
        found = embedder.model_fingerprint, str(embedder.started)
        if found != (plan.model_fingerprint, plan.computed_by):
            raise MismatchError(
                f"{plan.model} is model {found[0][:12]} computed by {found[1]} on one "
                f"machine, and {plan.model_fingerprint[:12]} by {plan.computed_by} "
                "where the job was begun: install the same on all machines"
            )
        return embedder


class ShardEnroller:
    """Enrolls the faces of shards, each over a connection of its own."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, number: int) -> Enrollment:
        """Enroll the faces of the shard of a number."""
        assert self._plan.gallery is not None
        with open_gallery(self._plan.gallery, self._plan.model_fingerprint) as gallery:
            return enroll(gallery, ShardFaces(self._plan, number))


class ShardFaces:
    """The faces of a shard, as ``enroll`` takes them."""

    batch = 8192
    notes: tuple[str, ...] = ()

    def __init__(self, plan: Plan, number: int) -> None:
        """Read a shard's table, all but the crops."""
        columns = ["source", "identity", "sha256", "store", "embedding", "reason"]
        table = pq.read_table(plan.faces(number), columns=columns)
        read = {
            name: table[name].to_pylist() for name in columns if name != "embedding"
        }
        self.names: list[str] = read["identity"]
        self.sources: list[str] = read["source"]
        self.origins: Sequence[Origin | None] = [
            Origin(str(plan.crops(store)), source)
            for store, source in zip(read["store"], self.sources, strict=True)
        ]
        self.several: dict[str, int] = {}
        self._digests: list[str] = read["sha256"]
        self._reasons: list[str | None] = read["reason"]
        self._embeddings = embeddings_of(table)

    def digest(self, row: int) -> str | None:
        """SHA-256 of a crop's pixels."""
        return self._digests[row]

    def embed(self, rows: Sequence[int]) -> dict[int, Float[np.ndarray, " dim"] | str]:
        """The embedding of each of these rows, or the reason why it has none."""
        return {row: self._reasons[row] or self._embeddings[row] for row in rows}


def embeddings_of(table: pa.Table) -> Float32[np.ndarray, "faces dim"]:
    """The embeddings in the table of a shard, not normalised."""
    column = table["embedding"].combine_chunks()
    embeddings: Float32[np.ndarray, "faces dim"] = (
        column.flatten().to_numpy().reshape(len(column), -1)
    )
    return embeddings


def failures_of(path: Path) -> dict[str, str]:
    """The faces in the table of a shard that have no embedding, and why."""
    table = pq.read_table(path, columns=["source", "reason"])
    pairs = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return {source: reason for source, reason in pairs if reason is not None}


def _describe(
    number: int,
    store: CropStore,
    rows: Int64[np.ndarray, " rows"],
    crops: UInt8[np.ndarray, "rows high wide 3"],
) -> pa.Table:
    """What is known of crops of a store, and the crops themselves as PNG."""
    columns = {
        "source": [as_unicode(store.sources[row]) for row in rows],
        "identity": [
            as_unicode(store.identities[label]) for label in store.labels[rows]
        ],
        "crop": [
            picture.content for picture in encode_crops(store, rows, quality=None)
        ],
        "sha256": [hashlib.sha256(crop.tobytes()).hexdigest() for crop in crops],
        "landmarks": _lists(store.landmarks[rows]),
        "score": store.scores[rows],
        "store": pa.array([number] * len(rows), pa.int32()),
    }
    return pa.table(columns)


def _lists(rows: Float[np.ndarray, "rows *shape"]) -> pa.FixedSizeListArray:
    flat = rows.reshape(len(rows), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


@contextmanager
def _own_place(path: Path) -> Iterator[Path]:
    """A place of this attempt's own, from where a file or folder is renamed at the end.

    Two processes may work on one shard, where the first was only taken for dead. Both
    make the same, and what is whole first stays. The places of those that were killed
    are left for the next run of the job; they tell how many there were.

    Raises:
        FaceverError: If too many attempts ended in the middle.
    """
    killed = list(path.parent.glob(f".{path.name}.*"))
    if len(killed) >= _MOST_KILLED:
        raise FaceverError(
            f"{len(killed)} workers ended while they made {path}: is memory short, or "
            "does something in it end them? All other shards that are done are kept: "
            "run the same command again, with fewer workers"
        )
    place = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with naming_write_errors(path):
            place.mkdir(parents=True)
            yield place / path.name
            try:
                put_in_place(place / path.name, path)
            except OSError:
                if not path.exists():
                    raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
