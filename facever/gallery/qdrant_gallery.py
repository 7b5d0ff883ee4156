"""A gallery in a Qdrant database: the same questions and answers, past one machine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facever.errors import ParameterError
from facever.gallery.checking import (
    check_model,
    check_rows,
    check_texts,
    check_unit_length,
    no_threshold,
    unit_embeddings,
    unknown_id,
    unknown_person,
)
from facever.gallery.entries import Entry, Filter, Match, Origin, changed
from facever.gallery.info import GalleryInfo
from facever.gallery.meta import GalleryMeta, Threshold
from facever.gallery.qdrant_collection import Collection
from facever.gallery.qdrant_meta import create_collection, read_meta, write_meta
from facever.gallery.qdrant_search import search_collection
from facever.gallery.qdrant_store import QdrantStore
from facever.gallery.searching import By, check_by


class QdrantGallery:
    """A Qdrant collection of enrolled people that can be searched by embedding.

    It does what ``Gallery`` does, whose methods say more, with what a server promises:

    - A change has been carried out when the call returns, and outlives an end of the
      server's process; what a power failure takes is the server's matter.
    - There are no transactions. A change is checked as a whole before anything is
      written, and is one request, of additions one per 1,000 rows; but a reader may see
      half of a request, and of a call that fails between requests the first ones stay.
      Adding the same again completes it.
    - One process changes a gallery at a time. Nothing stops a second one; two that add
      the same photo enroll it once, but a photo that one adds while another renames can
      end up twice under a name, which ``verify`` finds.
    - Search is exact: the server compares with every embedding. It needs Qdrant 1.16.
    - The model stays: a collection cannot change its embeddings' size. To go over to
      another, enroll into a new one.
    """

    def __init__(
        self, collection: Collection, model_fingerprint: str | None = None
    ) -> None:
        """Open a gallery; ``open_gallery`` does it by URL.

        Args:
            collection: Closed with the gallery.
            model_fingerprint: As for ``Gallery``.

        Raises:
            FileError: If there is no server, no such collection, or it is no gallery.
            GalleryError: If another version of facever made it.
            MismatchError: If it was made for another model.
        """
        self._collection = collection
        self._store = QdrantStore(collection)
        self._model_fingerprint = model_fingerprint
        meta = read_meta(collection)
        if model_fingerprint is not None:
            check_model(collection.place, meta.model_fingerprint, model_fingerprint)

    @classmethod
    def create(
        cls,
        collection: Collection,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
    ) -> "QdrantGallery":
        """Make an empty gallery and open it.

        Args:
            collection: That is not there yet.
            embedding_size: As for ``Gallery``, and the others, too.
            model_fingerprint: Of the model whose embeddings, and no others, it takes.
            model_details: Kept for ``info``.

        Raises:
            ParameterError: If ``embedding_size`` is below 1.
            GalleryError: If there is a gallery already.
            FileError: If there is another collection of this name, or no server.
        """
        if embedding_size < 1:
            raise ParameterError(
                f"embedding_size must be at least 1, got {embedding_size}"
            )
        create_collection(
            collection, embedding_size, model_fingerprint, model_details or {}
        )
        return cls(collection, model_fingerprint)

    def __enter__(self) -> "QdrantGallery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the gallery is of no use after."""
        self._collection.close()

    def __len__(self) -> int:
        """How many embeddings are enrolled."""
        return self._collection.count(None)

    def add(
        self,
        names: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]] | None = None,
        origins: Sequence[Origin | None] | None = None,
    ) -> list[str]:
        """Enroll embeddings; see ``Gallery.add``."""
        fields = [{}] * len(names) if fields is None else fields
        origins = [None] * len(names) if origins is None else origins
        check_rows(names, embeddings, sources, fields, origins)
        meta = self._checked_meta()
        units = unit_embeddings(embeddings, meta.embedding_size)
        photos = list(zip(names, sources, strict=True))
        return self._store.add(meta.gallery_id, photos, units, fields, origins)

    def insert(
        self, entries: Sequence[Entry], embeddings: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Take in entries as ``read`` gave them; see ``Gallery.insert``."""
        check_texts("name", [entry.name for entry in entries])
        check_texts("source", [entry.source for entry in entries])
        unit = unit_embeddings(embeddings, self._checked_meta().embedding_size)
        check_unit_length(unit, embeddings)
        self._store.insert(entries, embeddings)

    def remove(self, ids: Sequence[str]) -> None:
        """Take enrolled photos out; see ``Gallery.remove``."""
        self._store.remove(entry.id for entry in self._known(ids))

    def remove_person(self, name: str) -> int:
        """Take all of somebody's photos out; see ``Gallery.remove_person``."""
        entries = self._of_person(name)
        self._store.remove(entry.id for entry in entries)
        return len(entries)

    def update(
        self,
        ids: Sequence[str],
        name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Change names and fields of photos; see ``Gallery.update``."""
        self._update(self._known(ids), name, fields)

    def update_person(
        self,
        name: str,
        new_name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> int:
        """Change all of somebody's photos; see ``Gallery.update_person``."""
        entries = self._of_person(name)
        self._update(entries, new_name, fields)
        return len(entries)

    def find(self, name: str, source: str) -> str | None:
        """The id of a source that is enrolled under a name, None if it is not."""
        return self._store.ids_by_photo([name]).get((name, source))

    def entries(self, where: Filter | None = None) -> list[Entry]:
        """What is enrolled, in the order it was added, or what meets a filter."""
        return self._store.entries(where or Filter())

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings, block by block.

        What is removed meanwhile is left out, and what is added is not seen.

        Raises:
            FileError: If an embedding is not one: the collection is damaged.
        """
        size = read_meta(self._collection).embedding_size
        yield from self._store.read(where or Filter(), size)

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        return self._store.origin(entry_id)

    def search(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        k: int = 5,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Match]]:
        """The photos or people most similar to each embedding; see ``Gallery.search``.

        The mean is taken of the ``4 k`` people with the most similar photos.
        """
        if k < 1:
            raise ParameterError(f"k must be at least 1, got {k}")
        check_by(by)
        units = unit_embeddings(embeddings, self._checked_meta().embedding_size)
        return search_collection(self._collection, units, k, by, where)

    def identify(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        where: Filter | None = None,
    ) -> list[Match | None]:
        """Who each embedding is, or nobody; see ``Gallery.identify``."""
        threshold = read_meta(self._collection).threshold
        if threshold is None:
            raise no_threshold(self._collection.place)
        return [
            matches[0] if matches and matches[0].cosine > threshold.cosine else None
            for matches in self.search(embeddings, 1, where=where)
        ]

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""
        meta = read_meta(self._collection)
        write_meta(self._collection, replace(meta, threshold=threshold))

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return self._store.names()

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        meta = read_meta(self._collection)
        names = self._store.names()
        return GalleryInfo(
            format=meta.format,
            created=meta.created,
            num_people=len(names),
            num_embeddings=sum(names.values()),
            embedding_size=meta.embedding_size,
            model_fingerprint=meta.model_fingerprint,
            model_details=meta.model_details,
            threshold=meta.threshold,
            index=meta.index,
        )

    def verify(self) -> int:
        """Read everything and check that it is what this gallery would have written.

        Returns:
            How many embeddings there are, all of them well.

        Raises:
            FileError: If a point is damaged, or a photo enrolled twice under a name.
        """
        photos: set[tuple[str, str]] = set()
        count = 0
        for entries, _ in self.read():
            for entry in entries:
                if (entry.name, entry.source) in photos:
                    raise self._collection.damaged(
                        f"{entry.name} has {entry.source} enrolled twice, once as "
                        f"{entry.id}"
                    )
                photos.add((entry.name, entry.source))
            count += len(entries)
        return count

    def _checked_meta(self) -> GalleryMeta:
        meta = read_meta(self._collection)
        check_model(
            self._collection.place, meta.model_fingerprint, self._model_fingerprint
        )
        return meta

    def _known(self, ids: Sequence[str]) -> list[Entry]:
        known = self._store.entries_by_id(ids)
        for entry_id in ids:
            if entry_id not in known:
                raise unknown_id(self._collection.place, entry_id)
        return list(known.values())

    def _of_person(self, name: str) -> list[Entry]:
        entries = self.entries(Filter([name]))
        if not entries:
            raise unknown_person(self._collection.place, name)
        return entries

    def _update(
        self,
        entries: Sequence[Entry],
        name: str | None,
        fields: Mapping[str, Any] | None,
    ) -> None:
        check_texts("name", [] if name is None else [name])
        self._store.update([changed(entry, name, fields) for entry in entries])
