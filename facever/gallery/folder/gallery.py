"""Who is this? People's embeddings in a folder, and the ones most similar to a face."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facever.choices import By
from facever.errors import GalleryError, ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.checking import imported_already, unit_embeddings
from facever.gallery.entries import Entry, Filter, Match, Origin
from facever.gallery.folder.index_audit import Audit, audit_index
from facever.gallery.folder.index_keeping import LiveSearcher
from facever.gallery.folder.searching import Hit
from facever.gallery.folder.store import GalleryStore
from facever.gallery.folder.tables import create_tables
from facever.gallery.indexes.index import check_kind
from facever.gallery.meta import GalleryMeta, Threshold


class Gallery(AnyGallery):
    """A folder of enrolled people that can be searched by embedding.

    Every change is made whole or not at all, and is on disk when the call returns.
    Several processes may read while one writes, each a whole state, and a second writer
    waits for the first; within a process, a gallery belongs to the thread that opened
    it. The first search reads all embeddings into memory, and each search sees what
    another process has changed by then.

        with Gallery.create("people", embedding_size=512) as gallery:
            gallery.add(["Ann"], embeddings, ["ann.jpg"])
            [matches] = gallery.search(query, k=5)
    """

    def __init__(self, path: Path | str, model_fingerprint: str | None = None) -> None:
        """Open a gallery.

        Args:
            path: The gallery's folder.
            model_fingerprint: Of the model that makes the embeddings to add or search
                with. A gallery made for a model must be told; to look at names and
                info, to rename and to remove it need not be.

        Raises:
            FileError: If there is no gallery at ``path``, or it is damaged.
            GalleryError: If another version of facever made it.
            MismatchError: If it was made for another model.
        """
        folder = Path(path)
        self._store = GalleryStore(folder)
        self._searcher = LiveSearcher(folder, self._store)
        try:
            super().__init__(folder, model_fingerprint)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        path: Path | str,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
        index: str = "exact",
    ) -> "Gallery":
        """Make an empty gallery and open it.

        Args:
            path: A folder that is not there yet, or is empty.
            embedding_size: Numbers in an embedding, at least 1.
            model_fingerprint: Of the model whose embeddings, and no others, it
                takes. None: it takes any of the right size.
            model_details: Kept for ``info``: what a person wants to know of the model.
            index: What to search with: ``exact``, ``sq8``, ``ivf-flat``, ``ivf-pq``,
                ``hnsw``, or ``auto``, by the gallery's size.

        Raises:
            ParameterError: If ``embedding_size`` is below 1, or ``index`` unknown.
            GalleryError: If there is a gallery already.
            FileError: If the folder holds something else, or cannot be written.
        """
        if embedding_size < 1:
            raise ParameterError(
                f"embedding_size must be at least 1, got {embedding_size}"
            )
        check_kind(index)
        create_tables(
            Path(path), embedding_size, model_fingerprint, model_details or {}, index
        )
        return cls(path, model_fingerprint)

    def close(self) -> None:
        """Let go of the folder; the gallery is of no use after."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.count()

    def find(self, name: str, source: str) -> str | None:
        """The id of a source that is enrolled under a name, None if it is not."""
        return self._store.find(name, source)

    def entries(self, where: Filter | None = None) -> list[Entry]:
        """What is enrolled, in the order it was added, or what meets a filter."""
        return [
            entry
            for block in self._store.entries(where or Filter())
            for _, entry in block
        ]

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings of one whole state, block by block."""
        with self._store.reading():
            for block in self._store.entries(where or Filter()):
                numbers = np.array([number for number, _ in block], np.int64)
                yield [e for _, e in block], self._store.embeddings(numbers)[1]

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        return self._store.origin(entry_id)

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""
        with self._store.writing():
            self._store.set_threshold(threshold)

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return self._store.names()

    def verify(self) -> int:
        """Read everything and check that it is what this gallery would have written.

        Returns:
            How many embeddings there are, all of them well.

        Raises:
            FileError: If the database is damaged; nothing is changed.
        """
        with self._store.reading():
            self._store.check()
            return sum(len(entries) for entries, _ in self.read())

    def replace_model(
        self,
        embeddings: Mapping[str, Float[np.ndarray, " dim"]],
        dropped: Sequence[str],
        model_fingerprint: str,
        model_details: Mapping[str, Any],
    ) -> None:
        """Put another model's embeddings in the place of all there are, or none.

        Ids, names, sources and fields stay; the threshold, which was for the other
        model, is taken away. This gallery is open for the new model then.

        Args:
            embeddings: By id.
            dropped: Ids of entries to remove, as there is no new embedding of them.
            model_fingerprint: Of the new model.
            model_details: Kept for ``info``.

        Raises:
            GalleryError: If the two do not name all entries: somebody has changed the
                gallery since; or an embedding is zero or not finite.
        """
        with self._store.writing():
            known = {entry.id for entry in self.entries()}
            if known != {*embeddings, *dropped}:
                raise GalleryError(
                    f"{self.place}: somebody has changed the gallery meanwhile; "
                    "nothing was migrated, try again"
                )
            rows = np.stack(list(embeddings.values()))
            units = unit_embeddings(rows, rows.shape[1])
            self._store.replace_all(dict(zip(embeddings, units, strict=True)))
            self._store.set_model(rows.shape[1], model_fingerprint, model_details)
        self._model_fingerprint = model_fingerprint

    def rebuild(self, index: str | None = None) -> str:
        """Build the index anew from the stored embeddings.

        Args:
            index: Kind to search with from now on, as in ``create``; None leaves it.

        Returns:
            The kind that was built: ``auto`` chooses one.

        Raises:
            ParameterError: If ``index`` is unknown.
            FileError: If the gallery is damaged, or the index cannot be written.
        """
        if index is not None:
            check_kind(index)
            with self._store.writing():
                self._store.set_index(index)
        return self._searcher.rebuild()

    def audit(self, num_queries: int = 200, k: int = 10) -> Audit:
        """Search for some of the enrolled photos, and compare with exact search.

        Args:
            num_queries: Photos to look up among the others, drawn with a fixed seed.
            k: How many matches of each to compare.
        """
        with self._store.reading():
            return audit_index(self._store, self._searcher.refreshed(), num_queries, k)

    def _changing(self) -> AbstractContextManager[None]:
        return self._store.writing()

    def _one_state(self) -> AbstractContextManager[None]:
        return self._store.reading()

    def _meta(self) -> GalleryMeta:
        return self._store.meta()

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
        return self._store.add(names, units, sources, fields, origins)

    def _insert(
        self, entries: Sequence[Entry], units: Float32[np.ndarray, "rows dim"]
    ) -> None:
        known = self._store.entries_by_id([entry.id for entry in entries])
        for entry, unit in zip(entries, units, strict=True):
            if entry.id in known or self._store.find(entry.name, entry.source):
                raise imported_already(self.place, entry.name, entry.source, entry.id)
            self._store.insert(entry, unit, None)

    def _remove(self, entries: Sequence[Entry]) -> None:
        self._store.remove([entry.id for entry in entries])

    def _update(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._store.update(entry)

    def _search(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By,
        where: Filter | None,
    ) -> list[list[Match]]:
        found = self._searcher.refreshed().search(units, k, by, where)
        numbers = {hit.number for hits in found for hit in hits}
        entries = self._store.entries_of(np.array(sorted(numbers), np.int64))
        return [[_match(hit, entries[hit.number]) for hit in hits] for hits in found]


def _match(hit: Hit, entry: Entry) -> Match:
    return Match(entry.name, hit.cosine, entry.source, entry.id, entry.fields)
