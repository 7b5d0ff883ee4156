"""What every gallery does, wherever its people are kept."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32

from facever.choices import By
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
from facever.gallery.entries import Entry, Filter, Match, Origin, changed, check_by
from facever.gallery.meta import GalleryInfo, GalleryMeta, Threshold, describe_gallery

# ``typing.Self`` is not known to the runtime type checks of the tests.
Opened = TypeVar("Opened", bound="AnyGallery")


class AnyGallery(ABC):
    """Enrolled people that can be searched by embedding.

    Here is what every gallery takes, gives and refuses. A ``Gallery`` keeps its people
    in a folder, a ``QdrantGallery`` in a database; each says what it promises of a
    change that is interrupted, and of readers beside a writer. What is wrong with a
    call is found before anything is written.
    """

    def __init__(self, place: Path | str, model_fingerprint: str | None) -> None:
        """Refuse to be opened for another model.

        Args:
            place: Where the people are kept, for messages.
            model_fingerprint: Of the model that makes the embeddings to add or search
                with; None: look at names and info, rename and remove alone.
        """
        self.place = place
        self._model_fingerprint = model_fingerprint
        if model_fingerprint is not None:
            self._checked_meta()

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds; the gallery is of no use after."""

    @abstractmethod
    def __len__(self) -> int:
        """How many embeddings are enrolled."""

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
        with self._changing():
            meta = self._checked_meta()
            units = unit_embeddings(embeddings, meta.embedding_size)
            return self._add(meta, names, units, sources, fields, origins)

    def insert(
        self, entries: Sequence[Entry], embeddings: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Take in entries as ``read`` gave them, ids and all.

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
        with self._changing():
            units = unit_embeddings(embeddings, self._checked_meta().embedding_size)
            check_unit_length(units, embeddings)
            self._insert(entries, embeddings)

    def remove(self, ids: Sequence[str]) -> None:
        """Take enrolled photos out.

        Raises:
            NotEnrolledError: If an id is not enrolled; nothing is removed.
        """
        with self._changing():
            self._remove(self._known(ids))

    def remove_person(self, name: str) -> int:
        """Take all of somebody's photos out.

        Returns:
            How many there were.

        Raises:
            NotEnrolledError: If nobody has that name.
        """
        with self._changing():
            entries = self._of_person(name)
            self._remove(entries)
            return len(entries)

    def update(
        self,
        ids: Sequence[str],
        name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Change whose photos these are, and what is known of them.

        Args:
            ids: Of enrolled photos; they stay.
            name: Whose they are from now on; None leaves that.
            fields: Values to set; one of None takes the field away. Others stay.

        Raises:
            GalleryError: If an id is not enrolled, or that person has a source of the
                same name already; nothing is changed.
            ParameterError: If the name is empty or a field is no JSON.
        """
        with self._changing():
            self._change(self._known(ids), name, fields)

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
        with self._changing():
            entries = self._of_person(name)
            self._change(entries, new_name, fields)
            return len(entries)

    @abstractmethod
    def find(self, name: str, source: str) -> str | None:
        """The id of a source that is enrolled under a name, None if it is not."""

    @abstractmethod
    def entries(self, where: Filter | None = None) -> list[Entry]:
        """What is enrolled, in the order it was added, or what meets a filter."""

    @abstractmethod
    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings, in the order of ``entries``, block by block."""

    @abstractmethod
    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""

    def search(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        k: int = 5,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Match]]:
        """The enrolled photos, or people, most similar to each embedding.

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
        with self._one_state():
            units = unit_embeddings(embeddings, self._checked_meta().embedding_size)
            return self._search(units, k, by, where)

    def identify(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        where: Filter | None = None,
    ) -> list[Match | None]:
        """Who each embedding is: the most similar photo above the threshold, or nobody.

        Raises:
            GalleryError: If no threshold was set; and as ``search``.
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

    @abstractmethod
    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""

    @abstractmethod
    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        with self._one_state():
            return describe_gallery(self._meta(), self.names())

    @abstractmethod
    def verify(self) -> int:
        """Read everything and check that it is what this gallery would have written.

        Returns:
            How many embeddings there are, all of them well.

        Raises:
            FileError: If something is damaged; nothing is changed.
        """

    @abstractmethod
    def _changing(self) -> AbstractContextManager[None]:
        """Around the checks of a change and the change."""

    @abstractmethod
    def _one_state(self) -> AbstractContextManager[None]:
        """Around reads that belong together."""

    @abstractmethod
    def _meta(self) -> GalleryMeta:
        """What the embeddings have in common, as it is now."""

    @abstractmethod
    def _entries_by_id(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of these that are enrolled."""

    @abstractmethod
    def _add(
        self,
        meta: GalleryMeta,
        names: Sequence[str],
        units: Float32[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]],
        origins: Sequence[Origin | None],
    ) -> list[str]:
        """Add what is not there, and give all ids."""

    @abstractmethod
    def _insert(
        self, entries: Sequence[Entry], units: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Add entries, ids and all; refuse those that are there."""

    @abstractmethod
    def _remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries that are there."""

    @abstractmethod
    def _update(self, entries: Sequence[Entry]) -> None:
        """Give entries that are there these names and fields."""

    @abstractmethod
    def _search(
        self,
        units: Float32[np.ndarray, "queries dim"],
        k: int,
        by: By,
        where: Filter | None,
    ) -> list[list[Match]]:
        """As ``search``, whose arguments were checked."""

    def _checked_meta(self) -> GalleryMeta:
        meta = self._meta()
        check_model(self.place, meta.model_fingerprint, self._model_fingerprint)
        return meta

    def _known(self, ids: Sequence[str]) -> list[Entry]:
        known = self._entries_by_id(ids)
        for entry_id in ids:
            if entry_id not in known:
                raise unknown_id(self.place, entry_id)
        return list(known.values())

    def _of_person(self, name: str) -> list[Entry]:
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
        self._update([changed(entry, name, fields) for entry in entries])
