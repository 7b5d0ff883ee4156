"""A gallery by its place: a folder, or the URL of a collection in a Qdrant database."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facever.errors import ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.folder.gallery import Gallery
from facever.gallery.indexes.index import EXACT

# A folder, or qdrant+http://HOST:PORT/COLLECTION; see qdrant_collection.connect.
Place = Path | str


def is_url(place: Place) -> bool:
    """Whether a place is a URL, not a folder."""
    return isinstance(place, str) and "://" in place


def open_gallery(place: Place, model_fingerprint: str | None = None) -> AnyGallery:
    """Open a gallery.

    Args:
        place: Its folder, or a URL such as ``qdrant+http://localhost:6333/people``.
        model_fingerprint: Of the model that makes the embeddings to add or search
            with; see ``Gallery``.

    Raises:
        ParameterError: If the URL is none, or qdrant-client is not installed.
        FileError: If there is no gallery, it is damaged, or no server answers.
        GalleryError: If another version of facever made it.
        MismatchError: If it was made for another model.
    """
    if not is_url(place):
        return Gallery(place, model_fingerprint)
    _check_client(place)
    from facever.gallery.qdrant.collection import connect
    from facever.gallery.qdrant.gallery import QdrantGallery

    collection = connect(str(place))
    try:
        return QdrantGallery(collection, model_fingerprint)
    except BaseException:
        collection.close()
        raise


def create_gallery(
    place: Place,
    embedding_size: int,
    model_fingerprint: str | None = None,
    model_details: Mapping[str, Any] | None = None,
    index: str = EXACT,
) -> AnyGallery:
    """Make an empty gallery and open it.

    Args:
        place: A folder or URL with nothing there yet.
        embedding_size: Numbers in an embedding, at least 1.
        model_fingerprint: Of the model whose embeddings, and no others, it takes.
        model_details: Kept for ``info``.
        index: What a folder is searched with; a database knows ``exact`` alone.

    Raises:
        ParameterError: If an argument is out of its range, or qdrant-client is not
            installed.
        GalleryError: If there is a gallery already.
        FileError: If there is something else, or it cannot be made.
    """
    if not is_url(place):
        return Gallery.create(
            place, embedding_size, model_fingerprint, model_details, index
        )
    if index != EXACT:
        raise ParameterError(
            f"index must be {EXACT} for a gallery in a database, got {index!r}"
        )
    _check_client(place)
    from facever.gallery.qdrant.collection import connect
    from facever.gallery.qdrant.gallery import QdrantGallery

    collection = connect(str(place))
    try:
        return QdrantGallery.create(
            collection, embedding_size, model_fingerprint, model_details
        )
    except BaseException:
        collection.close()
        raise


def gallery_exists(place: Place) -> bool:
    """Whether there is something at a place, which a gallery cannot be made over.

    Raises:
        ParameterError: If the URL is none, or qdrant-client is not installed.
        FileError: If no server answers.
    """
    if not is_url(place):
        path = Path(place)
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    _check_client(place)
    from facever.gallery.qdrant.collection import connect

    collection = connect(str(place))
    try:
        return collection.exists()
    finally:
        collection.close()


def _check_client(place: Place) -> None:
    if find_spec("qdrant_client") is None:
        raise ParameterError(
            f"{place}: this needs qdrant-client, which is not installed; pip install "
            "'facever[qdrant]'"
        )
