"""Photos that are files below a folder."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from facever.data.sources.videos import is_video_file, list_videos
from facever.errors import FileError
from facever.faces.photo_source import (
    PHOTO_SUFFIXES,
    PhotoListing,
    PhotoSource,
    identity_of,
    suffix_of,
)
from facever.faces.photos import begins_as_photo

_CONTAINERS = (".rec", ".bin", ".tar")
_NUM_NAMED = 3


def list_folder_photos(folder: Path) -> PhotoListing:
    """List the photos of a folder, and count what else is there.

    The identity of a photo is its topmost folder below this one
    (``Ann/holiday/1.jpg`` is Ann's), and for a photo that lies in the folder itself its
    name without the suffix. The order is that of the sorted paths. Hidden files and
    folders are left out. Each frame of a video is a photo, see ``list_videos``. A file
    without a photo's suffix is a photo if it begins like one; the others are counted,
    and files that may hold photos are named.

    Raises:
        FileError: If a folder cannot be read.
    """
    photos: list[PhotoSource] = []
    skipped: Counter[str] = Counter()
    containers: list[str] = []
    videos: dict[str, Path] = {}
    for name in sorted(_walk(folder, "", frozenset())):
        suffix = suffix_of(name)
        if is_photo_file(folder / name):
            photos.append(PhotoSource(name, identity_of(name), folder / name))
        elif is_video_file(folder / name):
            videos[name] = folder / name
        else:
            skipped[suffix] += 1
            if suffix in _CONTAINERS:
                containers.append(name)
    frames = list_videos(videos)
    photos = sorted([*photos, *frames.photos], key=lambda photo: photo.source)
    notes = frames.notes
    if containers:
        named = " or ".join(containers[:_NUM_NAMED])
        notes += (f"photos may also be in {named}, which can be given in its place",)
    return PhotoListing(photos, skipped, notes=notes)


def is_photo_file(path: Path) -> bool:
    """Whether a file is a photo, by its suffix or its first bytes."""
    if suffix_of(path.name) in PHOTO_SUFFIXES:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return begins_as_photo(file.read(12))
    except OSError:
        return False


def describe_skipped(skipped: Counter[str]) -> str:
    """Such as ``3 other files (2 .txt, 1 without suffix)``; empty for none."""
    if not skipped:
        return ""
    kinds = [f"{n} {suffix or 'without suffix'}" for suffix, n in skipped.most_common()]
    total = skipped.total()
    return f"{total} other file{'s' * (total > 1)} ({', '.join(kinds)})"


def _walk(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return  # A link back to a folder that we are in.
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise FileError(f"cannot read {folder}: {error.strerror or error}") from None
    for entry in entries:
        if entry.is_dir():
            below = f"{prefix}{entry.name}/"
            yield from _walk(Path(entry.path), below, above | {real})
        else:
            yield prefix + entry.name
