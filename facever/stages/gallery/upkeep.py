"""The stage ``facever gallery``: look at one, change it, check it, export it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from facever.errors import ParameterError
from facever.gallery.entries import Entry, Filter
from facever.gallery.exchange import export_gallery, read_export
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import GalleryInfo
from facever.gallery.opening import (
    Place,
    create_gallery,
    gallery_exists,
    is_url,
    open_gallery,
)
from facever.progress import progress_bar
from facever.stages.gallery.console import print_json, print_table
from facever.stages.gallery.fields import parse_fields


def list_people(gallery: Place, as_json: bool = False) -> dict[str, int]:
    """Print each person of a gallery and how many photos of theirs are enrolled.

    Args:
        gallery: The gallery's folder or URL.
        as_json: Print one JSON object, name to count, in place of a table.

    Raises:
        FileError: If there is no gallery, or it is damaged.
    """
    with open_gallery(gallery) as people:
        names = people.names()
    if as_json:
        print_json(names)
    else:
        print_table(["name", "photos"], [[name, str(names[name])] for name in names])
    return names


def list_photos(
    gallery: Place,
    names: Sequence[str] = (),
    fields: Sequence[str] = (),
    as_json: bool = False,
) -> list[Entry]:
    """Print the enrolled photos, with their ids.

    Args:
        gallery: The gallery's folder or URL.
        names: Those of these people alone.
        fields: Those of these fields alone, each ``key=value``.
        as_json: Print a JSON list in place of a table.

    Raises:
        FileError: If there is no gallery, or it is damaged.
        ParameterError: If a field is not ``key=value``.
    """
    with open_gallery(gallery) as people:
        entries = people.entries(Filter(names, parse_fields(fields)))
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return entries
    print_table(
        ["id", "name", "photo", "fields"],
        [
            [e.id, e.name, e.source, ", ".join(f"{k}={v}" for k, v in e.fields.items())]
            for e in entries
        ],
    )
    return entries


def info(gallery: Place, as_json: bool = False, audit: bool = False) -> GalleryInfo:
    """Print what a gallery holds and for which model it was made.

    Args:
        gallery: The gallery's folder or URL.
        as_json: Print one JSON object in place of a table.
        audit: Look some of its photos up among the others, and say what share of an
            exact search's answers the index finds; of a folder.

    Raises:
        ParameterError: If a URL's is to be audited: a database is searched exactly.
        FileError: If there is no gallery, or it is damaged.
    """
    if audit and is_url(gallery):
        raise ParameterError(
            f"{gallery}: a gallery in a database is searched exactly; leave out --audit"
        )
    with open_gallery(gallery) as people:
        found = people.info()
        facts = {"gallery": str(gallery), **asdict(found)}
        if isinstance(people, Gallery) and audit:
            facts |= asdict(people.audit())
    if as_json:
        print_json(facts)
        return found
    details = facts.pop("model_details")
    threshold = facts.pop("threshold")
    facts["model_fingerprint"] = found.model_fingerprint or "none: takes any embeddings"
    facts |= {f"model's {key}": value for key, value in details.items()}
    facts |= {f"threshold's {key}": value for key, value in (threshold or {}).items()}
    print_table(["", ""], [[key, str(value)] for key, value in facts.items()])
    return found


def remove(gallery: Place, ids: Sequence[str], name: str | None = None) -> int:
    """Take photos out of a gallery by their ids, or all of a person's.

    Returns:
        How many there were.

    Raises:
        ParameterError: Unless either ids or a name are given.
        GalleryError: If one is not enrolled; nothing is removed then.
        FileError: If there is no gallery, or it is damaged.
    """
    if bool(ids) == (name is not None):
        raise ParameterError("give either ids or --name, of what is to be removed")
    with open_gallery(gallery) as people:
        if name is not None:
            count = people.remove_person(name)
        else:
            people.remove(ids)
            count = len(set(ids))
        print(f"{gallery}: {count} removed, {len(people)} left")
    return count


def update(
    gallery: Place,
    ids: Sequence[str],
    name: str | None = None,
    new_name: str | None = None,
    fields: Sequence[str] = (),
) -> int:
    """Rename photos or a person, or change what is known of them.

    Args:
        gallery: The gallery's folder or URL.
        ids: Of the photos; or
        name: whose photos they are, all of them.
        new_name: Whose they are from now on.
        fields: What is known of them from now on, each ``key=value``; ``key=null``
            takes a field away. Others stay.

    Returns:
        How many there are.

    Raises:
        ParameterError: Unless either ids or a name are given, and something to change.
        GalleryError: If one is not enrolled; nothing is changed then.
        FileError: If there is no gallery, or it is damaged.
    """
    if bool(ids) == (name is not None):
        raise ParameterError("give either ids or --name, of what is to be updated")
    if new_name is None and not fields:
        raise ParameterError("nothing to change; give --new-name or --field key=value")
    values = parse_fields(fields)
    with open_gallery(gallery) as people:
        if name is not None:
            count = people.update_person(name, new_name, values)
        else:
            people.update(ids, new_name, values)
            count = len(set(ids))
    print(f"{gallery}: {count} updated")
    return count


def verify(gallery: Place) -> int:
    """Read a whole gallery and check that nothing in it is damaged.

    Returns:
        How many embeddings there are.

    Raises:
        FileError: If there is no gallery, or it is damaged; nothing is changed.
    """
    with open_gallery(gallery) as people:
        count = people.verify()
    print(f"{gallery}: {count} embeddings, all well")
    return count


def rebuild(gallery: Path, index: str | None = None) -> str:
    """Build a gallery's index anew, of another kind if one is given.

    Returns:
        The kind that was built: ``auto`` chooses one.

    Raises:
        ParameterError: If ``index`` is unknown.
        FileError: If there is no gallery, or it is damaged.
    """
    with Gallery(gallery) as people:
        kind = people.rebuild(index)
        print(f"{gallery}: searched with the index {kind}, of {len(people)} faces")
    return kind


def export(gallery: Place, out: Path) -> int:
    """Write a gallery's entries to a parquet file, or to a folder of CSV and npy.

    Returns:
        How many there are.

    Raises:
        FileError: If there is no gallery, or the file cannot be written.
    """
    with (
        open_gallery(gallery) as people,
        progress_bar("export", len(people), "embeddings") as advance,
    ):
        count = export_gallery(people, out, advance)
    print(f"{out}: {count} embeddings of {gallery}")
    return count


def import_entries(path: Path, gallery: Place) -> int:
    """Take in what ``export`` wrote, ids and all; the gallery is made if need be.

    Returns:
        How many entries there are.

    Raises:
        FileError: If there is no export, or the gallery cannot be written.
        DataError: If the export contradicts itself, or is of another model.
        GalleryError: If an entry is in the gallery already; nothing is imported then.
    """
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
    with people:
        people.insert(found.entries, found.embeddings)
    print(f"{gallery}: {len(found.entries)} embeddings of {path}")
    return len(found.entries)
