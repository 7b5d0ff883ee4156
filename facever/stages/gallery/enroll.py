"""``facever gallery create`` and ``add``: make a gallery, enroll people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facever.errors import GalleryError, ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.enrollment import Enrollment, enroll
from facever.gallery.opening import Place, create_gallery, gallery_exists, open_gallery
from facever.inference.embedder import Embedder, load
from facever.inference.embeddings_file import read_embeddings
from facever.inference.model_file import ModelHeader
from facever.progress import progress_bar
from facever.stages.gallery.faces import find_faces, is_photo
from facever.stages.gallery.fields import parse_fields


def create(
    gallery: Place,
    model: Path | None = None,
    embedding_size: int | None = None,
    index: str = "exact",
) -> None:
    """Make an empty gallery for a model, or for embeddings of any model.

    Args:
        gallery: A folder that is not there yet, or is empty; or a URL.
        model: The model file to embed with.
        embedding_size: Numbers in an embedding; without a model.
        index: What to search with; see ``create_gallery``.

    Raises:
        ParameterError: Unless one of the two is given, or ``index`` is unknown.
        GalleryError: If there is a gallery already.
        FileError: If a path is missing or in the way.
    """
    if (model is None) == (embedding_size is None):
        raise ParameterError("give either --model or --embedding-size")
    if model is not None:
        _create_for(gallery, load(model), index).close()
    else:
        assert embedding_size is not None
        create_gallery(gallery, embedding_size, index=index).close()
    print(f"{gallery}: an empty gallery")


def add(
    gallery: Place,
    model: Path | None,
    photos: Path,
    name: str | None = None,
    fields: Sequence[str] = (),
) -> Enrollment:
    """Enroll faces; the gallery is made if it is not there yet.

    Of a photo with several faces the largest is taken. What is enrolled under its name
    already stays as it is. What could not be enrolled, such as photos without a face,
    is printed with the reason.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file to embed with; it must be the one of the gallery. An
            embeddings file needs none.
        photos: A photo, a folder of identity folders, a list file, a crop store or an
            ``.npz`` of embeddings. In a folder, and an ``.npz``, a photo belongs to its
            topmost folder, or, if it lies in none, to the person that the file is named
            after.
        name: Whose they are, all of them. A single photo needs it.
        fields: What else is known of them, each ``key=value``.

    Raises:
        ParameterError: If a single photo has no name, or there is no model.
        FileError: If a path is missing or not of its kind.
        MismatchError: If the gallery was made for another model.
        GalleryError: If nothing could be enrolled.
    """
    if name is None and is_photo(photos):
        raise ParameterError(f"{photos}: whose photo is this? say so with --name NAME")
    known_of = parse_fields(fields)
    embedder = None if model is None else load(model)
    faces = find_faces(photos, embedder, name)
    with (
        _open_or_create(gallery, embedder, photos) as people,
        progress_bar("enroll", len(faces.names), "faces") as advance,
    ):
        done = enroll(people, faces, known_of, advance)
        num_people, num_embeddings = len(people.names()), len(people)
    for source, reason in done.left_out.items():
        print(f"  left out {source}: {reason}")
    print(
        f"{gallery}: {done.num_added} enrolled, {done.num_known} were there already, "
        f"{len(done.left_out)} left out; now {num_embeddings} faces of {num_people} "
        "people"
    )
    if not done.num_added + done.num_known:
        raise GalleryError(
            f"{photos}: no face could be enrolled, for the reasons above; take photos "
            "with an upright face of at least 20 pixels"
        )
    return done


def _open_or_create(
    gallery: Place, embedder: Embedder | None, photos: Path
) -> AnyGallery:
    if gallery_exists(gallery):
        return open_gallery(gallery, fingerprint_of(embedder, photos))
    if embedder is not None:
        return _create_for(gallery, embedder)
    file = read_embeddings(photos)
    return create_gallery(gallery, file.embeddings.shape[1], file.model_fingerprint)


def _create_for(gallery: Place, embedder: Embedder, index: str = "exact") -> AnyGallery:
    return create_gallery(
        gallery,
        embedder.embedding_size,
        embedder.model_fingerprint,
        model_details(embedder.header),
        index,
    )


def model_details(header: ModelHeader) -> dict[str, Any]:
    """What ``gallery info`` says of a model."""
    return {
        "network": header.network,
        "mirror": header.mirror,
        "mean": header.mean,
        "scale": header.scale,
        "training_data": header.training_data,
        "licence": header.licence,
    }


def fingerprint_of(embedder: Embedder | None, photos: Path) -> str | None:
    """Of the model that made the embeddings of photos, or of an ``.npz``.

    Raises:
        ParameterError: If photos come without a model.
    """
    if embedder is not None:
        return embedder.model_fingerprint
    if photos.suffix == ".npz":
        return read_embeddings(photos).model_fingerprint
    raise ParameterError(f"{photos}: name the model to embed it with: --model FILE")
