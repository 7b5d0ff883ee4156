"""The stage ``facever gallery migrate``: change a gallery over to another model."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from facever.choices import DEFAULT_MAX_PIXELS, Backend
from facever.errors import GalleryError
from facever.gallery.base import Place
from facever.gallery.meta import Threshold
from facever.gallery.migration import NO_PHOTO, reembed
from facever.gallery.opening import check_gallery_place, open_gallery
from facever.inference.embedder import load
from facever.progress import progress_bar
from facever.results import Result
from facever.stages.gallery.enroll import model_details, some_reasons
from facever.stages.gallery.faces import detector_in_use


@dataclass(frozen=True)
class GalleryMigration(Result):
    """A gallery that was changed over to another model.

    Attributes:
        gallery: The gallery's folder or URL.
        num_embedded: Faces that were embedded by the new model.
        dropped: Name and source of each entry that was removed because its face cannot
            be read any more, and the reason.
        old_threshold: The threshold that was removed, for it was chosen for the old
            model; None if there was none.
    """

    gallery: str
    num_embedded: int
    dropped: dict[str, str]
    old_threshold: Threshold | None

    def lines(self) -> list[str]:
        """Each entry that was dropped, and why, the totals, and the old threshold."""
        old = self.old_threshold
        return [
            *(f"  dropped {entry}: {why}" for entry, why in self.dropped.items()),
            f"{self.gallery}: {self.num_embedded} faces embedded again, "
            f"{len(self.dropped)} dropped",
            *(
                [
                    f"the threshold {old.cosine:.4f} was the old model's and is "
                    "removed: choose one with facever gallery threshold "
                    f"{shlex.quote(self.gallery)} --{old.rule} {old.rate:g}"
                ]
                if old
                else []
            ),
        ]


def migrate(
    gallery: Place,
    model: str | Path,
    *,
    drop_missing: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    backend: Backend = "auto",
) -> GalleryMigration:
    """Embed all enrolled faces again, from the photos and crop stores they came from.

    Ids, names, sources and fields stay. The gallery's threshold is removed: it was
    chosen for the other model.

    Args:
        gallery: The gallery's folder.
        model: The model file to change over to.
        drop_missing: Remove the entries whose face cannot be read any more. Without it,
            a single such entry leaves the whole gallery as it is.
        max_pixels: Height times width of the largest photo that is read.
        backend: What computes the networks; see ``Embedder``.

    Raises:
        ParameterError: If this kind of gallery cannot change its model.
        GalleryError: If the gallery is of that model already, faces are missing and are
            not to be dropped, all are missing, or somebody changed the gallery
            meanwhile. Nothing is changed then.
        FileError: If a path is missing or damaged.
    """
    check_gallery_place(gallery)
    embedder = load(
        model,
        detector=detector_in_use(gallery),
        max_pixels=max_pixels,
        backend=backend,
    )
    with open_gallery(gallery) as people:
        people.check_can("migrate")
        old_threshold = people.info().threshold
        if people.info().model_fingerprint == embedder.model_fingerprint:
            raise GalleryError(f"{gallery}: it is of this model already")
        with progress_bar("embed", len(people), "faces") as advance:
            found = reembed(people, embedder, advance)
        missing = {
            f"{entry.name}, {entry.source}": reason
            for entry, reason in found.missing.values()
        }
        if not found.embeddings or (missing and not drop_missing):
            raise GalleryError(
                f"{gallery}: {len(missing)} of {len(people)} faces cannot be embedded "
                f"again ({some_reasons(missing)}); nothing was changed; "
                f"{_advice(missing, bool(found.embeddings))}"
            )
        people.replace_model(
            found.embeddings,
            list(found.missing),
            embedder.model_fingerprint,
            model_details(embedder),
        )
    return GalleryMigration(str(gallery), len(found.embeddings), missing, old_threshold)


def _advice(missing: dict[str, str], others_are_embedded: bool) -> str:
    """What to do about faces that cannot be embedded again."""
    num_never = sum(reason == NO_PHOTO for reason in missing.values())
    never = (
        f"{num_never} of them were enrolled as embeddings and never can be; "
        if num_never
        else ""
    )
    back = "bring the photos back, or " if num_never < len(missing) else ""
    leave = (
        "leave these faces behind with --drop-missing"
        if others_are_embedded
        else "enroll photos into a new gallery"
    )
    return never + back + leave
