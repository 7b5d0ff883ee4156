"""Faces for ``facever gallery`` from whatever a path names."""

import logging
from pathlib import Path

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    Backend,
    Detector,
    OneFace,
)
from facever.data.sources.any_source import find_photos
from facever.data.sources.identities import (
    describe_people,
    identity_rule,
    settle_people,
)
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import FAILURES_FILE, STORE_FILE
from facever.errors import DataError, FileError, MismatchError, ParameterError
from facever.faces.detectors import DEFAULT_DETECTOR
from facever.faces.photo_source import PHOTO_SUFFIXES
from facever.files import address_hint
from facever.gallery.base import Place
from facever.gallery.enrollment import (
    EmbeddingFaces,
    FaceSource,
    PhotoFaces,
    StoreFaces,
)
from facever.gallery.opening import gallery_exists, open_gallery
from facever.inference.embedder import Embedder, load
from facever.inference.embeddings_file import (
    SAYS_ITS_MODEL,
    EmbeddingsFile,
    read_embeddings,
)
from facever.inference.vectors import check_directions

_log = logging.getLogger(__name__)


def find_faces(
    path: Path,
    embedder: Embedder | None,
    name: str | None = None,
    face: OneFace = DEFAULT_FACE,
    array: str | None = None,
    frames: str = "all",
    identity: str | None = None,
    by_person: bool = False,
) -> FaceSource:
    """Faces of whatever photos can be read from, of a crop store or of an ``.npz``.

    In a folder or an ``.npz``, a photo belongs to the person whom its topmost folder is
    named after, or, if it lies in no folder, whom the file is named after.

    Args:
        path: A source of photos, see ``find_photos``; a crop store, whose crops are
            taken as they are; or an ``.npz`` of embeddings.
        embedder: Makes the embeddings; None for an ``.npz`` alone.
        name: The person on all of the photos.
        face: Which face to take of a photo that has several.
        array: What an ``.npz`` calls its arrays, see ``read_embeddings``.
        frames: Which frames of a video are taken; see ``find_photos``.
        identity: The person on each photo by its path, see ``name_people``, in place of
            what its source says.
        by_person: Whether it matters who is on the photos: doubts are asked about or
            noted.

    Raises:
        ParameterError: If ``name`` is blank, or ``identity`` is no rule.
        DataError: If ``identity`` finds nobody in a path, ``train/`` and ``test/``
            would be people, or an embedding is zero or not finite.
        FileError: If a path is missing or is not what it should be.
        MismatchError: If an ``.npz`` is of another model.
    """
    if name is not None and not name.strip():
        raise ParameterError(f"name must not be empty, got {name!r}")
    faces: FaceSource
    if path.suffix == ".npz":
        faces = _embedded(read_embeddings(path, array), path, embedder)
    elif (path / STORE_FILE).exists():
        assert embedder is not None
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
        assert embedder is not None
        listing = find_photos(path, frames)
        if by_person and name is None:
            listing = settle_people(listing, identity)
        faces = PhotoFaces(listing.photos, embedder, listing.has_landmarks, face)
        if by_person:
            people = describe_people(listing) if name is None else []
            faces.notes = (*people, *listing.notes)
    if name is not None:
        faces.names = [name] * len(faces.names)
    elif identity is not None and not isinstance(faces, PhotoFaces):
        faces.names = list(map(identity_rule(identity), faces.sources))
    return faces


def choose_embedder(
    model: str | Path | None,
    photos: Path,
    detector: Detector,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    backend: Backend = "auto",
) -> Embedder | None:
    """What embeds photos; None where they are embeddings and no model is named.

    Args:
        model: A model file, or a ready model's name; None for the default.
        photos: The photos, or an ``.npz`` of embeddings.
        detector: How faces are found.
        max_pixels: Height times width of the largest photo that is read.
        backend: What computes the networks; see ``Embedder``.

    Raises:
        ModelFileError: If the model cannot be used.
        FileError: If there is nothing at the photos' path.
    """
    if model is None and photos.suffix == ".npz":
        return None
    # A model takes seconds to load: what is not there is said before.
    if not photos.exists():
        raise FileError(
            f"no photos at {photos}: no such file or folder{address_hint(photos)}"
        )
    return load(
        model or DEFAULT_MODEL,
        detector=detector,
        max_pixels=max_pixels,
        backend=backend,
    )


def detector_in_use(gallery: Place, asked: Detector | None = None) -> Detector:
    """How faces are found for a gallery: as is asked, or as when it was made.

    Faces that another detector places are other crops, and less similar to themselves.
    """
    if asked is not None or not gallery_exists(gallery):
        return asked or DEFAULT_DETECTOR
    with open_gallery(gallery) as people:
        kept: Detector = people.info().model_details.get("detector", DEFAULT_DETECTOR)
    return kept


def is_photo(path: Path) -> bool:
    """Whether a path names a single photo, to judge by its suffix."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.is_dir()


def _embedded(
    file: EmbeddingsFile, path: Path, embedder: Embedder | None
) -> EmbeddingFaces:
    model = file.model_fingerprint
    if embedder is not None and model is None:
        raise MismatchError(
            f"{path}: the file does not say whose embeddings these are, and those of "
            f"model {embedder.model_fingerprint[:12]} are asked for; {SAYS_ITS_MODEL}"
        )
    if embedder is not None and model != embedder.model_fingerprint:
        raise MismatchError(
            f"{path}: these embeddings are of model {str(model)[:12]}, not of "
            f"{embedder.model_fingerprint[:12]}; leave --model out to go by the file"
        )
    try:
        check_directions(file.embeddings, file.images)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    names = [
        image.split("/")[0] if "/" in image else Path(image).stem
        for image in file.images
    ]
    return EmbeddingFaces(names, file.images, file.embeddings)
