"""Who is in a photo that has no other sign of it than its path."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from facever.data.sources.videos import video_of
from facever.errors import DataError, ParameterError
from facever.faces.photo_source import PhotoListing, PhotoSource, identity_of

_NOT_PEOPLE = frozenset(
    "train training test testing val valid validation dev query gallery probe images "
    "photos faces data dataset".split()
)


def settle_people(listing: PhotoListing, identity: str | None) -> PhotoListing:
    """A listing with identities as a user says, or else as they stand without a doubt.

    Args:
        listing: What a source holds.
        identity: See ``name_people``; None for what the source says.

    Raises:
        FaceverError: In the same cases as ``name_people`` and ``ask_about_levels``.
    """
    if identity is not None:
        return name_people(listing, identity)
    ask_about_levels(listing)
    return listing


def name_people(listing: PhotoListing, identity: str) -> PhotoListing:
    r"""A listing with identities by the paths of the photos.

    Args:
        listing: What a source holds.
        identity: ``top`` for the topmost folder, ``parent`` for the folder that holds
            the photo, or else a regular expression: the identity is its first group,
            or without groups what it matches.

    Raises:
        ParameterError: If it is no regular expression.
        DataError: If it does not match a photo's path, or matches nothing in it.

    Examples:
        >>> from collections import Counter
        >>> from pathlib import Path
        >>> from facever.faces.photo_source import PhotoListing, PhotoSource
        >>> photo = PhotoSource("train/Ann_001.jpg", "train", Path("train/Ann_001.jpg"))
        >>> listing = PhotoListing([photo], Counter())
        >>> name_people(listing, r"([A-Za-z]+)_\d+\.").photos[0].identity
        'Ann'
    """
    name_of = identity_rule(identity)
    photos = [replace(p, identity=name_of(_path(p))) for p in listing.photos]
    return replace(listing, photos=photos)


def identity_rule(identity: str) -> Callable[[str], str]:
    """Who is in a photo, by its path; see ``name_people``.

    Raises:
        ParameterError: If it is no regular expression. The rule itself raises a
            ``DataError`` where it finds nobody.
    """
    if identity == "top":
        return identity_of
    if identity == "parent":
        return _parent
    try:
        pattern = re.compile(identity)
    except re.error as error:
        raise ParameterError(
            "identity must be top, parent or a regular expression, got "
            f"{identity!r}: {error}"
        ) from None

    def match(name: str) -> str:
        found = pattern.search(name)
        person = found and found[1 if pattern.groups else 0]
        if not person or not person.strip():
            raise DataError(f"identity {identity!r} finds nobody in {name}")
        return person.strip()

    return match


def describe_people(listing: PhotoListing) -> list[str]:
    """How many people and photos there are, and what is odd about that; a line each."""
    photos = listing.photos
    # What is damaged in a file of photos may be nobody's.
    num_photos = Counter(photo.identity for photo in photos if photo.identity)
    num_people = len(num_photos)
    lines = [f"{_count(num_people, 'person', 'people')} in {_count(len(photos))}"]
    num_single = sum(number == 1 for number in num_photos.values())
    if num_single and num_people > 1:
        single = _count(num_single, "person has", "people have")
        lines[0] += f"; {single} one photo"
    if not _goes_by_path(listing):
        return lines
    paths = [_path(photo) for photo in photos]
    by_parent = len({_parent(path) for path in paths})
    if any(path.count("/") > 1 for path in paths):
        lines.append(
            "folders lie in folders, and the topmost is the person; with --identity "
            f"parent, by the folder that holds the photo, there are {by_parent}"
        )
    if num_people == len(photos) > 1:
        named_by = "folder" if any("/" in path for path in paths) else "file"
        lines.append(
            f"every photo is a person of its own, named by its {named_by}; if names "
            r"say who it is, such as Ann_1.jpg, take --identity '(.+)_\d+'"
        )
    return lines


def ask_about_levels(listing: PhotoListing) -> None:
    """Refuse to take ``train/`` and ``test/`` for people.

    Raises:
        DataError: If all topmost folders have such names and hold folders; the message
            says how to name the people.
    """
    paths = [_path(photo) for photo in listing.photos]
    tops = {path.partition("/")[0] for path in paths}
    is_deep = any(path.count("/") > 1 for path in paths)
    are_splits = all(top.lower() in _NOT_PEOPLE for top in tops)
    if not (is_deep and are_splits and _goes_by_path(listing)):
        return
    by_parent = len({_parent(path) for path in paths})
    named = ", ".join(f"{top}/" for top in sorted(tops))
    raise DataError(
        f"{named} would be {_count(len(tops), 'person', 'people')} with "
        f"{_count(len(listing.photos))}: write --identity parent for the folder that "
        f"holds the photo ({_count(by_parent, 'person', 'people')}), or --identity top "
        "if that is meant"
    )


def _goes_by_path(listing: PhotoListing) -> bool:
    return all(photo.identity == identity_of(_path(photo)) for photo in listing.photos)


def _path(photo: PhotoSource) -> str:
    """The photo's path, in a folder of tar files that in its tar file.

    A frame's is that of its video.
    """
    if video := video_of(photo):
        return video
    shard, _, rest = photo.source.partition("/")
    is_shard = photo.path.suffix == ".tar" and photo.path.stem == shard
    return rest if is_shard and photo.identity == identity_of(rest) else photo.source


def _parent(name: str) -> str:
    """The folder that holds a photo, or without one the photo's own name."""
    return identity_of("/".join(name.split("/")[-2:]))


def _count(number: int, one: str = "photo", many: str = "photos") -> str:
    return f"{number} {one if number == 1 else many}"
