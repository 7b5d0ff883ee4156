"""A gallery in a Qdrant database: the same questions and answers, past one machine.

Experimental: it runs against the client's in-process mode and a stand-in for the
server; it has not been run against a real server yet.
"""

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from jaxtyping import Float32

from facever.errors import GalleryError, ParameterError
from facever.gallery.base import AnyGallery, NamedPhoto, Place
from facever.gallery.entries import Entry, Filter, Match, Origin, fields_as_json
from facever.gallery.meta import GalleryMeta
from facever.gallery.qdrant.collection import Collection, connect
from facever.gallery.qdrant.meta import (
    create_collection,
    read_collection_meta,
    write_collection_meta,
)
from facever.gallery.qdrant.points import (
    Point,
    as_condition,
    as_entry,
    as_match,
    as_origin,
    as_point,
    changeable,
    entry_id_of,
    new_id,
    point_id,
)
from facever.progress import Advance, ignore_progress

_ROWS_A_READ = 1024


class QdrantGallery(AnyGallery):
    """A Qdrant collection of enrolled people that can be searched by embedding.

    Experimental: it has not been run against a real server yet.

    It does what ``Gallery`` does, with what a server promises:

    - A change has been carried out when the call returns, and outlives an end of the
      server's process; whether it outlives a power failure is up to the server.
    - There are no transactions. A change is checked as a whole before anything is
      written, and is one request, or for additions one for each 1,000 rows; but a
      reader may see half of a request, and if a call fails between requests, the first
      ones stay. Adding the same again completes it.
    - One process changes a gallery at a time. Nothing stops a second one; two that add
      the same photo enroll it once, but a photo that one adds while another renames can
      end up twice under a name, which ``verify`` finds.
    - Search is exact: the server compares with every embedding. But people's means are
      taken of the ``4 k`` people with the most similar photos.
    - The model stays: a collection cannot change its embeddings' size. To change over
      to another model, enroll into a new collection.

    It needs Qdrant 1.16.
    """

    def __init__(
        self, collection: Collection, model_fingerprint: str | None = None
    ) -> None:
        """Open a gallery; ``open_gallery`` does it by URL.

        Args:
            collection: The gallery's collection, which is closed with the gallery.
            model_fingerprint: The model that makes the embeddings, as for ``Gallery``.

        Raises:
            FileError: If there is no server, no such collection, or it is not a
                gallery.
            GalleryError: If another version of facever made it.
            MismatchError: If it was made for another model.
        """
        self._collection = collection
        read_collection_meta(collection)
        super().__init__(collection.place, model_fingerprint)

    @classmethod
    def open(
        cls, place: Place, model_fingerprint: str | None = None
    ) -> "QdrantGallery":
        """Open the gallery that a URL names."""
        collection = connect(str(place))
        try:
            return cls(collection, model_fingerprint)
        except BaseException:
            collection.close()
            raise

    @classmethod
    def create(
        cls,
        place: Place,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
        index: str = "exact",
    ) -> "QdrantGallery":
        """Make an empty gallery and open it.

        Args:
            place: A URL whose collection does not exist yet.
            embedding_size: Number of values in an embedding, at least 1.
            model_fingerprint: The model whose embeddings, and no others, it takes; None
                if it takes any of the right size.
            model_details: What ``info`` says of that model.
            index: Kind of index: a database is searched with ``exact`` alone.

        Raises:
            ParameterError: If ``embedding_size`` is below 1, or ``index`` is another.
            GalleryError: If there is a gallery already.
            FileError: If there is another collection of this name, or no server.
        """
        if index != "exact":
            raise ParameterError(
                f"index must be exact for a gallery in a database, got {index!r}"
            )
        collection = connect(str(place))
        try:
            return cls.create_in(
                collection, embedding_size, model_fingerprint, model_details
            )
        except BaseException:
            collection.close()
            raise

    @classmethod
    def create_in(
        cls,
        collection: Collection,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
    ) -> "QdrantGallery":
        """Make an empty gallery of a collection that does not exist yet, as ``create``.

        The collection is closed with the gallery.
        """
        create_collection(
            collection, embedding_size, model_fingerprint, model_details or {}
        )
        return cls(collection, model_fingerprint)

    @classmethod
    def exists(cls, place: Place) -> bool:
        """Whether there is a collection of this name, a gallery's or not."""
        collection = connect(str(place))
        try:
            return collection.exists()
        finally:
            collection.close()

    def close(self) -> None:
        """Close the connection; the gallery cannot be used after that."""
        self._collection.close()

    def entries(self, where: Filter | None = None) -> list[Entry]:
        """The entries that meet a filter, by default all, in the order of adding."""
        numbered = []
        for point in self._collection.read(as_condition(where or Filter())):
            entry = self._as_entry(point)
            assert point.payload is not None
            numbered.append((point.payload["number"], entry.id, entry))
        return [entry for _, _, entry in sorted(numbered, key=lambda row: row[:2])]

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings, block by block.

        What is removed meanwhile is left out, and what is added is not seen.

        Raises:
            FileError: If an embedding is missing or wrong: the collection is damaged.
        """
        size = self._meta().embedding_size
        entries = self.entries(where)
        for start in range(0, len(entries), _ROWS_A_READ):
            block = entries[start : start + _ROWS_A_READ]
            points = self._points([entry.id for entry in block], vectors=True)
            left = [entry for entry in block if entry.id in points]
            vectors = [points[entry.id].vector for entry in left]
            units = np.array(vectors, np.float32).reshape(-1, size)
            if not (abs(np.linalg.norm(units, axis=1) - 1) < 1e-3).all():
                raise self._collection.damaged("an embedding is not of unit length")
            yield left, units

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        points = self._points([entry_id])
        return as_origin(points[entry_id]) if points else None

    def photos_of(self, digests: Set[str]) -> dict[str, list[NamedPhoto]]:
        """The enrolled photos whose origin has one of these digests, by the digest."""
        found: dict[str, list[NamedPhoto]] = {}
        for point in self._collection.read(None, ["name", "source", "origin"]):
            origin, payload = as_origin(point), point.payload or {}
            if origin and origin.digest is not None and origin.digest in digests:
                photo = payload["name"], payload["source"]
                found.setdefault(origin.digest, []).append(photo)
        return found

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        counts: dict[str, int] = {}
        for point in self._collection.read(None, ["name"]):
            name = (point.payload or {}).get("name")
            if not isinstance(name, str):
                raise self._collection.damaged(f"the payload of point {point.id}")
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def _count(self, where: Filter) -> int:
        return self._collection.count(as_condition(where))

    def _meta(self) -> GalleryMeta:
        return read_collection_meta(self._collection)

    def _set_meta(self, meta: GalleryMeta) -> None:
        write_collection_meta(self._collection, meta)

    def _new_ids(
        self, meta: GalleryMeta, photos: Sequence[NamedPhoto]
    ) -> dict[NamedPhoto, str]:
        """An id for each photo: the first of its own that nobody has."""
        ids: dict[NamedPhoto, str] = {}
        waiting, attempt = list(photos), 0
        while waiting:
            asked = {p: new_id(meta.gallery_id, *p, attempt) for p in waiting}
            taken = self._points(list(asked.values()))
            ids |= {photo: key for photo, key in asked.items() if key not in taken}
            waiting = [photo for photo, key in asked.items() if key in taken]
            attempt += 1
        return ids

    def _insert(
        self,
        entries: Sequence[Entry],
        units: Float32[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
        advance: Advance = ignore_progress,
    ) -> None:
        for entry in entries:
            if point_id(entry.id) is None:
                raise GalleryError(
                    f"{self.place}: an entry's id must be a UUID's 32 digits, got "
                    f"{entry.id!a}; add the embeddings in place of importing them"
                )
        rows = zip(entries, units, origins, strict=True)
        self._collection.put(
            [
                as_point(entry, unit, number, origin)
                for number, (entry, unit, origin) in enumerate(rows, time.time_ns())
            ]
        )
        advance(len(entries))

    def _remove(self, ids: Sequence[str]) -> None:
        if ids:
            self._collection.delete([str(point_id(entry_id)) for entry_id in ids])

    def _update(self, entries: Sequence[Entry]) -> None:
        # Rows that become alike are one operation: usually a person's.
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

    def _nearest(
        self, units: Float32[np.ndarray, "queries dim"], k: int, where: Filter
    ) -> list[list[Match]]:
        found = self._collection.search(units.tolist(), k, as_condition(where))
        return [
            [as_match(point, self._collection.damaged) for point in points]
            for points in found
        ]

    def _points(self, ids: Sequence[str], vectors: bool = False) -> dict[str, Point]:
        """The points that have one of these ids, by it."""
        known = [point for entry_id in ids if (point := point_id(entry_id)) is not None]
        return {
            entry_id_of(point): point
            for start in range(0, len(known), _ROWS_A_READ)
            for point in self._collection.get(
                known[start : start + _ROWS_A_READ], vectors
            )
        }

    def _as_entry(self, point: Point) -> Entry:
        return as_entry(point, self._collection.damaged)
