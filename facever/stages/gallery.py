"""The stage ``facever gallery``: make one, enroll people, ask who is on a photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facever.errors import DataError, GalleryError, ParameterError, PhotoError
from facever.faces.aligner import NO_FACE
from facever.faces.sources import PhotoSource
from facever.gallery.answering import answer, is_same, threshold_rule
from facever.gallery.enrollment import Enrollment, enroll
from facever.gallery.entries import Filter, Match
from facever.gallery.gallery import Gallery
from facever.gallery.searching import By
from facever.inference.embedder import Embedder, load
from facever.inference.model_file import ModelHeader
from facever.progress import progress_bar
from facever.stages.gallery_faces import find_faces, is_photo, make_aligner
from facever.stages.gallery_fields import parse_fields
from facever.stages.gallery_tables import print_json, print_table
from facever.verification.embeddings_file import read_embeddings


def create(
    gallery: Path,
    model: Path | None = None,
    embedding_size: int | None = None,
    index: str = "exact",
) -> None:
    """Make an empty gallery for a model, or for embeddings of any model.

    Args:
        gallery: A folder that is not there yet, or is empty.
        model: The model file to embed with.
        embedding_size: Numbers in an embedding; without a model.
        index: What to search with; see ``Gallery.create``.

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
        Gallery.create(gallery, embedding_size, index=index).close()
    print(f"{gallery}: an empty gallery")


def add(
    gallery: Path,
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
        gallery: The gallery's folder.
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


def search(
    gallery: Path,
    model: Path | None,
    photo: Path,
    k: int = 5,
    as_json: bool = False,
    by: By = "photo",
    names: Sequence[str] = (),
    fields: Sequence[str] = (),
) -> dict[str, list[Match]]:
    """Print who in a gallery resembles the largest face of a photo, or of many.

    Args:
        gallery: The gallery's folder.
        model: The model file to embed with; it must be the one of the gallery. An
            embeddings file needs none.
        photo: With at least one face. Or what ``add`` takes: all of its faces are
            looked up, and those without one are listed with the reason.
        k: How many matches to print, at least 1; of many photos each one's best alone
            is in the table.
        as_json: Print one JSON object in place of a table.
        by: Whether each photo is a match, or each person by the ``best`` or the
            ``mean`` of their photos.
        names: Search these people alone.
        fields: Search photos of these fields alone, each ``key=value``.

    Returns:
        The matches of each photo that could be looked up, by its source.

    Raises:
        PhotoError: If the single photo cannot be read.
        DataError: If no face is found in it.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        GalleryError: If the gallery is empty.
        ParameterError: If ``k`` is below 1.
    """
    where = Filter(names, parse_fields(fields))
    embedder = None if model is None else load(model)
    fingerprint = _fingerprint(embedder, photo)
    with Gallery(gallery, fingerprint) as people:
        if not len(people):
            raise GalleryError(
                f"{gallery}: nobody is enrolled yet; add photos with gallery add"
            )
        header = None if embedder is None else embedder.header
        rule = threshold_rule(people.info().threshold, header, by)
        if is_photo(photo) and embedder is not None:
            embedding, num_faces = _embed_photo(photo, embedder)
            [matches] = people.search(embedding, k, by, where)
            if as_json:
                asked = {"photo": photo.name, "num_faces": num_faces, "face": "largest"}
                print_json(asked | rule | answer(matches, rule))
            else:
                _print_matches(photo, num_faces, rule, matches)
            return {photo.name: matches}
        faces = find_faces(photo, embedder)
        found: dict[str, list[Match]] = {}
        failed: dict[str, str] = {}
        rows = range(len(faces.sources))
        with progress_bar("search", len(rows), "faces") as advance:
            for start in rows[:: faces.batch]:
                batch = rows[start : start + faces.batch]
                embedded = faces.embed(batch)
                well = {r: e for r, e in embedded.items() if not isinstance(e, str)}
                failed |= {
                    faces.sources[r]: reason
                    for r, reason in embedded.items()
                    if isinstance(reason, str)
                }
                if well:
                    answers = people.search(np.stack([*well.values()]), k, by, where)
                    found |= {
                        faces.sources[r]: a for r, a in zip(well, answers, strict=True)
                    }
                advance(len(batch))
    _show_many(found, failed, rule, as_json)
    return found


def _open_or_create(gallery: Path, embedder: Embedder | None, photos: Path) -> Gallery:
    if gallery.is_file() or (gallery.is_dir() and any(gallery.iterdir())):
        return Gallery(gallery, _fingerprint(embedder, photos))
    if embedder is not None:
        return _create_for(gallery, embedder)
    file = read_embeddings(photos)
    return Gallery.create(gallery, file.embeddings.shape[1], file.model_fingerprint)


def _create_for(gallery: Path, embedder: Embedder, index: str = "exact") -> Gallery:
    return Gallery.create(
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


def _fingerprint(embedder: Embedder | None, photos: Path) -> str | None:
    if embedder is not None:
        return embedder.model_fingerprint
    if photos.suffix == ".npz":
        return read_embeddings(photos).model_fingerprint
    raise ParameterError(f"{photos}: name the model to embed it with: --model FILE")


def _embed_photo(photo: Path, embedder: Embedder) -> tuple[np.ndarray, int]:
    [aligned] = make_aligner("all").align([PhotoSource(str(photo), "", photo)])
    if aligned.reason is not None:
        kind = DataError if aligned.reason == NO_FACE else PhotoError
        raise kind(f"{photo}: {aligned.reason}")
    # The largest face comes first.
    return embedder.embed_crops(aligned.crops[:1]), len(aligned.crops)


def _print_matches(
    photo: Path, num_faces: int, rule: dict[str, Any], matches: Sequence[Match]
) -> None:
    faces = "its only face" if num_faces == 1 else f"the largest of {num_faces} faces"
    print(f"{photo}: {faces}")
    columns = ["", "name", "cosine", "photo"]
    rows = [
        [str(rank), match.name, f"{match.cosine:.4f}", match.source]
        for rank, match in enumerate(matches, start=1)
    ]
    if rule["threshold"] is not None:
        columns.insert(3, "same person")
        for row, match in zip(rows, matches, strict=True):
            row.insert(3, "yes" if is_same(match.cosine, rule) else "no")
    print_table(columns, rows)
    if rule["threshold"] is not None:
        who = answer(matches, rule)
        print(f"This is {who['name'] if who['known'] else 'nobody enrolled'}.")
    print(_rule_in_words(rule))


def _rule_in_words(rule: dict[str, Any]) -> str:
    if rule["threshold"] is None:
        return "No threshold is set for this: these are the nearest, whoever it is."
    what = {
        "threshold_far": "a false accept rate",
        "threshold_fpir": "a share of unknown people taken for somebody",
    }
    rates = [
        f", set for {words} of {rule[key]:g}"
        for key, words in what.items()
        if rule.get(key) is not None
    ]
    return f"Same person: cosine above {rule['threshold']:.4f}{''.join(rates)}."


def _show_many(
    found: dict[str, list[Match]],
    failed: dict[str, str],
    rule: dict[str, Any],
    as_json: bool,
) -> None:
    if as_json:
        answers = [{"photo": s} | answer(m, rule) for s, m in found.items()]
        print_json({**rule, "photos": answers, "failed": failed})
        return
    rows = []
    for source, matches in found.items():
        known = not matches or is_same(matches[0].cosine, rule) is False
        best = [matches[0].name, f"{matches[0].cosine:.4f}"] if matches else ["", ""]
        rows.append([source, "nobody" if known else best[0], *best])
    print_table(["photo", "this is", "nearest", "cosine"], rows)
    for source, reason in failed.items():
        print(f"  no answer for {source}: {reason}")
    print(_rule_in_words(rule))
