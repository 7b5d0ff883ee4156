"""Rows of name, source, fields and embedding in a Qdrant collection."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from facever.errors import GalleryError
from facever.gallery.checking import enrolled_already, imported_already
from facever.gallery.entries import Entry, Filter, Origin, fields_as_json
from facever.gallery.meta import now
from facever.gallery.qdrant.collection import Collection
from facever.gallery.qdrant.points import (
    Point,
    as_condition,
    as_entry,
    as_origin,
    as_point,
    changeable,
    entry_id_of,
    new_id,
    point_id,
)

_ROWS_A_READ = 1024

Photo = tuple[str, str]


class QdrantStore:
    """What is enrolled in a collection; every change is checked before it is made."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def add(
        self,
        gallery_id: str,
        photos: Sequence[Photo],
        units: Float32[np.ndarray, "rows dim"],
        fields: Sequence[Mapping[str, Any]],
        origins: Sequence[Origin | None],
    ) -> list[str]:
        """Add rows; a photo that is there already keeps its id and embedding.

        Args:
            gallery_id: The gallery's own.
            photos: Name and source of each.
            units: Of unit length.
            fields: What else is known of each.
            origins: Where each face can be read from again.

        Returns:
            The id of each.
        """
        ids = self.ids_by_photo({name for name, _ in photos})
        new: dict[Photo, int] = {}
        for row, photo in enumerate(photos):
            if photo not in ids:
                new.setdefault(photo, row)
        ids |= self._free_ids(gallery_id, list(new))
        added, number = now(), time.time_ns()
        self._collection.put(
            [
                as_point(
                    Entry(ids[photo], *photo, added, dict(fields[row])),
                    units[row],
                    number + place,
                    origins[row],
                )
                for place, (photo, row) in enumerate(new.items())
            ]
        )
        return [ids[photo] for photo in photos]

    def insert(
        self, entries: Sequence[Entry], embeddings: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Add rows, ids and all.

        Raises:
            GalleryError: If an id or a photo is there already, or an id is no UUID.
        """
        place = self._collection.place
        photos = set(self.ids_by_photo({entry.name for entry in entries}))
        ids = set(self.points([entry.id for entry in entries]))
        for entry in entries:
            if point_id(entry.id) is None:
                raise GalleryError(
                    f"{place}: an entry's id must be a UUID's 32 digits, got "
                    f"{entry.id!a}; add the embeddings in place of importing them"
                )
            if entry.id in ids or (entry.name, entry.source) in photos:
                raise imported_already(place, entry.name, entry.source, entry.id)
            ids.add(entry.id)
            photos.add((entry.name, entry.source))
        rows = enumerate(zip(entries, embeddings, strict=True), time.time_ns())
        self._collection.put(
            [as_point(entry, unit, number, None) for number, (entry, unit) in rows]
        )

    def remove(self, ids: Iterable[str]) -> None:
        """Remove rows that are there."""
        points = [str(point_id(entry_id)) for entry_id in ids]
        if points:
            self._collection.delete(points)

    def update(self, entries: Sequence[Entry]) -> None:
        """Give rows that are there these names and fields.

        Raises:
            GalleryError: If a photo would be there twice under a name.
        """
        taken = self.ids_by_photo({entry.name for entry in entries})
        for entry in entries:
            known = taken.setdefault((entry.name, entry.source), entry.id)
            if known != entry.id:
                raise enrolled_already(entry.name, entry.source, known)
        if not entries:
            return
        # Rows that become alike are one operation: a person's, as a rule.
        alike: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            key = (entry.name, fields_as_json(entry.fields))
            alike.setdefault(key, []).append(entry)
        self._collection.set_payloads(
            [
                ([str(point_id(entry.id)) for entry in some], changeable(some[0]))
                for some in alike.values()
            ]
        )

    def ids_by_photo(self, names: Iterable[str]) -> dict[Photo, str]:
        """The ids of all that these people have enrolled, by name and source."""
        where = Filter(sorted(set(names)))
        if not where.names:
            return {}
        return {
            (entry.name, entry.source): entry.id
            for entry in map(self._as_entry, self._collection.read(as_condition(where)))
        }

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        counts: dict[str, int] = {}
        for point in self._collection.read(None, ["name"]):
            name = (point.payload or {}).get("name")
            if not isinstance(name, str):
                raise self._collection.damaged(f"the payload of point {point.id}")
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def entries(self, where: Filter) -> list[Entry]:
        """What meets a filter, in the order it was added."""
        numbered = []
        for point in self._collection.read(as_condition(where)):
            entry = self._as_entry(point)
            assert point.payload is not None
            numbered.append((point.payload["number"], entry.id, entry))
        return [entry for _, _, entry in sorted(numbered, key=lambda row: row[:2])]

    def entries_by_id(self, ids: Sequence[str]) -> dict[str, Entry]:
        """The rows that have one of these ids."""
        return {key: self._as_entry(point) for key, point in self.points(ids).items()}

    def read(
        self, where: Filter, size: int
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and embeddings of ``size`` numbers, as added, block by block.

        Raises:
            FileError: If an embedding is not one: the collection is damaged.
        """
        entries = self.entries(where)
        for start in range(0, len(entries), _ROWS_A_READ):
            block = entries[start : start + _ROWS_A_READ]
            points = self.points([entry.id for entry in block], vectors=True)
            left = [entry for entry in block if entry.id in points]
            vectors = [points[entry.id].vector for entry in left]
            units = np.array(vectors, np.float32).reshape(-1, size)
            if not (abs(np.linalg.norm(units, axis=1) - 1) < 1e-3).all():
                raise self._collection.damaged("an embedding is not of unit length")
            yield left, units

    def origin(self, entry_id: str) -> Origin | None:
        """Where a row's face can be read from again, None if nobody said."""
        points = self.points([entry_id])
        return as_origin(points[entry_id]) if points else None

    def points(self, ids: Sequence[str], vectors: bool = False) -> dict[str, Point]:
        """The points that have one of these ids, by it."""
        known = [point for entry_id in ids if (point := point_id(entry_id)) is not None]
        return {
            entry_id_of(point): point
            for start in range(0, len(known), _ROWS_A_READ)
            for point in self._collection.get(
                known[start : start + _ROWS_A_READ], vectors
            )
        }

    def _free_ids(self, gallery_id: str, photos: Sequence[Photo]) -> dict[Photo, str]:
        """An id for each photo that is new: the first of its own that nobody has."""
        ids: dict[Photo, str] = {}
        waiting, attempt = list(photos), 0
        while waiting:
            asked = {photo: new_id(gallery_id, *photo, attempt) for photo in waiting}
            taken = self.points(list(asked.values()))
            ids |= {photo: key for photo, key in asked.items() if key not in taken}
            waiting = [photo for photo, key in asked.items() if key in taken]
            attempt += 1
        return ids

    def _as_entry(self, point: Point) -> Entry:
        return as_entry(point, self._collection.damaged)
