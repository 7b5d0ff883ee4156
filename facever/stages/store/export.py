"""The stage ``facever data export``: a crop store to forms that other tools read."""

from dataclasses import dataclass
from pathlib import Path

from facever.choices import ExportForm
from facever.data.store.crop_store import CropStore
from facever.data.store.exporting import export_folders, export_rec, export_tar
from facever.data.store.jpeg import check_quality
from facever.files import check_folder_place, check_outside, whole_folder
from facever.progress import progress_bar
from facever.results import Result


@dataclass(frozen=True)
class StoreExport(Result):
    """What was exported.

    Attributes:
        out: The new folder.
        num_crops: Number of crops in it.
        num_identities: Number of identities.
    """

    out: Path
    num_crops: int
    num_identities: int

    def lines(self) -> list[str]:
        """What the folder holds."""
        identities = f"{self.num_identities:,} identities"
        return [f"{self.out}: {self.num_crops:,} crops of {identities}"]


def export_store(
    store: str | Path,
    out: str | Path,
    *,
    to: ExportForm,
    quality: int | None = None,
    shard_size: int = 10_000,
) -> StoreExport:
    """Export every crop of a store, with the same bytes every time.

    Args:
        store: A store of pixels or of JPEGs; JPEGs are exported as they are.
        out: A new folder.
        to: ``folders`` of identities with an ``index.csv``, ``rec`` for InsightFace, or
            ``tar`` shards for webdataset.
        quality: The JPEG quality, in [1, 100]; None makes PNG, which keeps every pixel.
        shard_size: Number of crops in a tar shard.

    Raises:
        ParameterError: If a number is out of its range, or ``out`` is inside the store.
        DataError: If a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    out = Path(out)
    if quality is not None:
        check_quality(quality)
    check_outside(out, Path(store), "OUT", "STORE")
    check_folder_place(out)
    crops = CropStore.open(store)
    with (
        whole_folder(out) as folder,
        progress_bar(f"export {out.name}", len(crops), "crops") as advance,
    ):
        if to == "folders":
            export_folders(crops, folder, quality, advance)
        elif to == "rec":
            export_rec(crops, folder, quality, advance)
        else:
            export_tar(crops, folder, quality, shard_size, advance)
    return StoreExport(out, len(crops), len(crops.identities))
