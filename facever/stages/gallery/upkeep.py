"""The stages of ``facever gallery`` that list, change or check a gallery."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from facever.errors import ParameterError
from facever.gallery.base import Place
from facever.gallery.checking import unknown_person
from facever.gallery.entries import Entry, Filter
from facever.gallery.indexes.index import EXACT, kind_in_words
from facever.gallery.meta import Audit, GalleryInfo
from facever.gallery.opening import open_gallery
from facever.progress import ignore_progress, progress_bar, waiting
from facever.results import Result, plain, table_lines
from facever.stages.gallery.fields import parse_fields

_LITTLE = 0.99
"""A share of nearest photos that an index should find."""

_COMPARING = "comparing the index with exact search"


@dataclass(frozen=True)
class PeopleList(Result):
    """The enrolled people.

    Attributes:
        names: The number of photos of each person, in the order of the names.
    """

    names: dict[str, int]

    def lines(self) -> list[str]:
        """A table of names and numbers of photos."""
        rows = [[name, str(count)] for name, count in self.names.items()]
        return table_lines(["name", "photos"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The number of photos by name."""
        return self.names


@dataclass(frozen=True)
class EntryList(Result):
    """Enrolled photos.

    Attributes:
        photos: The entries, in the order they were added.
    """

    photos: list[Entry]

    def lines(self) -> list[str]:
        """A table of ids, names, photos and fields."""
        rows = [
            [e.id, e.name, e.source, ", ".join(f"{k}={v}" for k, v in e.fields.items())]
            for e in self.photos
        ]
        return table_lines(["id", "name", "photo", "fields"], rows)


@dataclass(frozen=True)
class GalleryFacts(Result):
    """What a gallery holds and for which model it was made.

    Attributes:
        gallery: The gallery's folder or URL.
        info: What the gallery holds.
        audit: How the gallery's index compares with exact search; None if that was not
            asked.
    """

    gallery: str
    info: GalleryInfo
    audit: Audit | None

    def lines(self) -> list[str]:
        """A table of the facts."""
        facts = self.to_dict()
        details, threshold = facts.pop("model_details"), facts.pop("threshold")
        if self.info.model_fingerprint is None:
            facts["model_fingerprint"] = "none: takes any embeddings"
        facts["index"] = kind_in_words(self.info.index, self.info.index_in_use)
        del facts["index_in_use"]
        if facts.get("candidates") is None:
            facts.pop("candidates", None)
        facts |= {f"model's {key}": value for key, value in details.items()}
        facts |= {
            f"threshold's {key}": value for key, value in (threshold or {}).items()
        }
        return table_lines(
            ["", ""], [[key, str(value)] for key, value in facts.items()]
        )

    def to_dict(self) -> dict[str, Any]:
        """All facts on one level."""
        audit = {} if self.audit is None else plain(self.audit)
        return {"gallery": self.gallery, **plain(self.info), **audit}


@dataclass(frozen=True)
class GalleryRemoval(Result):
    """Photos that were removed from a gallery.

    Attributes:
        gallery: The gallery's folder or URL.
        num_removed: Number of photos that were removed.
        num_left: Number of photos that are still enrolled.
    """

    gallery: str
    num_removed: int
    num_left: int

    def lines(self) -> list[str]:
        """The two numbers."""
        return [f"{self.gallery}: {self.num_removed} removed, {self.num_left} left"]


@dataclass(frozen=True)
class GalleryUpdate(Result):
    """Photos whose name or fields were changed.

    Attributes:
        gallery: The gallery's folder or URL.
        num_updated: Number of photos that were changed.
    """

    gallery: str
    num_updated: int

    def lines(self) -> list[str]:
        """The number."""
        return [f"{self.gallery}: {self.num_updated} updated"]


@dataclass(frozen=True)
class GalleryCheck(Result):
    """A gallery that was read as a whole and is not damaged.

    Attributes:
        gallery: The gallery's folder or URL.
        num_embeddings: Number of embeddings that were read.
    """

    gallery: str
    num_embeddings: int

    def lines(self) -> list[str]:
        """The number."""
        return [f"{self.gallery}: {self.num_embeddings} embeddings, all well"]


@dataclass(frozen=True)
class GalleryIndex(Result):
    """The index that a gallery is searched with.

    Attributes:
        gallery: The gallery's folder.
        index: Kind of index that was asked for: ``auto`` chooses one by the size.
        index_in_use: Kind of index that was built: few embeddings are searched exactly.
        num_embeddings: Number of embeddings in the gallery.
        audit: How the index compares with exact search; None if it is exact itself.
    """

    gallery: str
    index: str
    index_in_use: str
    num_embeddings: int
    audit: Audit | None

    def lines(self) -> list[str]:
        """The kind of index, the number of embeddings, and what the index misses."""
        index = kind_in_words(self.index, self.index_in_use)
        lines = [f"{self.gallery}: {self.num_embeddings:,} faces, index {index}"]
        if self.audit is not None and self.audit.num_queries:
            found, candidates = self.audit.recall_at_1, self.audit.candidates
            among = "" if candidates is None else f", among {candidates:,} candidates"
            lines.append(
                f"of {self.audit.num_queries:,} enrolled photos, looked up among the "
                f"others, it finds the nearest of {found:.1%}{among}"
            )
            if found < _LITTLE:
                lines.append(
                    "that is little: unless it will do, go back to exact search with "
                    "--index exact"
                )
        return lines


def list_people(gallery: Place) -> PeopleList:
    """Each person of a gallery, and how many photos of theirs are enrolled.

    Args:
        gallery: The gallery's folder or URL.

    Raises:
        FileError: If there is no gallery, or it is damaged.
    """
    with open_gallery(gallery) as people:
        return PeopleList(people.names())


def list_entries(
    gallery: Place, *, names: Sequence[str] = (), fields: Sequence[str] = ()
) -> EntryList:
    """The enrolled photos, with their ids.

    Args:
        gallery: The gallery's folder or URL.
        names: List only photos of these people.
        fields: List only photos with these fields, each as ``key=value``.

    Raises:
        FileError: If there is no gallery, or it is damaged.
        GalleryError: If nobody has one of the names.
        ParameterError: If a field is not ``key=value``.
    """
    where = Filter(names, parse_fields(fields))
    with open_gallery(gallery) as people:
        entries = people.entries(where)
        for name in {*names} - {entry.name for entry in entries}:
            if not people.entries(Filter([name])):
                raise unknown_person(gallery, name)
        return EntryList(entries)


def info(gallery: Place, *, audit: bool = False) -> GalleryFacts:
    """What a gallery holds and for which model it was made.

    Args:
        gallery: The gallery's folder or URL.
        audit: Also look up some of its photos among the others, and say what share of
            the answers of an exact search the index finds.

    Raises:
        ParameterError: If a gallery without an index of its own is to be audited.
        FileError: If there is no gallery, or it is damaged.
    """
    with open_gallery(gallery) as people:
        found = None
        if audit:
            with waiting(_COMPARING):
                found = people.audit()
        return GalleryFacts(str(gallery), people.info(), found)


def remove(
    gallery: Place, ids: Sequence[str] = (), *, name: str | None = None
) -> GalleryRemoval:
    """Remove photos from a gallery by their ids, or all photos of a person.

    Args:
        gallery: The gallery's folder or URL.
        ids: Ids of the photos to remove; empty if a name is given.
        name: The person whose photos are removed.

    Raises:
        ParameterError: Unless either ids or a name are given.
        GalleryError: If an id or name is not enrolled; nothing is removed then.
        FileError: If there is no gallery, or it is damaged.
    """
    if bool(ids) == (name is not None):
        raise ParameterError("say what to remove: give either ids or --name")
    with open_gallery(gallery) as people:
        if name is not None:
            count = people.remove_person(name)
        else:
            people.remove(ids)
            count = len(set(ids))
        return GalleryRemoval(str(gallery), count, len(people))


def update(
    gallery: Place,
    ids: Sequence[str] = (),
    *,
    name: str | None = None,
    new_name: str | None = None,
    fields: Sequence[str] = (),
) -> GalleryUpdate:
    """Rename photos or a person, or change what is known of them.

    Args:
        gallery: The gallery's folder or URL.
        ids: Ids of the photos to change; empty if a name is given.
        name: The person whose photos are changed.
        new_name: The name that they get.
        fields: Fields to set, each as ``key=value``; ``key=null`` removes a field.
            Other fields stay.

    Raises:
        ParameterError: Unless either ids or a name are given, and something to change.
        GalleryError: If an id or name is not enrolled; nothing is changed then.
        FileError: If there is no gallery, or it is damaged.
    """
    if bool(ids) == (name is not None):
        raise ParameterError("say what to update: give either ids or --name")
    if new_name is None and not fields:
        raise ParameterError("nothing to change; give --new-name or --field key=value")
    values = parse_fields(fields)
    with open_gallery(gallery) as people:
        if name is not None:
            count = people.update_person(name, new_name, values)
        else:
            people.update(ids, new_name, values)
            count = len(set(ids))
    return GalleryUpdate(str(gallery), count)


def verify(gallery: Place) -> GalleryCheck:
    """Read a whole gallery and check that nothing in it is damaged.

    Raises:
        FileError: If there is no gallery, or it is damaged; nothing is changed.
    """
    with (
        open_gallery(gallery) as people,
        progress_bar("verify", len(people), "embeddings") as advance,
    ):
        return GalleryCheck(str(gallery), people.verify(advance))


def rebuild(gallery: Place, *, index: str | None = None) -> GalleryIndex:
    """Build a gallery's index again, and measure what it misses.

    Args:
        gallery: The gallery's folder or URL.
        index: Kind of index to search with from now on; None keeps the kind.

    Raises:
        ParameterError: If ``index`` is unknown, or the gallery has no index.
        FileError: If there is no gallery, or it is damaged.
    """
    with open_gallery(gallery) as people:
        asked = index or people.info().index
        # Exact search has nothing to build that takes long.
        bar = (
            nullcontext(ignore_progress)
            if asked == EXACT
            else progress_bar("building the index", len(people), "faces")
        )
        with bar as advance:
            built = people.rebuild(index, advance)
        audit = None
        if built != EXACT:
            with waiting(_COMPARING):
                audit = people.audit()
        return GalleryIndex(str(gallery), asked, built, len(people), audit)
