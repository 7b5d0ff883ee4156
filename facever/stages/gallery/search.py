"""The stage ``facever gallery search``: who in a gallery is on a photo, or on many."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    Backend,
    By,
    Detector,
    FaceRule,
    OneFace,
)
from facever.errors import GalleryError, ParameterError
from facever.gallery.answering import answer, is_same, threshold_in_use
from facever.gallery.base import Place
from facever.gallery.enrollment import FaceSource, PhotoFaces
from facever.gallery.entries import Filter, Match
from facever.gallery.opening import open_gallery
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import check_array
from facever.progress import progress_bar
from facever.results import Result, table_lines
from facever.stages.gallery.enroll import embedding_model
from facever.stages.gallery.faces import (
    choose_embedder,
    detector_in_use,
    find_faces,
    is_photo,
)
from facever.stages.gallery.fields import parse_fields


@dataclass(frozen=True)
class GallerySearch(Result):
    """Who in a gallery resembles the faces that were looked up.

    Attributes:
        found: The matches of each face by the photo's source, the most similar first.
        failed: The source of each photo that could not be looked up, and the reason.
        threshold: The cosine above which a match is the same person, as
            ``threshold_in_use`` gives it.
        not_for_means: The threshold for single photos, where people are ranked by the
            mean of theirs, which it does not judge; None otherwise.
    """

    found: dict[str, list[Match]]
    failed: dict[str, str]
    threshold: dict[str, Any]
    not_for_means: float | None

    def lines(self) -> list[str]:
        """A table of each face's best match; nobody is named without a threshold."""
        cosine = self.threshold["threshold"]
        columns = ["photo", "this is", "nearest", "cosine"]
        rows = []
        for source, matches in self.found.items():
            nobody = not matches or is_same(matches[0].cosine, cosine) is False
            best = (
                [matches[0].name, f"{matches[0].cosine:.4f}"] if matches else ["", ""]
            )
            rows.append([source, "nobody" if nobody else best[0], *best])
        if cosine is None:
            columns.remove("this is")
            rows = [[source, *best] for source, _, *best in rows]
        return [
            *table_lines(columns, rows),
            *(f"  no answer for {photo}: {why}" for photo, why in self.failed.items()),
            self._describe_threshold(),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The threshold, and an answer for each photo."""
        cosine = self.threshold["threshold"]
        answers = [{"photo": s} | answer(m, cosine) for s, m in self.found.items()]
        return {**self.threshold, "photos": answers, "failed": self.failed}

    def _describe_threshold(self) -> str:
        if self.not_for_means is not None:
            return (
                f"The threshold {self.not_for_means:.4f} is for single photos, not for "
                "means: these are the nearest, whoever it is; --by best judges."
            )
        if self.threshold["threshold"] is None:
            return "No threshold is set: these are the nearest, whoever it is."
        rates = {
            "threshold_far": "a false accept rate",
            "threshold_fpir": "a share of unknown people taken for somebody",
        }
        chosen = [
            f", chosen for {rate} of {self.threshold[key]:g}"
            for key, rate in rates.items()
            if self.threshold.get(key) is not None
        ]
        cosine = self.threshold["threshold"]
        return f"Same person: cosine above {cosine:.4f}{''.join(chosen)}."


@dataclass(frozen=True)
class PhotoSearch(GallerySearch):
    """Who in a gallery resembles one face of a single photo.

    Attributes:
        photo: The photo's path.
        face: Which face was looked up.
        num_faces: Number of faces on the photo.
    """

    photo: Path
    num_faces: int
    face: OneFace

    @property
    def matches(self) -> list[Match]:
        """The enrolled photos, or people, that are most similar to the face."""
        return self.found[self.photo.name]

    def lines(self) -> list[str]:
        """A table of the matches, and who this is by the threshold."""
        one = self.num_faces == 1
        which = {
            "prominent": "most prominent",
            "center": "one nearest the centre",
            "best": "clearest",
        }
        chosen = f"the {which.get(self.face, self.face)} of {self.num_faces} faces"
        faces = "its only face" if one else chosen
        columns = ["", "name", "cosine", "photo"]
        rows = [
            [str(rank), match.name, f"{match.cosine:.4f}", match.source]
            for rank, match in enumerate(self.matches, start=1)
        ]
        cosine = self.threshold["threshold"]
        verdict = []
        if cosine is not None:
            columns.insert(3, "same person")
            for row, match in zip(rows, self.matches, strict=True):
                row.insert(3, "yes" if is_same(match.cosine, cosine) else "no")
            name = answer(self.matches, cosine)["name"]
            verdict = [f"This is {name or 'nobody who is enrolled'}."]
        return [
            f"{self.photo}: {faces}",
            *table_lines(columns, rows),
            *verdict,
            self._describe_threshold(),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The photo, the threshold and the answer."""
        photo = {"photo": self.photo.name, "num_faces": self.num_faces}
        who = answer(self.matches, self.threshold["threshold"])
        return {**photo, "face": self.face, **self.threshold, **who}


def search(
    gallery: Place,
    model: str | Path | None,
    photo: str | Path,
    *,
    k: int = 5,
    by: By = "photo",
    names: Sequence[str] = (),
    fields: Sequence[str] = (),
    detector: Detector | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    face: FaceRule = DEFAULT_FACE,
    array: str | None = None,
    frames: str = "all",
    backend: Backend = "auto",
) -> GallerySearch:
    """Find who in a gallery resembles the faces of a photo, or of many.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file to embed with, which must be the gallery's; None for the
            ready model, and for an embeddings file.
        photo: A photo with at least one face, or any source that ``add`` takes.
        k: Number of matches to find for each face, at least 1.
        by: Whether each photo is a match, or each person by the ``best`` or the
            ``mean`` of their photos.
        names: Search only these people.
        fields: Search only photos with these fields, each as ``key=value``.
        detector: How faces are found in photos without known landmarks; None for the
            gallery's way.
        max_pixels: Height times width of the largest photo that is read.
        backend: What computes the networks; see ``Embedder``.
        face: Which face to look up of a photo that has several; ``all``: each is
            answered as ``source``, ``source#2`` and so on, the largest first.
        array: What an ``.npz`` calls its arrays, see ``read_embeddings``.
        frames: Which frames of a video are looked up; see ``find_photos``.

    Returns:
        A ``PhotoSearch`` for one face of a single photo.

    Raises:
        PhotoError: If the single photo cannot be read.
        DataError: If no face is found in it.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        GalleryError: If the gallery is empty.
        ParameterError: If ``k`` is below 1, or ``face`` is unknown.
    """
    if face not in get_args(FaceRule):
        rules = ", ".join(get_args(FaceRule))
        raise ParameterError(f"face must be one of {rules}, got {face!r}")
    photo = Path(photo)
    check_array(array, photo.suffix == ".npz")
    where = Filter(names, parse_fields(fields))
    embedder = choose_embedder(
        model, photo, detector_in_use(gallery, detector), max_pixels, backend
    )
    with open_gallery(gallery, embedding_model(embedder, photo, array)) as people:
        if not len(people):
            raise GalleryError(
                f"{gallery}: nobody is enrolled yet; add photos with gallery add"
            )
        if (names or fields) and not people.entries(where):
            raise GalleryError(
                f"{gallery}: no enrolled photo is of {_asked(names, fields)}; facever "
                "gallery list --photos shows names and fields"
            )
        header = None if embedder is None else embedder.header
        own = people.info().threshold
        threshold = threshold_in_use(own, header, by)
        of_photos = threshold_in_use(own, header, "photo")["threshold"]
        unused = of_photos if by == "mean" else None
        if is_photo(photo) and embedder is not None and face != "all":
            embedding, num_faces = _embed_photo(photo, embedder, face)
            [matches] = people.search(embedding, k, by, where)
            found = {photo.name: matches}
            return PhotoSearch(found, {}, threshold, unused, photo, num_faces, face)
        one = DEFAULT_FACE if face == "all" else face
        faces = find_faces(photo, embedder, face=one, array=array, frames=frames)
        found = {}
        failed: dict[str, str] = {}
        rows = range(len(faces.sources))
        with progress_bar("search", len(rows), "faces") as advance:
            for start in rows[:: faces.batch]:
                batch = rows[start : start + faces.batch]
                embedded = _embed(faces, batch, face)
                well = {s: e for s, e in embedded.items() if not isinstance(e, str)}
                failed |= {s: e for s, e in embedded.items() if isinstance(e, str)}
                if well:
                    answers = people.search(np.stack([*well.values()]), k, by, where)
                    found |= dict(zip(well, answers, strict=True))
                advance(len(batch))
    return GallerySearch(found, failed, threshold, unused)


def _embed(
    faces: FaceSource, rows: Sequence[int], face: FaceRule
) -> dict[str, Float[np.ndarray, " dim"] | str]:
    """The embedding of each face that is asked for, or the reason why it has none."""
    if face != "all" or not isinstance(faces, PhotoFaces):
        return {faces.sources[row]: found for row, found in faces.embed(rows).items()}
    every: dict[str, Float[np.ndarray, " dim"] | str] = {}
    for row, found in faces.embed_all(rows).items():
        source = faces.sources[row]
        if isinstance(found, str):
            every[source] = found
        else:
            every |= {
                source if number == 1 else f"{source}#{number}": embedding
                for number, embedding in enumerate(found, start=1)
            }
    return every


def _asked(names: Sequence[str], fields: Sequence[str]) -> str:
    """What a search is limited to, as it was typed."""
    return " with ".join(" or ".join(each) for each in (names, fields) if each)


def _embed_photo(
    photo: Path, embedder: Embedder, face: OneFace
) -> tuple[Float[np.ndarray, "1 dim"], int]:
    [aligned] = embedder.align([photo], face)
    aligned.check()
    return embedder.embed_crops(aligned.crops), aligned.num_found
