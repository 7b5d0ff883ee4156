"""From a user's photos, crops or embeddings to the embeddings that a protocol names."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facever.choices import DEFAULT_MAX_PIXELS, Backend, FaceRule, Precision
from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.faces.photos import check_max_pixels
from facever.faces.quality import too_low
from facever.faces.templates import Template
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import check_array, read_embeddings
from facever.inference.model_file import load_model
from facever.progress import progress_bar
from facever.stages.evaluation.named_crops import align_named
from facever.stages.evaluation.photo_qualities import (
    check_photo_cutoffs,
    measure_quality,
)
from facever.stages.evaluation.report_folder import CROPS_FOLDER
from facever.verification.photo_matching import match_photos
from facever.verification.protocols import PairBin, photo_key
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.sections.worst_errors import CropOf

_CHUNK_CROPS = 1024


@dataclass(frozen=True)
class Inputs:
    """What to take embeddings from: one of four combinations.

    A model with photos, which are aligned first; a model with crops; embeddings;
    embeddings with crops, which serve as pictures of the report.

    Attributes:
        model: A model file.
        photos: Folder of the photos; their extensions need not be the protocol's.
        crops: A crop store of the photos.
        embeddings: An ``.npz`` file with the arrays ``embeddings`` and ``images``.
        device: Where the network runs: ``auto``, ``cpu``, ``cuda``...
        precision: The numbers it computes with: ``auto``, ``bf16`` or ``fp32``.
        max_pixels: Height times width of the largest photo that is read.
        array: What the ``.npz`` calls its arrays, see ``read_embeddings``.
        backend: What computes the network; see ``Embedder``.
        min_quality: The least of some qualities, by their names or the paths of CSV
            files; see ``refuse_low_quality``.
    """

    model: str | Path | None = None
    photos: str | Path | None = None
    crops: str | Path | None = None
    embeddings: str | Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    max_pixels: int = DEFAULT_MAX_PIXELS
    array: str | None = None
    backend: Backend = "auto"
    min_quality: Mapping[str, float] = field(default_factory=dict)

    def make_embedder(self) -> Embedder:
        """What embeds, for inputs with a model."""
        assert self.model
        return Embedder(
            load_model(self.model), self.device, self.precision, backend=self.backend
        )

    def check(self) -> None:
        """Refuse other combinations, and limits that are none.

        Raises:
            ParameterError: If the inputs are not one of the four combinations,
                or ``max_pixels`` is below 1.
        """
        check_max_pixels(self.max_pixels)
        given = {
            "model": self.model,
            "photos": self.photos,
            "crops": self.crops,
            "embeddings": self.embeddings,
        }
        names = {name for name, path in given.items() if path}
        allowed = (
            {"model", "photos"},
            {"model", "crops"},
            {"embeddings"},
            {"embeddings", "crops"},
        )
        if names not in allowed:
            got = " and ".join(name for name in given if name in names)
            raise ParameterError(
                "give a model with photos, a model with crops, or embeddings; got "
                f"{got or 'none of them'}"
            )
        check_array(self.array, bool(self.embeddings))


@dataclass(frozen=True)
class Features:
    """Embeddings of photos, and how they were made.

    Attributes:
        embeddings: A row for each image, of any length.
        images: Source of each row.
        settings: What the report says about their origin.
        reasons: Why a photo has no embedding, or was refused, by its source, where that
            is known.
        crop_of: Gives the crop of a source, or None if it has none; None where there
            are no crops at all.
        notes: How the names of the protocol were matched, and which crops were there
            already, a line each.
        store: The store of these crops, where there is one.
    """

    embeddings: Float[np.ndarray, "images dim"]
    images: list[str]
    settings: dict[str, Setting]
    reasons: dict[str, str]
    crop_of: Callable[[str], UInt8[np.ndarray, "height width 3"] | None] | None
    notes: tuple[str, ...] = ()
    store: CropStore | None = None


def find_features(
    inputs: Inputs, named: Sequence[str], out: Path, face: FaceRule
) -> Features:
    """The embeddings of the photos that a protocol names.

    Only these are aligned and embedded, and those of too low quality left out.
    Alignment goes to ``out/crops``, where a run that was killed goes on; if there is
    nothing yet, the crops of a report in a folder beside ``out`` are taken, where they
    are of the same photos by the same settings.

    Args:
        inputs: What to take the embeddings from, a valid combination.
        named: Sources of the photos, as the protocol spells them.
        out: Folder of the report, which can be written.
        face: The rule for which face of a photo is meant.

    Raises:
        FaceverError: If an input is missing, damaged or does not fit.
    """
    has_crops = bool(inputs.photos or inputs.crops)
    check_photo_cutoffs(inputs.min_quality, named, has_crops)
    found = _find_all(inputs, named, out, face)
    return refuse_low_quality(found, named, inputs.min_quality)


def refuse_low_quality(
    features: Features, named: Sequence[str], min_quality: Mapping[str, float]
) -> Features:
    """The features without those of photos that are of too low quality.

    Such a photo has no embedding then, like one in which no face was found. So has one
    of which a quality that is asked for is not known.

    Args:
        features: All that were found.
        named: Sources of the photos, as the protocol spells them.
        min_quality: The least of some qualities, by names or paths as
            ``measure_quality`` takes them, one each; see ``check_photo_cutoffs``.

    Returns:
        The features that are left, with the reasons of the others.

    Raises:
        DataError: If no photo is good enough, or as ``measure_quality``.
    """
    if not min_quality:
        return features
    rows = match_photos(named, features.images).rows
    there = [(name, row) for name, row in zip(named, rows, strict=True) if row >= 0]
    refused: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for wanted, least in min_quality.items():
        [(name, quality_of)] = measure_quality(
            wanted, named, features.embeddings, features.images, features.store
        )
        for photo, _ in there:
            why = too_low(name, quality_of.get(photo, float("nan")), least)
            if why and photo not in refused:
                refused[photo] = why
                counts[f"{least:g} of {name}"] += 1
    if there and len(refused) == len(there):
        photo, why = next(iter(refused.items()))
        raise DataError(
            f"none of {len(there):,} photos is good enough, such as {photo} ({why}): "
            "give a lower min_quality"
        )
    lost = {int(row) for name, row in there if name in refused}
    kept = [row for row in range(len(features.images)) if row not in lost]
    by_cutoff = ", ".join(f"{count:,} by {what}" for what, count in counts.items())
    note = (
        f"{len(refused):,} of {len(there):,} photos with an embedding are refused for "
        "their quality, and count as failures to acquire"
    )
    return replace(
        features,
        embeddings=features.embeddings[kept],
        images=[features.images[row] for row in kept],
        settings={
            **features.settings,
            "min_quality": ", ".join(f"{k}={v:.15g}" for k, v in min_quality.items()),
        },
        reasons={**features.reasons, **refused},
        notes=(*features.notes, f"{note}: {by_cutoff}" if refused else note),
    )


def _find_all(
    inputs: Inputs, named: Sequence[str], out: Path, face: FaceRule
) -> Features:
    store = CropStore.open(inputs.crops) if inputs.crops else None
    if inputs.embeddings:
        return _read(Path(inputs.embeddings), inputs.array, store, named)
    assert inputs.model
    # A model file that cannot be used is found before the long alignment.
    embedder = inputs.make_embedder()
    notes = None
    if inputs.photos:
        store, notes = align_named(
            Path(inputs.photos),
            out / CROPS_FOLDER,
            named,
            face,
            embedder.template,
            inputs.max_pixels,
            others=sorted(out.parent.glob(f"*/{CROPS_FOLDER}")),
        )
    # A store in which no photo has a face is empty, and so is false.
    assert store is not None
    return _embed_named(embedder, inputs.model, store, named, notes)


def all_sources(inputs: Inputs) -> list[str]:
    """Every photo of the inputs, for protocols that name none."""
    if inputs.embeddings:
        return read_embeddings(inputs.embeddings, inputs.array).images
    if inputs.crops:
        store = CropStore.open(inputs.crops)
        return sorted({*store.sources, *store.failures})
    assert inputs.photos
    return [photo.source for photo in find_photos(inputs.photos).photos]


def embed_rows(
    embedder: Embedder, store: CropStore, rows: Sequence[int]
) -> Float[np.ndarray, "rows dim"]:
    """Embed some rows of a store, in pieces that fit any memory, with progress."""
    embeddings = np.empty((len(rows), embedder.embedding_size), np.float32)
    crops = store.crops_for(embedder.template)
    with progress_bar("embed", len(rows), "crops") as advance:
        for start in range(0, len(rows), _CHUNK_CROPS):
            chunk = slice(start, start + _CHUNK_CROPS)
            embeddings[chunk] = embedder.embed_crops(
                crops[list(rows[chunk])], advance=advance
            )
    return embeddings


def crop_finder(
    store: CropStore, named: Sequence[str] = ()
) -> Callable[[str], UInt8[np.ndarray, "height width 3"] | None]:
    """A function that gives the crop of a source, or None if it has none.

    Args:
        store: The crops.
        named: Sources as a protocol spells them, where the store may spell them
            otherwise.
    """
    row_of_key = {photo_key(source): row for row, source in enumerate(store.sources)}
    rows = match_photos(named, store.sources).rows.tolist()
    row_of_key |= {
        photo_key(source): row
        for source, row in zip(named, rows, strict=True)
        if row >= 0
    }

    def crop_of(source: str) -> UInt8[np.ndarray, "height width 3"] | None:
        row = row_of_key.get(photo_key(source))
        return None if row is None else np.asarray(store.crops[row])

    return crop_of


def bin_crop_finder(pair_bin: PairBin, template: Template) -> CropOf:
    """A function that gives the crop of a photo in a ``.bin``, or None if it has none.

    Args:
        pair_bin: The pair set.
        template: What the crops shall look like.
    """
    place_of = {source: place for place, source in enumerate(pair_bin.pairs.sources)}

    def crop_of(source: str) -> UInt8[np.ndarray, "height width 3"] | None:
        place = place_of[source]
        crops = pair_bin.decode(place, place + 1, template).crops
        return crops[0] if len(crops) else None

    return crop_of


def model_settings(embedder: Embedder, model: str | Path) -> dict[str, Setting]:
    """What a report says about the model."""
    header = embedder.header
    return {
        "model": str(model),
        "model_fingerprint": embedder.model_fingerprint,
        "network": header.network,
        "mirror": header.mirror,
        "training_data": header.training_data,
        "computed_by": str(embedder.started),
    }


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal digits.

    That of a folder is of the names and the SHA-256 of the files below it.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        names = (f"{sha256(file)} {file.relative_to(path)}\n" for file in files)
        return hashlib.sha256("".join(names).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(
    path: Path, array: str | None, store: CropStore | None, named: Sequence[str]
) -> Features:
    file = read_embeddings(path, array)
    settings: dict[str, Setting] = {
        "embeddings": str(path),
        "embeddings_sha256": sha256(path),
    }
    if store is not None:
        settings["crops"] = str(store.folder)
    if file.model_fingerprint:
        settings["model_fingerprint"] = file.model_fingerprint
    crop_of = None if store is None else crop_finder(store, named)
    notes = match_photos(named, file.images).notes
    return Features(file.embeddings, file.images, settings, {}, crop_of, notes, store)


def _embed_named(
    embedder: Embedder,
    model: str | Path,
    store: CropStore,
    named: Sequence[str],
    notes: tuple[str, ...] | None,
) -> Features:
    reason_of = list(store.failures.values())
    matches = match_photos(named, [*store.sources, *store.failures])
    rows = matches.rows.tolist()
    with_crop = [place for place, row in enumerate(rows) if 0 <= row < len(store)]
    # In the order of the store, so that batches do not depend on the names.
    with_crop.sort(key=rows.__getitem__)
    embeddings = embed_rows(embedder, store, [rows[place] for place in with_crop])
    # The ledger is by the photo's own name, the report by the protocol's name.
    reasons = {
        name: reason_of[row - len(store)]
        for name, row in zip(named, rows, strict=True)
        if row >= len(store)
    }
    return Features(
        embeddings,
        [named[place] for place in with_crop],
        {**model_settings(embedder, model), "crops": str(store.folder)},
        reasons,
        crop_finder(store, named),
        matches.notes if notes is None else notes,
        store,
    )
