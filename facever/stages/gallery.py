"""The stage ``facever gallery``: enroll people, and ask who is on a photo."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from facever.data.crops import CropStore
from facever.data.store_folder import FAILURES_FILE, STORE_FILE
from facever.errors import DataError, GalleryError, ParameterError, PhotoError
from facever.faces.aligner import NO_FACE, PhotoAligner
from facever.faces.detection import FaceRule
from facever.faces.photos import DEFAULT_MAX_PIXELS
from facever.faces.sources import PHOTO_SUFFIXES, PhotoSource, list_photos
from facever.gallery.enrollment import (
    Enrollment,
    PhotoFaces,
    StoreFaces,
    enroll,
)
from facever.gallery.gallery import Gallery, GalleryInfo, Match
from facever.inference.embedder import Embedder, load
from facever.inference.model_file import ModelHeader
from facever.progress import progress_bar


def add(
    gallery: Path, model: Path, photos: Path, name: str | None = None
) -> Enrollment:
    """Enroll photos or crops; the gallery is made if it is not there yet.

    Of a photo with several faces the largest is taken. What is enrolled under its name
    already stays as it is. Photos without a face, and those that cannot be read, are
    printed with the reason.

    Args:
        gallery: The gallery's folder.
        model: The model file to embed with; it must be the one of the gallery.
        photos: A photo, a folder of identity folders, a list file or a crop store. In
            a folder, a photo belongs to its topmost folder, or, if it lies in none, to
            the person that the file is named after.
        name: Whose they are, all of them. A single photo needs it.

    Raises:
        ParameterError: If a single photo has no name.
        FileError: If a path is missing or not of its kind.
        MismatchError: If the gallery was made for another model.
        GalleryError: If nothing could be enrolled.
    """
    faces = _find_faces(photos, name)
    embedder = load(model)
    with (
        _open_or_create(gallery, embedder) as people,
        progress_bar("enroll", len(faces.names), "faces") as advance,
    ):
        done = enroll(people, faces, embedder, advance)
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


def search(
    gallery: Path, model: Path, photo: Path, k: int = 5, as_json: bool = False
) -> list[Match]:
    """Print who in a gallery resembles the largest face of a photo.

    Args:
        gallery: The gallery's folder.
        model: The model file to embed with; it must be the one of the gallery.
        photo: With at least one face.
        k: How many matches to print, at least 1.
        as_json: Print one JSON object in place of a table.

    Raises:
        PhotoError: If the photo cannot be read.
        DataError: If no face is found in it.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        GalleryError: If the gallery is empty.
        ParameterError: If ``k`` is below 1.
    """
    embedder = load(model)
    with Gallery(gallery, embedder.model_fingerprint) as people:
        if not len(people):
            raise GalleryError(
                f"{gallery}: nobody is enrolled yet; add photos with gallery add"
            )
        source = PhotoSource(str(photo), "", photo)
        [aligned] = _make_aligner("all").align([source])
        if aligned.reason is not None:
            kind = DataError if aligned.reason == NO_FACE else PhotoError
            raise kind(f"{photo}: {aligned.reason}")
        # The largest face comes first.
        embeddings = embedder.embed_crops(aligned.crops[:1])
        [matches] = people.search(embeddings, k)
    num_faces = len(aligned.crops)
    if as_json:
        _print_json(_describe(photo, num_faces, embedder.header, matches))
    else:
        _print_matches(photo, num_faces, embedder.header, matches)
    return matches


def list_people(gallery: Path, as_json: bool = False) -> dict[str, int]:
    """Print each person of a gallery and how many photos of theirs are enrolled.

    Args:
        gallery: The gallery's folder.
        as_json: Print one JSON object, name to count, in place of a table.

    Raises:
        FileError: If there is no gallery, or it is damaged.
    """
    with Gallery(gallery) as people:
        names = people.names()
    if as_json:
        _print_json(names)
    else:
        _print_table(["name", "photos"], [[name, str(names[name])] for name in names])
    return names


def info(gallery: Path, as_json: bool = False) -> GalleryInfo:
    """Print what a gallery holds and for which model it was made.

    Args:
        gallery: The gallery's folder.
        as_json: Print one JSON object in place of a table.

    Raises:
        FileError: If there is no gallery, or it is damaged.
    """
    with Gallery(gallery) as people:
        found = people.info()
    facts = {"gallery": str(gallery), **asdict(found)}
    if as_json:
        _print_json(facts)
        return found
    details = facts.pop("model_details")
    facts["model_fingerprint"] = found.model_fingerprint or "none: takes any embeddings"
    facts |= {f"model's {key}": value for key, value in details.items()}
    _print_table(["", ""], [[key, str(value)] for key, value in facts.items()])
    return found


def _find_faces(photos: Path, name: str | None) -> PhotoFaces | StoreFaces:
    if name is not None and not name.strip():
        raise ParameterError(f"name must not be empty, got {name!r}")
    if (photos / STORE_FILE).exists():
        store = CropStore.open(photos)
        faces: PhotoFaces | StoreFaces = StoreFaces(store)
        if store.failures:
            print(
                f"{photos}: {len(store.failures)} photos have no crop in this store; "
                f"{photos / FAILURES_FILE} says why"
            )
    else:
        faces = PhotoFaces(_find_photos(photos, name), _make_aligner("largest"))
    if name is not None:
        faces.names = [name] * len(faces.names)
    return faces


def _find_photos(photos: Path, name: str | None) -> list[PhotoSource]:
    if photos.is_dir() or photos.suffix.lower() not in PHOTO_SUFFIXES:
        return list_photos(photos).photos
    if name is None:
        raise ParameterError(f"{photos}: whose photo is this? say so with --name NAME")
    if not photos.exists():
        raise PhotoError(f"{photos}: no such photo")
    return [PhotoSource(photos.name, name, photos)]


def _make_aligner(face: FaceRule) -> PhotoAligner:
    from facever.faces.detection import MtcnnDetector

    return PhotoAligner(
        detect=MtcnnDetector().detect, face=face, max_pixels=DEFAULT_MAX_PIXELS
    )


def _open_or_create(gallery: Path, embedder: Embedder) -> Gallery:
    if gallery.is_file() or (gallery.is_dir() and any(gallery.iterdir())):
        return Gallery(gallery, embedder.model_fingerprint)
    header = embedder.header
    details = {
        "network": header.network,
        "mirror": header.mirror,
        "mean": header.mean,
        "scale": header.scale,
        "training_data": header.training_data,
        "licence": header.licence,
    }
    return Gallery.create(
        gallery, embedder.embedding_size, embedder.model_fingerprint, details
    )


def _describe(
    photo: Path, num_faces: int, header: ModelHeader, matches: Sequence[Match]
) -> dict[str, Any]:
    threshold = header.threshold
    return {
        "photo": str(photo),
        "num_faces": num_faces,
        "face": "largest",
        "threshold": threshold,
        "threshold_far": header.threshold_far,
        "matches": [
            asdict(match)
            | {"same": None if threshold is None else match.cosine > threshold}
            for match in matches
        ],
    }


def _print_matches(
    photo: Path, num_faces: int, header: ModelHeader, matches: Sequence[Match]
) -> None:
    faces = "its only face" if num_faces == 1 else f"the largest of {num_faces} faces"
    print(f"{photo}: {faces}")
    threshold = header.threshold
    columns = ["", "name", "cosine", "photo"]
    rows = [
        [str(rank), match.name, f"{match.cosine:.4f}", match.source]
        for rank, match in enumerate(matches, start=1)
    ]
    if threshold is not None:
        columns.insert(3, "same person")
        for row, match in zip(rows, matches, strict=True):
            row.insert(3, "yes" if match.cosine > threshold else "no")
    _print_table(columns, rows)
    if threshold is None:
        print("The model file sets no threshold: these are the nearest, whoever it is.")
    else:
        far = header.threshold_far
        rate = "" if far is None else f", set for a false accept rate of {far:g}"
        print(f"Same person: cosine above {threshold:.4f}{rate}.")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(show_header=any(columns))
    for column in columns:
        right = column in ("", "cosine", "photos") and len(columns) > 2
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Names are what people typed: they are not markup.
    Console(markup=False, highlight=False).print(table)


def _print_json(content: object) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=2))
