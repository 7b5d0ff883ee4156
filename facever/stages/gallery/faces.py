"""Faces for ``facever gallery`` from whatever a path names."""

import logging
from pathlib import Path

from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import FAILURES_FILE, STORE_FILE
from facever.errors import MismatchError, ParameterError
from facever.faces.photo_source import PHOTO_SUFFIXES
from facever.gallery.enrollment import (
    EmbeddingFaces,
    FaceSource,
    PhotoFaces,
    StoreFaces,
)
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import EmbeddingsFile, read_embeddings

_log = logging.getLogger(__name__)


def find_faces(
    path: Path, embedder: Embedder | None, name: str | None = None
) -> FaceSource:
    """Faces of whatever photos can be read from, of a crop store or of an ``.npz``.

    In a folder or an ``.npz``, a photo belongs to the person whom its topmost folder is
    named after, or, if it lies in no folder, whom the file is named after.

    Args:
        path: A source of photos, see ``find_photos``; a crop store, whose crops are
            taken as they are; or an ``.npz`` of embeddings.
        embedder: Makes the embeddings; None is enough for an ``.npz``.
        name: The person on all of the photos.

    Raises:
        ParameterError: If ``name`` is blank, or photos or crops come without a model.
        FileError: If a path is missing or is not what it should be.
        MismatchError: If an ``.npz`` is of another model.
    """
    if name is not None and not name.strip():
        raise ParameterError(f"name must not be empty, got {name!r}")
    faces: FaceSource
    if path.suffix == ".npz":
        faces = _embedded(read_embeddings(path), path, embedder)
    elif embedder is None:
        raise ParameterError(f"{path}: name the model to embed it with: --model FILE")
    elif (path / STORE_FILE).exists():
        store = CropStore.open(path)
        faces = StoreFaces(store, embedder)
        if store.failures:
            _log.warning(
                "%s: %s photos have no crop in this store; %s says why",
                path,
                len(store.failures),
                path / FAILURES_FILE,
            )
    else:
        listing = find_photos(path)
        faces = PhotoFaces(listing.photos, embedder, listing.has_landmarks)
    if name is not None:
        faces.names = [name] * len(faces.names)
    return faces


def is_photo(path: Path) -> bool:
    """Whether a path names a single photo, to judge by its suffix."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.is_dir()


def _embedded(
    file: EmbeddingsFile, path: Path, embedder: Embedder | None
) -> EmbeddingFaces:
    if embedder is not None and file.model_fingerprint != embedder.model_fingerprint:
        raise MismatchError(
            f"{path}: these embeddings are of model "
            f"{(file.model_fingerprint or 'unknown')[:12]}, not of "
            f"{embedder.model_fingerprint[:12]}; leave --model out to go by the file"
        )
    names = [
        image.split("/")[0] if "/" in image else Path(image).stem
        for image in file.images
    ]
    return EmbeddingFaces(names, file.images, file.embeddings)
