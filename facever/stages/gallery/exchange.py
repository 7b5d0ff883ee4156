"""The stages ``facever gallery export`` and ``import``: to files for other tools."""

from dataclasses import dataclass
from pathlib import Path

from facever.gallery.base import Place
from facever.gallery.exchange import export_gallery, read_export
from facever.gallery.meta import Threshold
from facever.gallery.opening import (
    check_gallery_place,
    create_gallery,
    gallery_exists,
    open_gallery,
)
from facever.progress import progress_bar
from facever.results import Result


@dataclass(frozen=True)
class GalleryExport(Result):
    """A gallery that was written to files for other tools.

    Attributes:
        gallery: The gallery's folder or URL.
        out: The file or folder that was written.
        num_embeddings: Number of embeddings in it.
    """

    gallery: str
    out: Path
    num_embeddings: int

    def lines(self) -> list[str]:
        """The number, and where from and to."""
        return [f"{self.out}: {self.num_embeddings} embeddings of {self.gallery}"]


@dataclass(frozen=True)
class GalleryImport(Result):
    """An export that was read into a gallery.

    Attributes:
        gallery: The gallery's folder or URL.
        path: The export's file or folder.
        num_embeddings: Number of embeddings that were imported.
        threshold: The threshold in the export; None if it has none.
        takes_threshold: Whether the gallery has it now: one with a threshold, or
            people, of its own keeps to that.
        index: Kind of index that the gallery is to be searched with.
        exported_index: The same of the gallery that was exported; None if the export
            does not say.
    """

    gallery: str
    path: Path
    num_embeddings: int
    threshold: Threshold | None
    takes_threshold: bool
    index: str
    exported_index: str | None

    def lines(self) -> list[str]:
        """The number, where from and to, and what did not come with them."""
        lines = [f"{self.gallery}: {self.num_embeddings} embeddings of {self.path}"]
        if self.threshold is not None:
            cosine = self.threshold.cosine
            lines.append(
                f"  its threshold is {cosine:.4f}, as exported"
                if self.takes_threshold
                else f"  the export's threshold {cosine:.4f} is left out: the gallery "
                "has people, or a threshold, of its own"
            )
        if self.exported_index not in (None, self.index):
            lines.append(
                f"  the index is {self.index}, and was {self.exported_index} before; "
                "gallery rebuild --index makes another"
            )
        lines.append(
            "  an export does not say where photos lie: gallery migrate cannot embed "
            "these faces again, and gallery add takes their photos for unchanged"
        )
        return lines


def export(gallery: Place, out: str | Path) -> GalleryExport:
    """Write a gallery's entries to files that any tool can open.

    Args:
        gallery: The gallery's folder or URL.
        out: A name that ends in ``.parquet``, or a folder for CSV and npy.

    Raises:
        FileError: If there is no gallery, or the files cannot be written.
    """
    out = Path(out)
    with (
        open_gallery(gallery) as people,
        progress_bar("export", len(people), "embeddings") as advance,
    ):
        count = export_gallery(people, out, advance)
    return GalleryExport(str(gallery), out, count)


def import_entries(path: str | Path, gallery: Place) -> GalleryImport:
    """Import what ``export`` wrote, with the same ids.

    The threshold comes with it, unless the gallery has a threshold or people already.

    Args:
        path: A ``.parquet`` file or a folder that ``export`` wrote.
        gallery: The gallery's folder or URL; it is made if it does not exist.

    Raises:
        FileError: If there is no export, or the gallery cannot be written.
        DataError: If the export contradicts itself, or is of another model.
        GalleryError: If an entry is in the gallery already; nothing is imported then.
    """
    path = Path(path)
    check_gallery_place(gallery)
    found = read_export(path)
    if gallery_exists(gallery):
        people = open_gallery(gallery, found.model_fingerprint)
    else:
        people = create_gallery(
            gallery,
            found.embeddings.shape[1],
            found.model_fingerprint,
            found.model_details,
        )
    with (
        people,
        progress_bar("import", len(found.entries), "embeddings") as advance,
    ):
        takes_threshold = people.insert(
            found.entries, found.embeddings, found.threshold, advance
        )
        index = people.info().index
    return GalleryImport(
        gallery=str(gallery),
        path=path,
        num_embeddings=len(found.entries),
        threshold=found.threshold,
        takes_threshold=takes_threshold,
        index=index,
        exported_index=found.index,
    )
