"""Open or make the gallery at a place: a folder, or a URL of a database."""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facever.errors import ParameterError
from facever.files import check_folder_place
from facever.gallery.addresses import hide_password
from facever.gallery.base import AnyGallery, Place
from facever.gallery.indexes.index import EXACT

FOLDER = "folder"


def _folder() -> type[AnyGallery]:
    from facever.gallery.folder.gallery import Gallery

    return Gallery


def _qdrant() -> type[AnyGallery]:
    if find_spec("qdrant_client") is None:
        raise ParameterError(
            "a gallery in Qdrant, which is experimental, needs qdrant-client, which "
            "is not installed; pip install 'facever[qdrant]'"
        )
    from facever.gallery.qdrant.gallery import QdrantGallery

    return QdrantGallery


def _postgres() -> type[AnyGallery]:
    if find_spec("psycopg") is None:
        raise ParameterError(
            "a gallery in PostgreSQL needs psycopg, which is not installed; pip "
            "install 'facever[postgres]'"
        )
    from facever.gallery.postgres.gallery import PostgresGallery

    return PostgresGallery


GALLERIES: dict[str, Callable[[], type[AnyGallery]]] = {
    FOLDER: _folder,
    "postgresql": _postgres,
    "qdrant+http": _qdrant,
    "qdrant+https": _qdrant,
    "qdrant+memory": _qdrant,
}
"""The back end for each scheme of a URL; ``folder`` is the one for a path.

A row is a function, so that a back end, and what it needs, is imported only for its
own galleries. ``qdrant+memory`` is for tests: the gallery lives in this process alone.
"""


def open_gallery(place: Place, model_fingerprint: str | None = None) -> AnyGallery:
    """Open a gallery.

    Args:
        place: The gallery's folder, or a URL such as
            ``postgresql://ann@localhost/faces?gallery=people``.
        model_fingerprint: The model that makes the embeddings to add or to search with.
            A gallery that was made for a model must be told; to look at entries, rename
            and remove them, it need not be.

    Raises:
        ParameterError: If the URL is not a gallery's, or its driver is missing.
        FileError: If there is no gallery, it is damaged, or no server answers.
        GalleryError: If another version of facever made it.
        MismatchError: If it was made for another model.
    """
    return _backend(place).open(place, model_fingerprint)


def create_gallery(
    place: Place,
    embedding_size: int,
    model_fingerprint: str | None = None,
    model_details: Mapping[str, Any] | None = None,
    index: str = EXACT,
) -> AnyGallery:
    """Make an empty gallery and open it.

    Args:
        place: A folder or URL where there is nothing yet.
        embedding_size: Number of values in an embedding, at least 1.
        model_fingerprint: The model whose embeddings, and no others, it takes; None if
            it takes any of the right size.
        model_details: What ``info`` says of that model.
        index: Kind of index to search with: one of ``INDEXES``, or ``auto``, which
            chooses by the gallery's size. PostgreSQL has ``exact``, ``hnsw`` and
            ``halfvec``; Qdrant, which is experimental, ``exact`` alone.

    Raises:
        ParameterError: If an argument is out of its range, or its driver is missing.
        GalleryError: If there is a gallery already.
        FileError: If there is something else, or it cannot be made.
    """
    return _backend(place).create(
        place, embedding_size, model_fingerprint, model_details, index
    )


def gallery_exists(place: Place) -> bool:
    """Whether a gallery cannot be made at a place since something is there.

    Raises:
        ParameterError: If the URL is not a gallery's, or its driver is missing.
        FileError: If no server answers.
    """
    return _backend(place).exists(place)


def check_gallery_place(place: Place) -> None:
    """Refuse a folder that cannot be written, before long work.

    A database says by itself what is wrong, when it is opened.

    Raises:
        FileError: If a file is there, or nothing can be written there.
    """
    if _scheme(place) == FOLDER:
        check_folder_place(Path(place))


# No folder, but a URL without a slash, as one that was made a Path, or without a colon;
# or an address in the other form that PostgreSQL's own programs take.
_MISTYPED = re.compile(
    r"(?:postgres|qdrant)[a-z+]*(?::|//)|(?:.*\s)?password\s*=", re.IGNORECASE
)


def _scheme(place: Place) -> str:
    scheme, separator, _ = str(place).partition("://")
    if separator:
        return scheme
    mistyped = _MISTYPED.match(str(place))
    return mistyped.group() if mistyped else FOLDER


def _backend(place: Place) -> type[AnyGallery]:
    scheme = _scheme(place)
    if scheme not in GALLERIES:
        other = "; write postgresql:// in place of postgres://"
        raise ParameterError(
            "a gallery's URL must be postgresql://USER@HOST/DATABASE?gallery=NAME or "
            "qdrant+http://HOST:PORT/COLLECTION (experimental), got "
            f"{hide_password(str(place))!a}" + (other if scheme == "postgres" else "")
        )
    return GALLERIES[scheme]()
