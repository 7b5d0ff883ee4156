"""The stage ``facever data export``: a crop store to forms that other tools read."""

from pathlib import Path

from facever.choices import ExportForm
from facever.data.store.crop_store import CropStore
from facever.data.store.exporting import export_folders, export_rec, export_tar
from facever.data.store.jpeg import check_quality
from facever.files import whole_folder
from facever.progress import progress_bar


def export(
    store: Path,
    out: Path,
    to: ExportForm,
    quality: int | None = None,
    shard_size: int = 10_000,
) -> None:
    """Export every crop of a store, with the same bytes every time.

    Args:
        store: Crops of pixels or of JPEGs; JPEGs are exported as they are.
        out: A new folder.
        to: The form; see ``exporting``.
        quality: Of JPEG, in [1, 100]; without it pixels become PNG, which keeps them.
        shard_size: Crops of a tar shard.

    Raises:
        ParameterError: If a number is out of its range.
        DataError: If a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    if quality is not None:
        check_quality(quality)
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
    print(f"{out}: {len(crops):,} crops of {len(crops.identities):,} identities")
