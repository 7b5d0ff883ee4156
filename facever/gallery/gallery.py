"""Who is this? People's embeddings on disk, and the ones most similar to a face."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facever.errors import GalleryError, MismatchError, ParameterError
from facever.gallery.checking import (
    check_model,
    check_rows,
    check_texts,
    check_unit_length,
    imported_already,
    no_threshold,
    unit_embeddings,
    unknown_id,
    unknown_person,
)
from facever.gallery.entries import Entry, Filter, Match, Origin, changed
from facever.gallery.index_audit import Audit, audit_index
from facever.gallery.index_choice import check_kind
from facever.gallery.info import GalleryInfo, describe_gallery
from facever.gallery.live_searcher import LiveSearcher
from facever.gallery.meta import GalleryMeta, Threshold, create_tables
from facever.gallery.searching import By, Hit, check_by
from facever.gallery.store import GalleryStore


class Gallery:
    """A folder of enrolled people that can be searched by embedding.

    Every change is on disk when the call returns. Several processes may read while one
    writes, and a second writer waits for it; within a process, a gallery belongs to the
    thread that opened it.

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
        self.path = Path(path)
        self._store = GalleryStore(self.path)
        self._model_fingerprint = model_fingerprint
        self._searcher = LiveSearcher(self.path, self._store)
        if model_fingerprint is not None:
            try:
                self._check_model()
            except MismatchError:
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

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; the gallery is of no use after."""
        self._store.close()

    def __len__(self) -> int:
        """How many embeddings are enrolled."""
        return self._store.count()

    def add(
        self,
        names: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]] | None = None,
        origins: Sequence[Origin | None] | None = None,
    ) -> list[str]:
        """Enroll embeddings: all of them, on disk, or none.

        Args:
            names: Whose each is.
            embeddings: Of any length but zero; their direction is what is kept.
            sources: Which photo each comes from, such as ``Ann/1.jpg``. A source that
                is enrolled under the same name already is left as it is.
            fields: What else is known of each: JSON values by name; nothing by default.
            origins: Where each face can be read from again, for ``gallery migrate``.

        Returns:
            The id of each; for one that was there already, the id it had.

        Raises:
            ParameterError: If the numbers of names, embeddings and others differ, a
                name or source is empty or not valid text, or a field is no JSON.
            MismatchError: If the embeddings have another size or are of another model.
            GalleryError: If an embedding is zero or not finite, or another process
                keeps on writing.
        """
        fields = [{}] * len(names) if fields is None else fields
        origins = [None] * len(names) if origins is None else origins
        check_rows(names, embeddings, sources, fields, origins)
        with self._store.writing():
            unit = unit_embeddings(embeddings, self._check_model().embedding_size)
            return self._store.add(names, unit, sources, fields, origins)

    def insert(
        self, entries: Sequence[Entry], embeddings: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Take in entries as ``read`` gave them, ids and all: all of them, or none.

        Args:
            entries: None of whose ids, and sources of a person, is here yet.
            embeddings: Of unit length, kept bit by bit.

        Raises:
            GalleryError: If an entry is here already, or an embedding of another
                length.
            MismatchError: If the embeddings have another size or are of another model.
        """
        check_texts("name", [entry.name for entry in entries])
        check_texts("source", [entry.source for entry in entries])
        with self._store.writing():
            unit = unit_embeddings(embeddings, self._check_model().embedding_size)
            check_unit_length(unit, embeddings)
            known = self._store.entries_by_id([entry.id for entry in entries])
            for entry, embedding in zip(entries, embeddings, strict=True):
                if entry.id in known or self._store.find(entry.name, entry.source):
                    raise imported_already(
                        self.path, entry.name, entry.source, entry.id
                    )
                self._store.insert(entry, embedding, None)

    def remove(self, ids: Sequence[str]) -> None:
        """Take enrolled photos out: all of them, on disk, or none.

        Raises:
            NotEnrolledError: If an id is not enrolled.
        """
        with self._store.writing():
            self._known(ids)
            self._store.remove(ids)

    def remove_person(self, name: str) -> int:
        """Take all of somebody's photos out.

        Returns:
            How many there were.

        Raises:
            NotEnrolledError: If nobody has that name.
        """
        with self._store.writing():
            entries = self._of_person(name)
            self._store.remove([entry.id for entry in entries])
            return len(entries)

    def update(
        self,
        ids: Sequence[str],
        name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Change whose photos these are, and what is known of them: all or none.

        Args:
            ids: Of enrolled photos; they stay.
            name: Whose they are from now on; None leaves that.
            fields: Values to set; one of None takes the field away. Others stay.

        Raises:
            GalleryError: If an id is not enrolled, or that person has a source of the
                same name already.
            ParameterError: If the name is empty or a field is no JSON.
        """
        with self._store.writing():
            self._update(self._known(ids), name, fields)

    def update_person(
        self,
        name: str,
        new_name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> int:
        """Change all of somebody's photos as ``update`` does.

        Args:
            name: Whose they are.
            new_name: Whose they are from now on, which may be somebody's; None leaves
                that.
            fields: Values to set; one of None takes the field away. Others stay.

        Returns:
            How many there are.

        Raises:
            GalleryError: If nobody has the old name, or the new one's person has a
                source of the same name already; nothing is changed.
            ParameterError: If the new name is empty or a field is no JSON.
        """
        with self._store.writing():
            entries = self._of_person(name)
            self._update(entries, new_name, fields)
            return len(entries)

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
                    f"{self.path}: somebody has changed the gallery meanwhile; nothing "
                    "was migrated, try again"
                )
            rows = np.stack(list(embeddings.values()))
            units = unit_embeddings(rows, rows.shape[1])
            self._store.replace_all(dict(zip(embeddings, units, strict=True)))
            self._store.set_model(rows.shape[1], model_fingerprint, model_details)
        self._model_fingerprint = model_fingerprint

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

    def search(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        k: int = 5,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Match]]:
        """The enrolled photos, or people, most similar to each embedding.

        What another process has changed by now is seen. The first search reads all
        embeddings into memory.

        Args:
            embeddings: Of any length but zero.
            k: How many to find for each, at least 1.
            by: ``photo``: each photo is a match of its own. ``best`` and ``mean``: each
                person is one, with the best or the mean of their photos' cosines.
            where: Search these alone; a person's mean is that over these, too.

        Returns:
            For each query its matches, most similar first: ``k``, or as many as are
            enrolled where that is fewer, none where the gallery is empty.

        Raises:
            ParameterError: If ``k`` is below 1 or ``by`` is none of these.
            MismatchError: If the embeddings have another size or are of another model.
            GalleryError: If an embedding is zero or not finite.
            FileError: If the gallery is damaged.
        """
        if k < 1:
            raise ParameterError(f"k must be at least 1, got {k}")
        check_by(by)
        with self._store.reading():
            unit = unit_embeddings(embeddings, self._check_model().embedding_size)
            found = self._searcher.refreshed().search(unit, k, by, where)
            numbers = {hit.number for hits in found for hit in hits}
            entries = self._store.entries_of(np.array(sorted(numbers), np.int64))
        return [[_match(hit, entries[hit.number]) for hit in hits] for hits in found]

    def identify(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        where: Filter | None = None,
    ) -> list[Match | None]:
        """Who each embedding is: the most similar photo above the threshold, or nobody.

        Raises:
            GalleryError: If no threshold was set; and as ``search``.
        """
        threshold = self._store.meta().threshold
        if threshold is None:
            raise no_threshold(self.path)
        return [
            matches[0] if matches and matches[0].cosine > threshold.cosine else None
            for matches in self.search(embeddings, 1, where=where)
        ]

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""
        with self._store.writing():
            self._store.set_threshold(threshold)

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return self._store.names()

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        return describe_gallery(self._store)

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

    def _known(self, ids: Sequence[str]) -> list[Entry]:
        known = self._store.entries_by_id(ids)
        for entry_id in ids:
            if entry_id not in known:
                raise unknown_id(self.path, entry_id)
        return list(known.values())

    def _update(
        self,
        entries: Sequence[Entry],
        name: str | None,
        fields: Mapping[str, Any] | None,
    ) -> None:
        check_texts("name", [] if name is None else [name])
        for entry in entries:
            self._store.update(changed(entry, name, fields))

    def _of_person(self, name: str) -> list[Entry]:
        entries = self.entries(Filter([name]))
        if not entries:
            raise unknown_person(self.path, name)
        return entries

    def _check_model(self) -> GalleryMeta:
        meta = self._store.meta()
        check_model(self.path, meta.model_fingerprint, self._model_fingerprint)
        return meta


def _match(hit: Hit, entry: Entry) -> Match:
    return Match(entry.name, hit.cosine, entry.source, entry.id, entry.fields)
