"""A gallery in a Qdrant database: the same questions and answers, past one machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from facever.choices import By
from facever.errors import ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Entry, Filter, Match, Origin
from facever.gallery.meta import GalleryMeta, Threshold
from facever.gallery.qdrant.collection import Collection
from facever.gallery.qdrant.meta import create_collection, read_meta, write_meta
from facever.gallery.qdrant.search import search_collection
from facever.gallery.qdrant.store import QdrantStore


class QdrantGallery(AnyGallery):
    """A Qdrant collection of enrolled people that can be searched by embedding.

    It does what ``Gallery`` does, with what a server promises:

    - A change has been carried out when the call returns, and outlives an end of the
      server's process; what a power failure takes is the server's matter.
    - There are no transactions. A change is checked as a whole before anything is
      written, and is one request, of additions one per 1,000 rows; but a reader may see
      half of a request, and of a call that fails between requests the first ones stay.
      Adding the same again completes it.
    - One process changes a gallery at a time. Nothing stops a second one; two that add
      the same photo enroll it once, but a photo that one adds while another renames can
      end up twice under a name, which ``verify`` finds.
    - Search is exact: the server compares with every embedding; but people's means are
      taken of the ``4 k`` people with the most similar photos. It needs Qdrant 1.16.
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
        read_meta(collection)
        super().__init__(collection.place, model_fingerprint)

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

    def close(self) -> None:
        """Let go of the connection; the gallery is of no use after."""
        self._collection.close()

    def __len__(self) -> int:
        return self._collection.count(None)

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

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""
        meta = read_meta(self._collection)
        write_meta(self._collection, replace(meta, threshold=threshold))

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return self._store.names()

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

    def _changing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _one_state(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _meta(self) -> GalleryMeta:
        return read_meta(self._collection)

    def _entries_by_id(self, ids: Sequence[str]) -> dict[str, Entry]:
        return self._store.entries_by_id(ids)

    def _add(
        self,
        meta: GalleryMeta,
        names: Sequence[str],
        units: Float32[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]],
        origins: Sequence[Origin | None],
    ) -> list[str]:
        photos = list(zip(names, sources, strict=True))
        return self._store.add(meta.gallery_id, photos, units, fields, origins)

    def _insert(
        self, entries: Sequence[Entry], units: Float32[np.ndarray, "rows dim"]
    ) -> None:
        self._store.insert(entries, units)

    def _remove(self, entries: Sequence[Entry]) -> None:
        self._store.remove(entry.id for entry in entries)

    def _update(self, entries: Sequence[Entry]) -> None:
        self._store.update(entries)

    def _search(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By,
        where: Filter | None,
    ) -> list[list[Match]]:
        return search_collection(self._collection, units, k, by, where)
