"""The stages ``facever gallery create`` and ``add``: make a gallery, enroll people."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from facever.choices import DEFAULT_FACE, DEFAULT_MAX_PIXELS, Backend, Detector, OneFace
from facever.data.sources.videos import is_video_file
from facever.errors import GalleryError, ParameterError
from facever.gallery.base import AnyGallery, NamedPhoto, Place
from facever.gallery.enrollment import enroll
from facever.gallery.opening import (
    check_gallery_place,
    create_gallery,
    gallery_exists,
    open_gallery,
)
from facever.inference.embedder import Embedder, load
from facever.inference.embeddings_file import check_array, read_embeddings
from facever.progress import progress_bar
from facever.results import Result, counted
from facever.stages.gallery.faces import (
    choose_embedder,
    detector_in_use,
    find_faces,
    is_photo,
)
from facever.stages.gallery.fields import parse_fields

_MOST_REASONS = 5


@dataclass(frozen=True)
class NewGallery(Result):
    """An empty gallery that was made.

    Attributes:
        gallery: The gallery's folder or URL.
        embedding_size: Number of values in an embedding.
        index: Kind of index that the gallery will be searched with.
    """

    gallery: str
    embedding_size: int
    index: str

    def lines(self) -> list[str]:
        """One line that names the gallery."""
        return [f"{self.gallery}: an empty gallery"]


@dataclass(frozen=True)
class EnrollSummary(Result):
    """What was enrolled, and what the gallery holds after that.

    Attributes:
        gallery: The gallery's folder or URL.
        num_added: Photos or crops that are new in the gallery.
        num_known: Photos or crops that were enrolled under their name already.
        left_out: The source of each photo that could not be enrolled, and the reason.
        num_embeddings: Photos that are enrolled now.
        num_people: People who are enrolled now.
        changed: The source of each known photo whose file has other bytes than when it
            was enrolled.
        num_replaced: How many of these were embedded again.
        several: How many faces there are on each new photo that shows more than one.
        face: Which of these was enrolled.
        alike: Photos that are the same, byte by byte, under several names.
        renamed: What new photos are called in the gallery whose source another photo of
            their person has already, by that source.
        notes: What else there is to know about the photos' source, a line each.
    """

    gallery: str
    num_added: int
    num_known: int
    left_out: dict[str, str]
    num_embeddings: int
    num_people: int
    changed: list[str]
    num_replaced: int
    several: dict[str, int]
    face: OneFace
    alike: list[list[NamedPhoto]]
    renamed: dict[str, str]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Each photo that was left out or leaves a doubt, and the totals."""
        return [
            *(f"  {note}" for note in self.notes),
            *(f"  left out {photo}: {why}" for photo, why in self.left_out.items()),
            *self._doubts(),
            f"{self.gallery}: {self.num_added} enrolled, {self.num_known} were there "
            f"already, {len(self.left_out)} left out; now {self.num_embeddings} faces "
            f"of {self.num_people} people",
        ]

    def _doubts(self) -> list[str]:
        lines = []
        if self.several:
            photos = [f"{photo} ({num})" for photo, num in self.several.items()]
            lines.append(
                f"  several faces on {counted(len(photos), 'photo')}, enrolled is the "
                f"one by --face {self.face}: {_some(photos)}"
            )
        if self.changed:
            done = (
                f"{self.num_replaced} of them were embedded again"
                if self.num_replaced
                else "they stay as they were enrolled; embed them again with --replace"
            )
            lines.append(
                f"  {len(self.changed)} photos have changed since they were enrolled, "
                f"{done}: {_some(self.changed)}"
            )
        if self.renamed:
            names = [f"{source} as {new}" for source, new in self.renamed.items()]
            lines.append(
                f"  {len(names)} photos are called as another photo of their person, "
                f"which is kept, and enrolled by another name: {_some(names)}"
            )
        if self.alike:
            groups = [
                " and ".join(f"{source} of {name}" for name, source in photos)
                for photos in self.alike
            ]
            lines.append(
                f"  {len(groups)} photos are enrolled under several names; remove the "
                f"wrong one with gallery remove: {_some(groups)}"
            )
        return lines


def create(
    gallery: Place,
    *,
    model: str | Path | None = None,
    embedding_size: int | None = None,
    index: str = "exact",
) -> NewGallery:
    """Make an empty gallery for a model, or for embeddings of any model.

    Args:
        gallery: A folder that does not exist yet, or is empty; or a URL.
        model: The model file whose embeddings the gallery will hold.
        embedding_size: Number of values in an embedding, if there is no model file.
        index: Kind of index to search with; see ``create_gallery``.

    Raises:
        ParameterError: Unless exactly one of ``model`` and ``embedding_size`` is given,
            or if ``index`` is unknown.
        GalleryError: If there is a gallery already.
        FileError: If the model file is missing, or something else is at this place.
    """
    if (model is None) == (embedding_size is None):
        raise ParameterError("give either --model or --embedding-size")
    check_gallery_place(gallery)
    if model is not None:
        made = create_for(gallery, load(model), index)
    else:
        assert embedding_size is not None
        made = create_gallery(gallery, embedding_size, index=index)
    with made:
        info = made.info()
    return NewGallery(str(gallery), info.embedding_size, info.index)


def add(
    gallery: Place,
    model: str | Path | None,
    photos: str | Path,
    *,
    name: str | None = None,
    fields: Sequence[str] = (),
    detector: Detector | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    face: OneFace = DEFAULT_FACE,
    replaces: bool = False,
    array: str | None = None,
    frames: str = "all",
    identity: str | None = None,
    backend: Backend = "auto",
) -> EnrollSummary:
    """Enroll faces; the gallery is made if it does not exist yet.

    One face of a photo that shows several is enrolled, and the photo is told. A photo
    that is enrolled under its name already stays as it is; if its file has changed
    since, that is told, as is a photo under several names.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file to embed with, which must be the gallery's; None for the
            ready model, and for an embeddings file.
        photos: A source of photos, see ``find_photos``; a crop store, whose crops are
            taken as they are; or an ``.npz`` of embeddings. In a folder or an ``.npz``,
            a photo belongs to the person whom its topmost folder is named after, or, if
            it lies in no folder, the person whom the file is named after, or as
            ``identity`` says.
        name: The person on all of the photos. A single photo or video needs it.
        fields: Further facts about the photos, each as ``key=value``.
        detector: How faces are found in photos without known landmarks; None for the
            gallery's way, which is the first that was used.
        max_pixels: Height times width of the largest photo that is read.
        face: Which face to enroll of a photo that has several.
        replaces: Whether a photo whose file has changed since it was enrolled is
            embedded again.
        array: What an ``.npz`` calls its arrays, see ``read_embeddings``.
        frames: Which frames of a video are taken; see ``find_photos``.
        identity: The person on each photo by its path: ``top``, ``parent`` or a regular
            expression, see ``name_people``.
        backend: What computes the networks; see ``Embedder``.

    Raises:
        ParameterError: If a single photo or video has no name, name and identity are
            given together, or ``face`` is no choice of one face.
        DataError: If ``identity`` finds nobody in a path, or ``train/`` and ``test/``
            would be people.
        FileError: If a path is missing or is not what it should be.
        MismatchError: If the gallery was made for another model.
        GalleryError: If nothing could be enrolled; the message gives some reasons.
    """
    photos = Path(photos)
    if name is not None and identity is not None:
        raise ParameterError(
            f"give either --name or --identity, got {name!r} and {identity!r}"
        )
    is_alone = is_photo(photos) or is_video_file(photos)
    if name is None and identity is None and is_alone:
        kind = "photo" if is_photo(photos) else "video"
        raise ParameterError(f"{photos}: whose {kind} is this? say so with --name NAME")
    if face not in get_args(OneFace):
        rules = ", ".join(get_args(OneFace))
        raise ParameterError(f"face must be one of {rules}, got {face!r}")
    check_array(array, photos.suffix == ".npz")
    known_of = parse_fields(fields)
    check_gallery_place(gallery)
    embedder = choose_embedder(
        model, photos, detector_in_use(gallery, detector), max_pixels, backend
    )
    faces = find_faces(
        photos,
        embedder,
        name,
        face,
        array,
        frames,
        identity,
        by_person=True,
    )
    with (
        _open_or_create(gallery, embedder, photos, array) as people,
        progress_bar("enroll", len(faces.names), "faces") as advance,
    ):
        done = enroll(people, faces, known_of, advance, replaces)
        num_people, num_embeddings = len(people.names()), len(people)
    if not done.num_added + done.num_known:
        raise GalleryError(
            f"{photos}: no face could be enrolled ({some_reasons(done.left_out)}); "
            "take photos with an upright face of at least 20 pixels"
        )
    return EnrollSummary(
        gallery=str(gallery),
        num_added=done.num_added,
        num_known=done.num_known,
        left_out=done.left_out,
        num_embeddings=num_embeddings,
        num_people=num_people,
        changed=done.changed,
        num_replaced=done.num_replaced,
        several=done.several,
        face=face,
        alike=done.alike,
        renamed=done.renamed,
        notes=faces.notes,
    )


def some_reasons(reasons: dict[str, str]) -> str:
    """The first few reasons in one line, and how many more there are.

    >>> some_reasons({"Ann/1.jpg": "no face found", "Bob.jpg": "is damaged"})
    'Ann/1.jpg: no face found; Bob.jpg: is damaged'
    """
    return _some([f"{what}: {why}" for what, why in reasons.items()])


def _some(texts: Sequence[str]) -> str:
    shown = [*texts[:_MOST_REASONS]]
    num_more = len(texts) - len(shown)
    return "; ".join([*shown, f"and {num_more} more"] if num_more else shown)


def _open_or_create(
    gallery: Place, embedder: Embedder | None, photos: Path, array: str | None
) -> AnyGallery:
    if gallery_exists(gallery):
        return open_gallery(gallery, embedding_model(embedder, photos, array))
    if embedder is not None:
        return create_for(gallery, embedder)
    file = read_embeddings(photos, array)
    return create_gallery(gallery, file.embeddings.shape[1], file.model_fingerprint)


def create_for(gallery: Place, embedder: Embedder, index: str = "exact") -> AnyGallery:
    """Make an empty gallery for a model.

    Raises:
        FaceverError: As ``create_gallery`` does.
    """
    return create_gallery(
        gallery,
        embedder.embedding_size,
        embedder.model_fingerprint,
        model_details(embedder),
        index,
    )


def model_details(embedder: Embedder) -> dict[str, Any]:
    """What ``gallery info`` says of a model, and of how its faces are found."""
    header = embedder.header
    return {
        "detector": embedder.detector,
        "crops": embedder.template.name,
        "network": header.network,
        "mirror": header.mirror,
        "mean": header.mean,
        "scale": header.scale,
        "training_data": header.training_data,
        "licence": header.licence,
    }


def embedding_model(
    embedder: Embedder | None, photos: Path, array: str | None = None
) -> str | None:
    """The fingerprint of the model that makes, or made, the embeddings of photos.

    Args:
        embedder: Makes the embeddings; None if ``photos`` holds embeddings.
        photos: The photos, or an ``.npz`` of embeddings.
        array: What the ``.npz`` calls its arrays, see ``read_embeddings``.
    """
    if embedder is not None:
        return embedder.model_fingerprint
    return read_embeddings(photos, array).model_fingerprint
