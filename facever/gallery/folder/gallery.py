"""Who is this? People's embeddings in a folder, and the ones most similar to a face."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facever.choices import By
from facever.errors import GalleryError
from facever.gallery.base import AnyGallery, NamedPhoto, Place
from facever.gallery.checking import nobody_to_migrate, unit_embeddings
from facever.gallery.entries import Entry, Filter, Match, Origin
from facever.gallery.folder.index_audit import audit_index
from facever.gallery.folder.index_building import LiveSearcher
from facever.gallery.folder.searching import Hit
from facever.gallery.folder.store import EVERYTHING, GalleryStore
from facever.gallery.folder.tables import FORMAT, create_tables
from facever.gallery.indexes.index import check_kind, choose_kind
from facever.gallery.meta import Audit, GalleryMeta, new_meta
from facever.progress import Advance, ignore_progress


class Gallery(AnyGallery):
    """A folder of enrolled people that can be searched by embedding.

    Every change is made as a whole or not at all, and is on disk when the call returns.
    Several processes may read while one writes, each of them a whole state, and a
    second writer waits for the first; within a process, a gallery belongs to the thread
    that opened it. The first search reads all embeddings into memory, and each search
    sees what other processes have changed by then.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Gallery.create(folder, embedding_size=2) as gallery:
    ...     ids = gallery.add(["Ann"], np.array([[3.0, 4.0]]), ["Ann/1.jpg"])
    ...     [[match]] = gallery.search(np.array([[1.0, 0.0]]), k=1)
    >>> match.name, round(match.cosine, 3), match.source
    ('Ann', 0.6, 'Ann/1.jpg')
    """

    abilities = frozenset({"audit", "migrate", "rebuild"})

    def __init__(self, path: Path | str, model_fingerprint: str | None = None) -> None:
        """Open a gallery.

        Args:
            path: The gallery's folder.
            model_fingerprint: The model that makes the embeddings to add or to search
                with. A gallery that was made for a model must be told; to look at
                entries, rename and remove them, it need not be.

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
    def open(cls, place: Place, model_fingerprint: str | None = None) -> "Gallery":
        """Open the gallery in a folder."""
        return cls(place, model_fingerprint)

    @classmethod
    def create(
        cls,
        place: Place,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Mapping[str, Any] | None = None,
        index: str = "exact",
    ) -> "Gallery":
        """Make an empty gallery and open it.

        Args:
            place: A folder that does not exist yet, or is empty.
            embedding_size: Number of values in an embedding, at least 1.
            model_fingerprint: The model whose embeddings, and no others, it takes; None
                if it takes any of the right size.
            model_details: What ``info`` says of that model.
            index: Kind of index to search with: one of ``INDEXES``, or ``auto``, which
                chooses by the gallery's size.

        Raises:
            ParameterError: If ``embedding_size`` is below 1, or ``index`` is unknown.
            GalleryError: If there is a gallery already.
            FileError: If the folder holds something else, or cannot be written.
        """
        check_kind(index)
        meta = new_meta(
            FORMAT, embedding_size, model_fingerprint, model_details or {}, index
        )
        create_tables(Path(place), meta)
        return cls(place, model_fingerprint)

    @classmethod
    def exists(cls, place: Place) -> bool:
        """Whether there is a file, or a folder that is not empty."""
        path = Path(place)
        return path.is_file() or (path.is_dir() and any(path.iterdir()))

    def close(self) -> None:
        """Close the database; the gallery cannot be used after that."""
        self._store.close()

    def entries(self, where: Filter | None = None) -> list[Entry]:
        """The entries that meet a filter, by default all, in the order of adding."""
        with self._store.reading():
            blocks = self._store.entries(where or EVERYTHING)
            return [entry for block in blocks for _, entry in block]

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings of one whole state, block by block."""
        with self._store.reading():
            for block in self._store.entries(where or EVERYTHING):
                numbers = np.array([number for number, _ in block], np.int64)
                yield [e for _, e in block], self._store.embeddings(numbers)[1]

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        return self._store.origin(entry_id)

    def photos_of(self, digests: Set[str]) -> dict[str, list[NamedPhoto]]:
        """The enrolled photos whose origin has one of these digests, by the digest."""
        return self._store.photos_of(digests)

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        with self._store.reading():
            return self._store.names()

    def verify(self, advance: Advance = ignore_progress) -> int:
        """Read everything and check that it is what this gallery would have written.

        Args:
            advance: Progress, one unit for each embedding.

        Returns:
            The number of embeddings, none of which is damaged.

        Raises:
            FileError: If the database is damaged; nothing is changed.
        """
        with self._store.reading():
            self._store.check()
            return super().verify(advance)

    def replace_model(
        self,
        embeddings: Mapping[str, Float[np.ndarray, " dim"]],
        dropped: Sequence[str],
        model_fingerprint: str,
        model_details: Mapping[str, Any],
    ) -> None:
        """Replace all embeddings by another model's, or change nothing.

        Ids, names, sources and fields stay. The threshold is removed: it was chosen for
        the other model. This gallery is open for the new model afterwards.

        Args:
            embeddings: The new embeddings by id.
            dropped: The ids of entries to remove, because they have no new embedding.
            model_fingerprint: The new model.
            model_details: What ``info`` says of the new model.

        Raises:
            GalleryError: If the two do not name all entries, since somebody has changed
                the gallery meanwhile.
            DataError: If an embedding is zero or not finite.
        """
        with self._store.writing():
            known = {entry.id for entry in self.entries()}
            if known != {*embeddings, *dropped}:
                raise GalleryError(
                    f"{self.place}: somebody has changed the gallery meanwhile; "
                    "nothing was migrated, try again"
                )
            if not embeddings:
                raise nobody_to_migrate(self.place)
            rows = np.stack(list(embeddings.values()))
            units = unit_embeddings(rows, rows.shape[1])
            self._store.replace_all(dict(zip(embeddings, units, strict=True)))
            self._set_meta(
                replace(
                    self._meta(),
                    embedding_size=rows.shape[1],
                    model_fingerprint=model_fingerprint,
                    model_details=dict(model_details),
                    threshold=None,
                )
            )
        self._model_fingerprint = model_fingerprint

    def rebuild(
        self, index: str | None = None, advance: Advance = ignore_progress
    ) -> str:
        """Build the index again from the stored embeddings.

        Args:
            index: Kind of index to search with from now on, as in ``create``; None
                keeps the kind.
            advance: Gets the number of embeddings when they have been taken in.

        Returns:
            The kind that was built: ``auto`` chooses one.

        Raises:
            ParameterError: If ``index`` is unknown.
            FileError: If the gallery is damaged, or the index cannot be written.
        """
        if index is not None:
            check_kind(index)
            with self._store.writing():
                self._set_meta(replace(self._meta(), index=index))
        built = self._searcher.rebuild()
        advance(len(self))
        return built

    def audit(self, num_queries: int = 200, k: int = 10) -> Audit:
        """Search for some of the enrolled photos, and compare with exact search.

        Args:
            num_queries: Number of photos to look up among the others, which are drawn
                with a fixed seed.
            k: Number of matches of each photo to compare.
        """
        with self._store.reading():
            return audit_index(self._store, self._searcher.refreshed(), num_queries, k)

    def _count(self, where: Filter) -> int:
        return self._store.count(where)

    def _index_in_use(self, index: str, num_embeddings: int) -> str:
        return choose_kind(index, num_embeddings)

    def _changing(self) -> AbstractContextManager[None]:
        return self._store.writing()

    def _one_state(self) -> AbstractContextManager[None]:
        return self._store.reading()

    def _meta(self) -> GalleryMeta:
        return self._store.meta()

    def _set_meta(self, meta: GalleryMeta) -> None:
        self._store.set_meta(meta)

    def _insert(
        self,
        entries: Sequence[Entry],
        units: Float32[np.ndarray, "rows dim"],
        origins: Sequence[Origin | None],
        advance: Advance = ignore_progress,
    ) -> None:
        for entry, unit, origin in zip(entries, units, origins, strict=True):
            self._store.insert(entry, unit, origin)
            advance(1)

    def _ids_there(self, ids: Sequence[str]) -> set[str]:
        # Without a look at the rest of the entry: one that is damaged can be removed.
        return self._store.ids_there(ids)

    def _remove(self, ids: Sequence[str]) -> None:
        self._store.remove(ids)

    def _update(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._store.update(entry)

    def _nearest(
        self, units: Float32[np.ndarray, "queries dim"], k: int, where: Filter
    ) -> list[list[Match]]:
        return self._people(units, k, "photo", where)

    def _people(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By,
        where: Filter,
    ) -> list[list[Match]]:
        # The searcher knows whose each row is: no entry but those found is read.
        searcher = self._searcher.refreshed()
        found = searcher.search(units, k, by, where)
        people = {hit.number: hit.person for hits in found for hit in hits}
        entries = self._store.entries_of(np.array(sorted(people), np.int64))
        known = [
            number
            for number, entry in entries.items()
            if entry.name == searcher.rows.name_of(people[number])
        ]
        self._store.check_all(len(known), len(people))
        return [[_match(hit, entries[hit.number]) for hit in hits] for hits in found]


def _match(hit: Hit, entry: Entry) -> Match:
    return Match(entry.name, hit.cosine, entry.source, entry.id, entry.fields)
