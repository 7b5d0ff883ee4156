"""The stage ``facever gallery search``: who in a gallery is on a photo, or on many."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facever.choices import DEFAULT_MAX_PIXELS, By, Detector
from facever.errors import GalleryError
from facever.gallery.answering import answer, is_same, threshold_in_use
from facever.gallery.base import Place
from facever.gallery.entries import Filter, Match
from facever.gallery.opening import open_gallery
from facever.inference.embedder import Embedder
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
    """

    found: dict[str, list[Match]]
    failed: dict[str, str]
    threshold: dict[str, Any]

    def lines(self) -> list[str]:
        """A table of each photo's best match."""
        cosine = self.threshold["threshold"]
        rows = []
        for source, matches in self.found.items():
            nobody = not matches or is_same(matches[0].cosine, cosine) is False
            best = (
                [matches[0].name, f"{matches[0].cosine:.4f}"] if matches else ["", ""]
            )
            rows.append([source, "nobody" if nobody else best[0], *best])
        return [
            *table_lines(["photo", "this is", "nearest", "cosine"], rows),
            *(f"  no answer for {photo}: {why}" for photo, why in self.failed.items()),
            _describe_threshold(self.threshold),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The threshold, and an answer for each photo."""
        cosine = self.threshold["threshold"]
        answers = [{"photo": s} | answer(m, cosine) for s, m in self.found.items()]
        return {**self.threshold, "photos": answers, "failed": self.failed}


@dataclass(frozen=True)
class PhotoSearch(GallerySearch):
    """Who in a gallery resembles the largest face of a single photo.

    Attributes:
        photo: The photo's path.
        num_faces: Number of faces on the photo.
    """

    photo: Path
    num_faces: int

    @property
    def matches(self) -> list[Match]:
        """The enrolled photos, or people, that are most similar to the face."""
        return self.found[self.photo.name]

    def lines(self) -> list[str]:
        """A table of the matches, and who this is by the threshold."""
        one = self.num_faces == 1
        faces = "its only face" if one else f"the largest of {self.num_faces} faces"
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
            _describe_threshold(self.threshold),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The photo, the threshold and the answer."""
        photo = {"photo": self.photo.name, "num_faces": self.num_faces}
        who = answer(self.matches, self.threshold["threshold"])
        return {**photo, "face": "largest", **self.threshold, **who}


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
) -> GallerySearch:
    """Find who in a gallery resembles the largest face of a photo, or of many.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file to embed with, which must be the gallery's; None for the
            ready model, and for an embeddings file.
        photo: A photo with at least one face, or any source that ``add`` takes; all of
            its faces are looked up.
        k: Number of matches to find for each face, at least 1.
        by: Whether each photo is a match, or each person by the ``best`` or the
            ``mean`` of their photos.
        names: Search only these people.
        fields: Search only photos with these fields, each as ``key=value``.
        detector: How faces are found in photos without known landmarks; None for the
            gallery's way.
        max_pixels: Height times width of the largest photo that is read.

    Returns:
        A ``PhotoSearch`` for a single photo.

    Raises:
        PhotoError: If the single photo cannot be read.
        DataError: If no face is found in it.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        GalleryError: If the gallery is empty.
        ParameterError: If ``k`` is below 1.
    """
    photo = Path(photo)
    where = Filter(names, parse_fields(fields))
    embedder = choose_embedder(
        model, photo, detector_in_use(gallery, detector), max_pixels
    )
    with open_gallery(gallery, embedding_model(embedder, photo)) as people:
        if not len(people):
            raise GalleryError(
                f"{gallery}: nobody is enrolled yet; add photos with gallery add"
            )
        header = None if embedder is None else embedder.header
        threshold = threshold_in_use(people.info().threshold, header, by)
        if is_photo(photo) and embedder is not None:
            embedding, num_faces = _embed_photo(photo, embedder)
            [matches] = people.search(embedding, k, by, where)
            found = {photo.name: matches}
            return PhotoSearch(found, {}, threshold, photo, num_faces)
        faces = find_faces(photo, embedder)
        found = {}
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
    return GallerySearch(found, failed, threshold)


def _embed_photo(photo: Path, embedder: Embedder) -> tuple[np.ndarray, int]:
    [aligned] = embedder.align([photo], "all")
    aligned.check()
    # The largest face comes first.
    return embedder.embed_crops(aligned.crops[:1]), len(aligned.crops)


def _describe_threshold(threshold: dict[str, Any]) -> str:
    if threshold["threshold"] is None:
        return "No threshold is set: these are the nearest, whoever it is."
    rates = {
        "threshold_far": "a false accept rate",
        "threshold_fpir": "a share of unknown people taken for somebody",
    }
    chosen = [
        f", chosen for {rate} of {threshold[key]:g}"
        for key, rate in rates.items()
        if threshold.get(key) is not None
    ]
    return f"Same person: cosine above {threshold['threshold']:.4f}{''.join(chosen)}."
