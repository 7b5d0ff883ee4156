"""What every gallery does, wherever its people are kept."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar
from uuid import uuid4

import numpy as np
from jaxtyping import Float, Float32

from facever.choices import By
from facever.errors import FileError, ParameterError
from facever.gallery import people
from facever.gallery.checking import (
    check_model,
    check_rows,
    check_texts,
    check_unit_length,
    enrolled_already,
    imported_already,
    no_threshold,
    unit_embeddings,
    unknown_id,
    unknown_person,
)
from facever.gallery.entries import (
    Entry,
    Filter,
    Match,
    Origin,
    changed,
    check_by,
    fields_as_json,
)
from facever.gallery.meta import (
    Audit,
    GalleryInfo,
    GalleryMeta,
    Threshold,
    describe_gallery,
    now,
)
from facever.progress import Advance, ignore_progress

# ``typing.Self`` is not known to the runtime type checks of the tests.
Opened = TypeVar("Opened", bound="AnyGallery")

Place = Path | str
"""Where a gallery is: a folder, or a URL whose scheme names the back end."""

NamedPhoto = tuple[str, str]
"""The name and the source of an enrolled photo."""

Ability = Literal["audit", "migrate", "rebuild"]

_WITHOUT: dict[Ability, str] = {
    "audit": "a gallery in Qdrant is searched exactly; leave out --audit",
    "rebuild": "a gallery in Qdrant has no index to rebuild",
    "migrate": (
        "a gallery in Qdrant cannot change its model; enroll the photos into a new "
        "gallery"
    ),
}

# Entries that a back end is asked for in one question.
_ASKED_AT_ONCE = 1000


class AnyGallery(ABC):
    """Enrolled people that can be searched by embedding.

    This class holds what every gallery takes, gives and refuses. A ``Gallery`` keeps
    its people in a folder, a ``PostgresGallery`` in a database; each says what it
    promises if a change is interrupted, and to those who read while somebody writes.
    Whatever is wrong with a call is found before anything is written.

    A back end defines the abstract methods, and sets ``abilities``. What it can do
    faster, or more safely, than by these, it overrides: ``_count``, ``names``,
    ``origins``, ``photos_of``, ``verify``, ``title``, ``_checked_blocks``,
    ``_people``, ``_new_ids``, ``_ids_there``, ``_index_in_use``, ``_changing`` and
    ``_one_state``. A row in ``opening.GALLERIES`` makes it known.

    Attributes:
        abilities: What this kind of gallery can do beyond what all galleries can.
        place: Where the people are kept.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def __init__(self, place: Place, model_fingerprint: str | None) -> None:
        """Refuse to be opened for another model.

        Args:
            place: Where the people are kept, for messages.
            model_fingerprint: The model that makes the embeddings to add or to search
                with. None: entries can only be looked at, renamed and removed.
        """
        self.place = place
        self._model_fingerprint = model_fingerprint
        if model_fingerprint is not None:
            self._checked_meta()

    @classmethod
    @abstractmethod
    def open(cls, place: Place, model_fingerprint: str | None = None) -> "AnyGallery":
        """Open the gallery at a place; see ``open_gallery``."""

    @classmethod
    @abstractmethod
    def create(
        cls,
        place: Place,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
        index: str = "exact",
    ) -> "AnyGallery":
        """Make an empty gallery at a place and open it; see ``create_gallery``."""

    @classmethod
    @abstractmethod
    def exists(cls, place: Place) -> bool:
        """Whether a gallery cannot be made at a place since something is there."""

    @abstractmethod
    def close(self) -> None:
        """Close what the gallery holds open; it cannot be used after that."""

    @abstractmethod
    def entries(self, where: Filter | None = None) -> list[Entry]:
        """The entries that meet a filter, by default all, in the order of adding."""

    @abstractmethod
    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings, in the order of ``entries``, block by block."""

    @abstractmethod
    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""

    @abstractmethod
    def _meta(self) -> GalleryMeta:
        """What the embeddings have in common, as it is now."""

    @abstractmethod
    def _set_meta(self, meta: GalleryMeta) -> None:
        """Put other metadata in the place of what there is."""

    @abstractmethod
    def _insert(
        self,
        entries: Sequence[Entry],
        units: Float32[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
        advance: Advance = ignore_progress,
    ) -> None:
        """Add at least one entry; no id, and no photo of a person, is there yet.

        Progress is one unit for each entry.
        """

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None:
        """Remove entries that are there."""

    @abstractmethod
    def _update(self, entries: Sequence[Entry]) -> None:
        """Give at least one entry that is there another name and other fields."""

    @abstractmethod
    def _nearest(
        self, units: Float32[np.ndarray, "queries dim"], k: int, where: Filter
    ) -> list[list[Match]]:
        """The photos nearest to each query, nearest first.

        Args:
            units: Queries of unit length.
            k: Number of photos to find for each query, at least 1. If fewer photos meet
                the filter, all of these are given.
            where: The filter that photos must meet; None searches all of them.
        """

    def _count(self, where: Filter) -> int:
        """How many entries meet a filter."""
        return len(self.entries(where))

    def origins(self, ids: Sequence[str]) -> dict[str, Origin | None]:
        """Where enrolled faces can be read from again, by their ids."""
        return {entry_id: self.origin(entry_id) for entry_id in ids}

    def photos_of(self, digests: Set[str]) -> dict[str, list[NamedPhoto]]:
        """The enrolled photos whose origin has one of these digests, by the digest."""
        found: dict[str, list[NamedPhoto]] = {}
        for entry in self.entries():
            origin = self.origin(entry.id)
            if origin and origin.digest is not None and origin.digest in digests:
                found.setdefault(origin.digest, []).append((entry.name, entry.source))
        return found

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        counts = Counter(entry.name for entry in self.entries())
        return dict(sorted(counts.items()))

    def verify(self, advance: Advance = ignore_progress) -> int:
        """Read everything and check that it is what this gallery would have written.

        Args:
            advance: Progress, one unit for each embedding.

        Returns:
            The number of embeddings, none of which is damaged.

        Raises:
            FileError: If something is damaged; nothing is changed.
        """
        photos: set[NamedPhoto] = set()
        count = 0
        for entries in self._checked_blocks():
            for entry in entries:
                if (entry.name, entry.source) in photos:
                    raise FileError(
                        f"{self.place}: {entry.name} has {entry.source} enrolled "
                        f"twice, once as {entry.id}; remove one of the two"
                    )
                photos.add((entry.name, entry.source))
            count += len(entries)
            advance(len(entries))
        return count

    def _checked_blocks(self) -> Iterator[list[Entry]]:
        """The entries, block by block, all of whose content ``verify`` has read."""
        for entries, _ in self.read():
            yield entries

    def _people(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By,
        where: Filter,
    ) -> list[list[Match]]:
        """The people nearest to each query, by their ``best`` or ``mean`` photo.

        The mean is taken of the ``4 k`` people with the most similar photos.
        """

        def photos(queries: Sequence[int], num_photos: int) -> list[list[Match]]:
            return self._nearest(units[list(queries)], num_photos, where)

        def means_of(query: int, best: list[Match]) -> list[Match]:
            theirs = replace(where, names=[match.name for match in best])
            num_photos = self._count(theirs)
            if not num_photos:
                return []
            [found] = self._nearest(units[query : query + 1], num_photos, theirs)
            cosines: dict[str, list[float]] = {}
            for photo in found:
                cosines.setdefault(photo.name, []).append(photo.cosine)
            return [
                replace(match, cosine=float(np.mean(cosines[match.name])))
                for match in best
                if match.name in cosines
            ]

        def person_of(match: Match) -> str:
            return match.name

        sizes = len(units), k, self._count(where)
        if by == "best":
            return people.people_by_best(photos, person_of, *sizes)
        return people.people_by_mean(photos, person_of, means_of, *sizes)

    def _new_ids(
        self, meta: GalleryMeta, photos: Sequence[NamedPhoto]
    ) -> dict[NamedPhoto, str]:
        """An id for each photo that is to be added, which no entry has."""
        return {photo: uuid4().hex for photo in photos}

    def _index_in_use(self, index: str, num_embeddings: int) -> str:
        """Kind of index that so many embeddings are searched with."""
        return index

    def _changing(self) -> AbstractContextManager[None]:
        """The block around the checks of a change and the change itself."""
        return nullcontext()

    def _one_state(self) -> AbstractContextManager[None]:
        """The block around reads that belong together."""
        return nullcontext()

    @property
    def title(self) -> str:
        """What people call the gallery: the last part of its place."""
        return Path(self.place).resolve().name

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        model = self._model_fingerprint
        opened_for = "" if model is None else f", model {model[:12]}"
        return f"{type(self).__name__}({str(self.place)!r}{opened_for})"

    def __len__(self) -> int:
        """How many embeddings are enrolled."""
        return self._count(Filter())

    def add(
        self,
        names: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]] | None = None,
        origins: Sequence[Origin | None] | None = None,
    ) -> list[str]:
        """Enroll embeddings.

        Args:
            names: The name of the person whom each embedding shows.
            embeddings: Embeddings of any length but zero; only their direction is kept.
            sources: The photo that each embedding comes from, such as ``Ann/1.jpg``. A
                photo that is enrolled under the same name already is left as it is.
            fields: Further facts about each photo, as JSON values by name; none by
                default.
            origins: Where each face can be read from again, for ``gallery migrate``.

        Returns:
            The id of each; for a photo that was there already, the id it had.

        Raises:
            ParameterError: If the numbers of names, embeddings and others differ, a
                name or source is empty or not valid text, or a field is not JSON.
            MismatchError: If the embeddings have another size or are of another model.
            DataError: If an embedding is zero or not finite.
            GalleryError: If another process keeps on writing.
        """
        fields = [{}] * len(names) if fields is None else fields
        origins = [None] * len(names) if origins is None else origins
        check_rows(names, embeddings, sources, fields, origins)
        photos = list(zip(names, sources, strict=True))
        with self._changing():
            meta = self._checked_meta()
            units = unit_embeddings(embeddings, meta.embedding_size)
            ids = self.ids_of(photos)
            new: dict[NamedPhoto, int] = {}
            for row, photo in enumerate(photos):
                if photo not in ids:
                    new.setdefault(photo, row)
            ids |= self._new_ids(meta, list(new))
            if new:
                added, rows = now(), list(new.values())
                self._insert(
                    [Entry(ids[p], *p, added, dict(fields[r])) for p, r in new.items()],
                    units[rows],
                    [origins[row] for row in rows],
                )
        return [ids[photo] for photo in photos]

    def insert(
        self,
        entries: Sequence[Entry],
        embeddings: Float32[np.ndarray, "rows dim"],
        threshold: Threshold | None = None,
        advance: Advance = ignore_progress,
    ) -> bool:
        """Add entries as ``read`` gave them, with the same ids.

        Args:
            entries: Entries whose ids, and photos of a person, are not here yet.
            embeddings: Embeddings of unit length, which are kept bit by bit.
            threshold: The threshold that was chosen for these entries. A gallery with
                a threshold, or people, of its own does not take it.
            advance: Progress, one unit for each entry.

        Returns:
            Whether the threshold was taken.

        Raises:
            GalleryError: If an entry is here already, or an embedding of another
                length.
            MismatchError: If the embeddings have another size or are of another model.
        """
        check_texts("name", [entry.name for entry in entries])
        check_texts("source", [entry.source for entry in entries])
        with self._changing():
            meta = self._checked_meta()
            units = unit_embeddings(embeddings, meta.embedding_size)
            check_unit_length(units, embeddings)
            takes_threshold = not (threshold is None or meta.threshold or len(self))
            ids = set(self._entries_by_id([entry.id for entry in entries]))
            photos = set(self.ids_of([(e.name, e.source) for e in entries]))
            for entry in entries:
                photo = entry.name, entry.source
                if entry.id in ids or photo in photos:
                    raise imported_already(self.place, *photo, entry.id)
                ids.add(entry.id)
                photos.add(photo)
            if entries:
                self._insert(entries, embeddings, [None] * len(entries), advance)
            if takes_threshold:
                self._set_meta(replace(meta, threshold=threshold))
        return takes_threshold

    def replace(
        self,
        ids: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
    ) -> None:
        """Give enrolled photos other embeddings; ids, names, sources and fields stay.

        Args:
            ids: The ids of photos, each once.
            embeddings: Their embeddings from now on, of any length but zero.
            origins: Where each face can be read from again.

        Raises:
            NotEnrolledError: If an id is not enrolled; nothing is changed.
            MismatchError: If the embeddings have another size or are of another model.
            DataError: If an embedding is zero or not finite.
        """
        with self._changing():
            units = unit_embeddings(embeddings, self._checked_meta().embedding_size)
            entries = [replace(entry, added=now()) for entry in self._known(ids)]
            self._remove(ids)
            if entries:
                self._insert(entries, units, origins)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove enrolled photos.

        Raises:
            NotEnrolledError: If an id is not enrolled; nothing is removed.
        """
        with self._changing():
            there = self._ids_there(ids)
            for entry_id in ids:
                if entry_id not in there:
                    raise unknown_id(self.place, entry_id)
            self._remove(list(there))

    def remove_person(self, name: str) -> int:
        """Remove all of a person's photos.

        Returns:
            How many there were.

        Raises:
            NotEnrolledError: If nobody has that name.
        """
        with self._changing():
            entries = self._photos_of(name)
            self._remove([entry.id for entry in entries])
            return len(entries)

    def update(
        self,
        ids: Sequence[str],
        name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Give photos another name, or change what is known of them.

        Args:
            ids: The ids of the photos; they stay.
            name: The person on the photos from now on; None keeps the name.
            fields: Values to set; a value of None removes the field. Others stay.

        Raises:
            GalleryError: If an id is not enrolled, or that person has a source of the
                same name already; nothing is changed.
            ParameterError: If the name is empty or a field is not JSON.
        """
        with self._changing():
            self._change(self._known(ids), name, fields)

    def update_person(
        self,
        name: str,
        new_name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> int:
        """Change all of a person's photos as ``update`` does.

        Args:
            name: The person.
            new_name: The name that they get, which may be somebody's; None keeps the
                name.
            fields: Values to set; a value of None removes the field. Others stay.

        Returns:
            How many photos there are.

        Raises:
            GalleryError: If nobody has the old name, or the new one's person has a
                source of the same name already; nothing is changed.
            ParameterError: If the new name is empty or a field is not JSON.
        """
        with self._changing():
            entries = self._photos_of(name)
            self._change(entries, new_name, fields)
            return len(entries)

    def find(self, name: str, source: str) -> str | None:
        """The id of a photo that is enrolled under a name, None if it is not."""
        return self.ids_of([(name, source)]).get((name, source))

    def ids_of(self, photos: Sequence[NamedPhoto]) -> dict[NamedPhoto, str]:
        """The ids of those of these photos, each as name and source, that are there."""
        return {
            (entry.name, entry.source): entry.id
            for start in range(0, len(photos), _ASKED_AT_ONCE)
            for entry in self.entries(
                Filter(photos=photos[start : start + _ASKED_AT_ONCE])
            )
        }

    def search(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        k: int = 5,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Match]]:
        """The enrolled photos, or people, most similar to each embedding.

        Args:
            embeddings: Embeddings of any length but zero.
            k: Number of matches to find for each, at least 1.
            by: ``photo``: each photo is a match. ``best`` and ``mean``: each person is
                a match, with the best or the mean of their photos' cosines.
            where: The filter that photos must meet, None for all; a person's mean is
                taken over the photos that meet it.

        Returns:
            For each query its matches, most similar first: ``k``, or all there are if
            these are fewer, none if the gallery is empty.

        Raises:
            ParameterError: If ``k`` is below 1 or ``by`` is unknown.
            MismatchError: If the embeddings have another size or are of another model.
            DataError: If an embedding is zero or not finite.
            FileError: If the gallery is damaged.
        """
        if k < 1:
            raise ParameterError(f"k must be at least 1, got {k}")
        check_by(by)
        with self._one_state():
            units = unit_embeddings(embeddings, self._checked_meta().embedding_size)
            if by == "photo":
                return self._nearest(units, k, where or Filter())
            return self._people(units, k, by, where or Filter())

    def identify(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        where: Filter | None = None,
    ) -> list[Match | None]:
        """Who each embedding is: the most similar photo above the threshold, or nobody.

        Raises:
            GalleryError: If no threshold was set.
            MismatchError: If the embeddings have another size or are of another model.
            DataError: If an embedding is zero or not finite.
            FileError: If the gallery is damaged.
        """
        with self._one_state():
            threshold = self._meta().threshold
            if threshold is None:
                raise no_threshold(self.place)
            found = self.search(embeddings, 1, where=where)
        return [
            matches[0] if matches and matches[0].cosine > threshold.cosine else None
            for matches in found
        ]

    def threshold(self) -> Threshold | None:
        """The threshold that ``identify`` goes by, None if none was set.

        ``info`` says it, too, but counts everybody for that.
        """
        return self._meta().threshold

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None removes it."""
        with self._changing():
            self._set_meta(replace(self._meta(), threshold=threshold))

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        with self._one_state():
            meta, names = self._meta(), self.names()
            in_use = self._index_in_use(meta.index, sum(names.values()))
            return describe_gallery(meta, names, in_use)

    def check_can(self, ability: Ability) -> None:
        """Refuse what this kind of gallery cannot do.

        Raises:
            ParameterError: If it is not among the ``abilities``.
        """
        if ability not in self.abilities:
            raise ParameterError(f"{self.place}: {_WITHOUT[ability]}")

    def audit(self, num_queries: int = 200, k: int = 10) -> Audit:
        """Compare the index with exact search; see ``Gallery.audit``.

        Raises:
            ParameterError: If this kind of gallery cannot ``audit``.
        """
        self.check_can("audit")
        raise NotImplementedError

    def rebuild(
        self, index: str | None = None, advance: Advance = ignore_progress
    ) -> str:
        """Build the index again; see ``Gallery.rebuild``.

        Raises:
            ParameterError: If this kind of gallery cannot ``rebuild``.
        """
        self.check_can("rebuild")
        raise NotImplementedError

    def replace_model(
        self,
        embeddings: Mapping[str, Float[np.ndarray, " dim"]],
        dropped: Sequence[str],
        model_fingerprint: str,
        model_details: Mapping[str, Any],
    ) -> None:
        """Take embeddings of another model; see ``Gallery.replace_model``.

        Raises:
            ParameterError: If this kind of gallery cannot ``migrate``.
        """
        self.check_can("migrate")
        raise NotImplementedError

    def _checked_meta(self) -> GalleryMeta:
        meta = self._meta()
        check_model(self.place, meta.model_fingerprint, self._model_fingerprint)
        return meta

    def _entries_by_id(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of these entries that are enrolled."""
        return {
            entry.id: entry
            for start in range(0, len(ids), _ASKED_AT_ONCE)
            for entry in self.entries(Filter(ids=ids[start : start + _ASKED_AT_ONCE]))
        }

    def _ids_there(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that are enrolled."""
        return set(self._entries_by_id(ids))

    def _known(self, ids: Sequence[str]) -> list[Entry]:
        known = self._entries_by_id(ids)
        for entry_id in ids:
            if entry_id not in known:
                raise unknown_id(self.place, entry_id)
        return list(known.values())

    def _photos_of(self, name: str) -> list[Entry]:
        entries = self.entries(Filter([name]))
        if not entries:
            raise unknown_person(self.place, name)
        return entries

    def _change(
        self,
        entries: Sequence[Entry],
        name: str | None,
        fields: Mapping[str, Any] | None,
    ) -> None:
        check_texts("name", [] if name is None else [name])
        updated = [changed(entry, name, fields) for entry in entries]
        for entry in updated:
            fields_as_json(entry.fields)
        taken = self.ids_of([(entry.name, entry.source) for entry in updated])
        for entry in updated:
            known = taken.setdefault((entry.name, entry.source), entry.id)
            if known != entry.id:
                raise enrolled_already(entry.name, entry.source, known)
        if updated:
            self._update(updated)
