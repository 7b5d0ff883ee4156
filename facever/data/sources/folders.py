"""Photos that are files: in folders, or named by a list file."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from facever.errors import DataError, FileError
from facever.faces.photo_source import (
    PHOTO_SUFFIXES,
    PhotoListing,
    PhotoSource,
    identity_of,
    safe_name,
    suffix_of,
)


def find_photos(source: Path | str) -> list[PhotoSource]:
    """The photos of a folder or of a list file; see ``list_photos``."""
    return list_photos(source).photos


def list_photos(source: Path | str) -> PhotoListing:
    """List the photos of a folder or of a list file, and count what else is there.

    In a folder the identity of a photo is its topmost folder below the source
    (``Ann/holiday/1.jpg`` is Ann's), and for a photo that lies in the source itself its
    name without the suffix. The order is that of the sorted paths. Hidden files and
    folders are left out; other files that have no photo's suffix are counted.

    A list file has one photo a line: a path relative to the list's folder and,
    optionally, a tab and the identity (without it, as in a folder). The order is the
    list's; empty lines and lines that start with ``#`` are left out.

    Raises:
        FileError: If there is no such folder or file, or no photo in it.
        DataError: If a list names a photo twice, one outside its folder, one without a
            photo's suffix, or an empty identity.
    """
    source = Path(source)
    if source.is_dir():
        listing = _list_folder(source)
    elif source.is_file():
        listing = PhotoListing(_read_list(source), Counter())
    else:
        raise FileError(f"no photos at {source}: no such folder or list file")
    if not listing.photos:
        skipped = describe_skipped(listing.skipped)
        only = f", only {skipped}" if skipped else ""
        raise FileError(f"no photos in {source}{only}")
    return listing


def describe_skipped(skipped: Counter[str]) -> str:
    """Such as ``3 other files (2 .txt, 1 without suffix)``; empty for none."""
    if not skipped:
        return ""
    kinds = [f"{n} {suffix or 'without suffix'}" for suffix, n in skipped.most_common()]
    total = skipped.total()
    return f"{total} other file{'s' * (total > 1)} ({', '.join(kinds)})"


def _list_folder(folder: Path) -> PhotoListing:
    photos: list[PhotoSource] = []
    skipped: Counter[str] = Counter()
    for name in sorted(_walk(folder, "", frozenset())):
        suffix = suffix_of(name)
        if suffix in PHOTO_SUFFIXES:
            photos.append(PhotoSource(name, identity_of(name), folder / name))
        else:
            skipped[suffix] += 1
    return PhotoListing(photos, skipped)


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


def _read_list(path: Path) -> list[PhotoSource]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(f"{path} is no list of photos: it is not UTF-8 text") from None
    photos: dict[str, PhotoSource] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if line.count("\t") > 1:
            raise DataError(f"{where}: expected a path and, after a tab, an identity")
        name, tab, identity = line.partition("\t")
        name, identity = name.strip(), identity.strip()
        name = safe_name(where, name)
        if suffix_of(name) not in PHOTO_SUFFIXES:
            raise DataError(f"{where}: {name} has no photo's suffix, such as .jpg")
        if tab and not identity:
            raise DataError(f"{where}: the identity after the tab is empty")
        if name in photos:
            raise DataError(f"{where}: {name} is listed twice")
        identity = identity or identity_of(name)
        photos[name] = PhotoSource(name, identity, path.parent / name)
    return list(photos.values())
