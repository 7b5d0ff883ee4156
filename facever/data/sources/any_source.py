"""Everything that photos can be read from, recognised by its name or what is in it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from facever.data.recordio.photos import list_record_photos
from facever.data.sources.bin_photos import list_bin_photos
from facever.data.sources.csv_photos import list_csv_photos
from facever.data.sources.folders import list_photos
from facever.data.sources.tar_photos import list_tar_photos
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import STORE_FILE
from facever.errors import FileError
from facever.faces.photo_source import PhotoListing, PhotoSource

_READERS: dict[str, Callable[[Path], PhotoListing]] = {
    ".rec": list_record_photos,
    ".bin": list_bin_photos,
    ".tar": list_tar_photos,
    ".csv": list_csv_photos,
}


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """A crop in a store.

    Attributes:
        row: In the store.
    """

    row: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"row {self.row}"

    def read(self, path: Path) -> UInt8[np.ndarray, "112 96 3"]:
        """The pixels."""
        return np.array(_open(path).crops[self.row])


def list_source(path: Path) -> PhotoListing:
    """List the photos of a source, whatever it is.

    - ``.rec``: see ``list_record_photos``; ``.bin``: see ``list_bin_photos``;
    - ``.csv``: see ``list_csv_photos``; any other file is a list: ``list_photos``;
    - ``.tar``, or a folder with such files: see ``list_tar_photos``;
    - a crop store: its crops; the second of ``a.jpg`` is named ``a.jpg/`` and its row;
    - any other folder: see ``list_photos``.

    Sources are unique, relative and lead nowhere outside; identities are as
    ``facever.faces.photo_source`` says.

    Raises:
        FileError: If there is nothing, or no photo in it.
        DataError: If it contradicts itself or names something outside.
    """
    reader = _READERS.get(path.suffix.lower())
    if path.is_file() and reader:
        listing = reader(path)
    elif (path / STORE_FILE).exists():
        listing = _list_store(path)
    elif path.is_dir() and any(path.glob("*.tar")):
        listing = list_tar_photos(path)
    else:
        return list_photos(path)
    if not listing.photos:
        raise FileError(f"no photos in {path}")
    return listing


def _list_store(folder: Path) -> PhotoListing:
    store = CropStore.open(folder)
    return PhotoListing(
        [
            PhotoSource(
                # A name that ends in #2 is that of a photo's second crop.
                source if source == (photo := photo_of(source)) else f"{photo}/{row}",
                store.identities[label],
                folder,
                StoredCrop(row),
            )
            for row, (source, label) in enumerate(
                zip(store.sources, store.labels, strict=True)
            )
        ],
        Counter(),
    )


@lru_cache(maxsize=2)
def _open(folder: Path) -> CropStore:
    return CropStore.open(folder)
