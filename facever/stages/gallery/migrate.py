"""The stage ``facever gallery migrate``: a gallery goes over to another model."""

from pathlib import Path

from facever.errors import GalleryError
from facever.gallery.folder.gallery import Gallery
from facever.gallery.migration import Reembedding, reembed
from facever.inference.embedder import load
from facever.progress import progress_bar
from facever.stages.gallery.enroll import model_details
from facever.stages.gallery.faces import make_aligner


def migrate(gallery: Path, model: Path, drop_missing: bool = False) -> Reembedding:
    """Embed all enrolled faces anew, from the photos and crop stores they came from.

    Ids, names, sources and fields stay. The threshold goes: it was for the other model.

    Args:
        gallery: The gallery's folder.
        model: The model file to go over to.
        drop_missing: Remove the entries whose face cannot be read any more. Without it
            one of them is enough to leave the whole gallery as it is.

    Returns:
        The new embeddings, and what is missing.

    Raises:
        GalleryError: If the gallery is of that model already, faces are missing and not
            to be dropped, all are, or somebody changed the gallery meanwhile; nothing
            is changed then.
        FileError: If a path is missing or damaged.
    """
    embedder = load(model)
    with Gallery(gallery) as people:
        if people.info().model_fingerprint == embedder.model_fingerprint:
            raise GalleryError(f"{gallery}: it is of this model already")
        with progress_bar("embed", len(people), "faces") as advance:
            found = reembed(people, embedder, make_aligner("largest"), advance)
        for entry, reason in found.missing.values():
            print(f"  missing {entry.name}, {entry.source}: {reason}")
        if not found.embeddings or (found.missing and not drop_missing):
            raise GalleryError(
                f"{gallery}: {len(found.missing)} of {len(people)} faces cannot be "
                "embedded anew, for the reasons above; nothing was changed; bring the "
                "photos back, or leave these faces behind with --drop-missing"
            )
        people.replace_model(
            found.embeddings,
            list(found.missing),
            embedder.model_fingerprint,
            model_details(embedder.header),
        )
    print(
        f"{gallery}: {len(found.embeddings)} faces embedded anew, "
        f"{len(found.missing)} dropped"
    )
    return found
