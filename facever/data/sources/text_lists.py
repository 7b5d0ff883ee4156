"""Photos that a text file lists, a line each."""

from collections import Counter
from pathlib import Path

from facever.data.sources.folders import is_photo_file
from facever.errors import DataError, FileError
from facever.faces.photo_source import (
    PhotoListing,
    PhotoSource,
    identity_of,
    safe_name,
)
from facever.foreign_files import read_text


def list_text_photos(path: Path) -> PhotoListing:
    """List the photos that a text file names.

    Each line has a path relative to the list's folder and, optionally, a tab and the
    identity (without it, as in a folder). The order is the list's; empty lines and
    lines that start with ``#`` are left out.

    Raises:
        FileError: If the file cannot be read or is no text.
        DataError: If it names a photo twice, one outside its folder, what is no photo
            by its suffix or first bytes, or an empty identity.
    """
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(
            f"{path} is no list of photos: it is not UTF-8 text; unpack archives first"
        ) from None
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
        if not is_photo_file(path.parent / name):
            raise DataError(
                f"{where}: {name} has no photo's suffix, such as .jpg, and does not "
                "begin as a photo"
            )
        if tab and not identity:
            raise DataError(f"{where}: the identity after the tab is empty")
        if name in photos:
            raise DataError(f"{where}: {name} is listed twice")
        identity = identity or identity_of(name)
        photos[name] = PhotoSource(name, identity, path.parent / name)
    return PhotoListing(list(photos.values()), Counter())
