"""The stage ``facever evaluate``: a model or embeddings in, a report out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facever.data.crops import CropStore
from facever.errors import DataError, ParameterError
from facever.faces.sources import find_photos
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.models.hardware import Precision
from facever.progress import progress_bar
from facever.stages.align import align
from facever.verification.embeddings_file import read_embeddings
from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.page import Setting
from facever.verification.pca import default_num_components
from facever.verification.protocols import PairList, photo_key, read_lfw_pairs
from facever.verification.report import write_report
from facever.verification.worst_errors import CropOf

CROPS_FOLDER = "crops"
_CHUNK_CROPS = 1024


@dataclass(frozen=True)
class _Features:
    """Embeddings of photos, and how they came about."""

    embeddings: Float[np.ndarray, "images dim"]
    images: list[str]
    settings: dict[str, Setting]
    reasons: dict[str, str]


def evaluate_lfw(
    out: Path,
    pairs: Path,
    *,
    model: Path | None = None,
    photos: Path | None = None,
    crops: Path | None = None,
    embeddings: Path | None = None,
    pca: bool = True,
    pca_components: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> dict[str, Evaluation]:
    """Run LFW's View 2 and write its report.

    Give a model with photos (they are aligned into ``out/crops``; a run that was killed
    goes on there), a model with crops, or ready embeddings. Only what the pairs name is
    aligned and embedded. Crops given beside embeddings serve as pictures of the report.

    Args:
        out: Folder of the report.
        pairs: The official ``pairs.txt``.
        model: A model file.
        photos: Folder with ``<Name>/<Name>_0001.jpg``; another extension is fine.
        crops: A crop store of those photos.
        embeddings: An ``.npz`` with the arrays ``embeddings`` and ``images``.
        pca: Whether to compare after a PCA too. It is fitted for each fold on the other
            nine, and its number is the headline then.
        pca_components: Dimensions to keep, by default half of the embedding size.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``, ``bf16`` or ``fp32``.

    Returns:
        Evaluations by name, as in the report; the first is the headline, and the plain
        comparison is named ``cosine``.

    Raises:
        ParameterError: If the inputs are not one of the three combinations, or an
            option is out of its range.
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    _check_inputs(model, photos, crops, embeddings)
    if pca_components is not None and (not pca or pca_components < 1):
        raise ParameterError(
            "pca_components must be at least 1, and not given without PCA, got "
            f"{pca_components}"
        )
    pair_list = read_lfw_pairs(pairs)
    store = CropStore.open(crops) if crops else None
    if embeddings:
        features = _read_features(embeddings)
    else:
        assert model
        # A model file that cannot be used is found before the long alignment.
        embedder = Embedder(load_model(model), device, precision)
        if photos:
            store = _align_named(photos, out / CROPS_FOLDER, pair_list)
        assert store
        features = _embed_named(embedder, model, store, pair_list)
    size = features.embeddings.shape[1]
    kept = pca_components or default_num_components(size) if pca else None
    evaluations = _evaluate(features, pair_list, kept)
    settings: dict[str, Setting] = {
        "pairs": str(pairs),
        "pairs_sha256": _sha256(pairs),
        **features.settings,
        "embedding_size": size,
        "similarity": "cosine",
        "pca": f"to {kept} of {size} dimensions, fitted for each fold on the photos of "
        "the others"
        if kept
        else None,
        "thresholds": "all midpoints between neighbouring scores of the other folds, "
        "the mean of the best ones",
        "missing_photos": "their pairs score lowest and are rejected",
    }
    page = write_report(
        out,
        evaluations,
        f"LFW, {len(pair_list):,} pairs in {pair_list.num_folds} folds",
        settings,
        features.reasons,
        _pictures(store) if store else None,
    )
    _print_totals(evaluations, page)
    return evaluations


def _check_inputs(
    model: Path | None, photos: Path | None, crops: Path | None, embeddings: Path | None
) -> None:
    choices = "a model with photos, a model with crops, or embeddings"
    given = {
        "model": model,
        "photos": photos,
        "crops": crops,
        "embeddings": embeddings,
    }
    names = {name for name, path in given.items() if path}
    allowed = (
        {"model", "photos"},
        {"model", "crops"},
        {"embeddings"},
        {"embeddings", "crops"},
    )
    if names not in allowed:
        got = " and ".join(name for name in given if name in names) or "none of them"
        raise ParameterError(f"give {choices}; got {got}")


def _read_features(path: Path) -> _Features:
    file = read_embeddings(path)
    settings: dict[str, Setting] = {
        "embeddings": str(path),
        "embeddings_sha256": _sha256(path),
    }
    if file.model_fingerprint:
        settings["model_fingerprint"] = file.model_fingerprint
    return _Features(file.embeddings, file.images, settings, {})


def _align_named(photos: Path, out: Path, pairs: PairList) -> CropStore:
    wanted = {photo_key(source) for source in pairs.sources}
    found = {
        photo.source
        for photo in find_photos(photos)
        if photo_key(photo.source) in wanted
    }
    if not found:
        raise DataError(
            f"{photos} has none of the photos that the pairs name, such as "
            f"{pairs.left[0]}"
        )
    # LFW's photos are centred on the person that they are named after.
    align(photos, out, face="center", only=found)
    return CropStore.open(out)


def _embed_named(
    embedder: Embedder, model: Path, store: CropStore, pairs: PairList
) -> _Features:
    wanted = {photo_key(source) for source in pairs.sources}
    rows = np.array(
        [
            row
            for row, source in enumerate(store.sources)
            if photo_key(source) in wanted
        ],
        dtype=np.int64,
    )
    embeddings = np.empty((len(rows), embedder.embedding_size), np.float32)
    with progress_bar("embed", len(rows), "crops") as advance:
        for start in range(0, len(rows), _CHUNK_CROPS):
            chunk = slice(start, start + _CHUNK_CROPS)
            embeddings[chunk] = embedder.embed_crops(
                store.crops[rows[chunk]], advance=advance
            )
    header = embedder.header
    settings: dict[str, Setting] = {
        "model": str(model),
        "model_fingerprint": embedder.model_fingerprint,
        "network": header.network,
        "mirror": header.mirror,
        "training_data": header.training_data,
        "crops": str(store.folder),
    }
    # The ledger is by the photo's own name, the report by the pairs' name.
    source_of_key = {photo_key(source): source for source in pairs.sources}
    reasons = {
        source_of_key[photo_key(source)]: reason
        for source, reason in store.failures.items()
        if photo_key(source) in wanted
    }
    images = [store.sources[row] for row in rows.tolist()]
    return _Features(embeddings, images, settings, reasons)


def _evaluate(
    features: _Features, pairs: PairList, pca_components: int | None
) -> dict[str, Evaluation]:
    choices: dict[str, int | None] = {"cosine": None}
    if pca_components is not None:
        choices = {f"PCA to {pca_components}, cosine": pca_components, **choices}
    return {
        name: evaluate_pairs(features.embeddings, features.images, pairs, components)
        for name, components in choices.items()
    }


def _pictures(store: CropStore) -> CropOf:
    row_of_key = {photo_key(source): row for row, source in enumerate(store.sources)}

    def crop_of(source: str) -> UInt8[np.ndarray, "height width 3"] | None:
        row = row_of_key.get(photo_key(source))
        return None if row is None else np.asarray(store.crops[row])

    return crop_of


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print_totals(evaluations: Mapping[str, Evaluation], page: Path) -> None:
    for name, evaluation in evaluations.items():
        print(f"{name}: {summary_line(evaluation)}")
    print(f"report: {page}")


def summary_line(evaluation: Evaluation) -> str:
    """Accuracy, AUC, EER and TAR at FAR, and what was missing, in one line."""
    parts = [
        f"accuracy {100 * evaluation.accuracy:.2f} ± "
        f"{100 * evaluation.standard_error:.2f} %",
        f"AUC {100 * evaluation.auc:.3f} %",
        f"EER {100 * evaluation.eer:.2f} %",
    ]
    parts += [
        f"TAR@FAR {answer.target_far:g} "
        + ("needs more pairs" if answer.tar is None else f"{100 * answer.tar:.2f} %")
        for answer in evaluation.tar
    ]
    if evaluation.num_missing_pairs:
        parts.append(
            f"{evaluation.num_missing_pairs} pairs rejected, "
            f"{len(evaluation.missing)} photos missing"
        )
    return ", ".join(parts)
