"""Everything that photos can be read from, recognised by its name or what is in it.

A new kind is a file with a function that lists its photos, and a row in ``SOURCES``.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.data.recordio.photos import list_record_photos
from facever.data.sources.bin_photos import list_bin_photos
from facever.data.sources.csv_photos import list_csv_photos
from facever.data.sources.folders import (
    describe_skipped,
    is_photo_file,
    list_folder_photos,
)
from facever.data.sources.frame_rule import parse_frame_rule
from facever.data.sources.parquet_photos import list_parquet_photos
from facever.data.sources.tar_photos import list_tar_photos
from facever.data.sources.text_lists import list_text_photos
from facever.data.sources.videos import is_video_file, list_video_frames, take_frames
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import STORE_FILE
from facever.errors import DataError, FileError, PhotoError
from facever.faces.photo_source import PHOTO_SUFFIXES, PhotoListing, PhotoSource
from facever.files import address_hint


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """A crop in a store, to be read as a photo.

    Attributes:
        row: The crop's row in the store.
    """

    row: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"row {self.row}"

    def read(
        self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> UInt8[np.ndarray, "high wide 3"]:
        """The pixels.

        Raises:
            PhotoError: If they are not those that were written.
        """
        store = _open(path)
        try:
            return store.crops_for(store.template)[self.row]
        except DataError as error:
            raise PhotoError(str(error)) from error


class SourceKind(NamedTuple):
    """A kind of place that photos can be read from.

    Attributes:
        title: What it is, in words, for messages.
        holds: Whether a path is of this kind, by its name and what is in it.
        list_photos: The photos of such a path.
    """

    title: str
    holds: Callable[[Path], bool]
    list_photos: Callable[[Path], PhotoListing]


_MISTAKEN = {
    ".idx": "it is the index of a .rec; give the .rec, which finds it",
    ".npy": "it is an array without names; embeddings are an .npz with the arrays "
    "embeddings and images",
    ".safetensors": "it is a model file; the photos are another argument",
    ".onnx": "it is a model file; the photos are another argument",
}
"""What is taken for a source of photos by mistake."""


def find_photos(source: str | Path, frames: str = "all") -> PhotoListing:
    """List the photos of a source of any kind in ``SOURCES``.

    This is the one door for photos: aligning, galleries, evaluations and Python go
    through it. Names of photos are unique, relative and lead nowhere outside;
    identities are as ``facever.faces.photo_source`` says.

    Args:
        source: A photo, a video, a folder of both, a text list, ``.csv``, ``.rec``,
            ``.bin``, ``.tar`` or ``.parquet``, a folder of files of one of the last
            two, or a crop store.
        frames: Which frames of a video are taken: ``all``, ``first:N``, ``every:N`` or
            ``random:N``; see ``FrameRule``.

    Raises:
        ParameterError: If ``frames`` is of another form.
        FileError: If there is nothing at this path, or no photo in it.
        DataError: If the source contradicts itself or names something outside.
    """
    source, rule = Path(source), parse_frame_rule(frames)
    if source.suffix.lower() in _MISTAKEN and source.is_file():
        raise FileError(f"no photos in {source}: {_MISTAKEN[source.suffix.lower()]}")
    kind = next((kind for kind in SOURCES.values() if kind.holds(source)), None)
    if kind is None:
        reason = "a pipe or a device" if source.exists() else "no such file or folder"
        raise FileError(f"no photos at {source}: {reason}{address_hint(source)}")
    listing = kind.list_photos(source)
    if not listing.photos:
        skipped = describe_skipped(listing.skipped)
        only = f", only {skipped}" if skipped else ""
        notes = "".join(f"; {note}" for note in listing.notes)
        raise FileError(f"no photos in {source}, taken for {kind.title}{only}{notes}")
    return take_frames(listing, rule)


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


def _is_store(path: Path) -> bool:
    return (path / STORE_FILE).exists()


def _list_photo(path: Path) -> PhotoListing:
    return PhotoListing([PhotoSource(path.name, path.stem, path)], Counter())


def _is_parquet_folder(path: Path) -> bool:
    """Whether there is a table, and not beside the photos that it may be about."""
    return any(path.glob("*.parquet")) and not any(
        each.is_dir() or each.suffix.lower() in PHOTO_SUFFIXES
        for each in path.iterdir()
        if not each.name.startswith(".")
    )


def _has_suffix(suffix: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() == suffix and path.is_file()


# The first kind that holds a path is taken.
SOURCES: dict[str, SourceKind] = {
    "photo": SourceKind(
        "a photo",
        lambda path: path.is_file() and is_photo_file(path),
        _list_photo,
    ),
    "video": SourceKind("a video", is_video_file, list_video_frames),
    "csv": SourceKind("a CSV file", _has_suffix(".csv"), list_csv_photos),
    "rec": SourceKind("a RecordIO file", _has_suffix(".rec"), list_record_photos),
    "bin": SourceKind("a pair set", _has_suffix(".bin"), list_bin_photos),
    "tar": SourceKind("a tar file", _has_suffix(".tar"), list_tar_photos),
    "parquet": SourceKind(
        "a parquet file", _has_suffix(".parquet"), list_parquet_photos
    ),
    "list": SourceKind("a list of photos", Path.is_file, list_text_photos),
    "store": SourceKind("a crop store", _is_store, _list_store),
    "tars": SourceKind(
        "a folder of tar files", lambda path: any(path.glob("*.tar")), list_tar_photos
    ),
    "parquets": SourceKind(
        "a folder of parquet files", _is_parquet_folder, list_parquet_photos
    ),
    "folder": SourceKind("a folder of photos", Path.is_dir, list_folder_photos),
}
