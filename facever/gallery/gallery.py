"""Who is this? People's embeddings on disk, and the ones most similar to a face."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from facever.errors import MismatchError, ParameterError
from facever.gallery.checking import check_texts, unit_embeddings
from facever.gallery.index import ExactIndex
from facever.gallery.store import GalleryStore


@dataclass(frozen=True)
class Match:
    """An enrolled photo that resembles a query.

    Attributes:
        name: Whose photo it is.
        cosine: Similarity in [-1, 1]; larger is more similar.
        source: Which photo it is.
        id: The enrolled photo's own, for good.
    """

    name: str
    cosine: float
    source: str
    id: str


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery holds.

    Attributes:
        format: Version of the database's layout.
        created: UTC, ISO 8601.
        num_people: Different names.
        num_embeddings: Enrolled photos.
        embedding_size: Numbers in an embedding.
        model_fingerprint: Of the model that made the embeddings, None if unbound.
        model_details: That model's network, mirror rule, preprocessing and the like.
    """

    format: int
    created: str
    num_people: int
    num_embeddings: int
    embedding_size: int
    model_fingerprint: str | None
    model_details: dict[str, Any]


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
                with. A gallery made for a model must be told; to look at names and info
                it need not be.

        Raises:
            FileError: If there is no gallery at ``path``, or it is damaged.
            GalleryError: If a newer facever made it.
            MismatchError: If it was made for another model.
        """
        self.path = Path(path)
        self._store = GalleryStore(self.path)
        self._model_fingerprint = model_fingerprint
        self._index = ExactIndex(self._store.meta.embedding_size)
        self._numbers: Int64[np.ndarray, " rows"] = np.empty(0, np.int64)
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
    ) -> "Gallery":
        """Make an empty gallery and open it.

        Args:
            path: A folder that is not there yet, or is empty.
            embedding_size: Numbers in an embedding, at least 1.
            model_fingerprint: Of the model whose embeddings, and no others, it
                takes. None: it takes any of the right size.
            model_details: Kept for ``info``: what a person wants to know of the model.

        Raises:
            ParameterError: If ``embedding_size`` is below 1.
            GalleryError: If there is a gallery already.
            FileError: If the folder holds something else, or cannot be written.
        """
        if embedding_size < 1:
            raise ParameterError(
                f"embedding_size must be at least 1, got {embedding_size}"
            )
        GalleryStore.create(
            Path(path), embedding_size, model_fingerprint, model_details or {}
        ).close()
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
    ) -> list[str]:
        """Enroll embeddings: all of them, on disk, or none.

        Args:
            names: Whose each is.
            embeddings: Of any length but zero; their direction is what is kept.
            sources: Where each comes from, such as the photo's path. A source that is
                enrolled under the same name already is left as it is.

        Returns:
            The id of each; for one that was there already, the id it had.

        Raises:
            ParameterError: If the numbers of names, embeddings and sources differ, or a
                name or source is empty or not valid text.
            MismatchError: If the embeddings have another size or are of another model.
            GalleryError: If an embedding is zero or not finite, or another process
                keeps on writing.
        """
        if not len(names) == len(embeddings) == len(sources):
            raise ParameterError(
                f"names, embeddings and sources must be as many, got {len(names)}, "
                f"{len(embeddings)} and {len(sources)}"
            )
        check_texts("name", names)
        check_texts("source", sources)
        self._check_model()
        unit = unit_embeddings(embeddings, self._store.meta.embedding_size)
        return self._store.add(names, unit, sources)

    def find(self, name: str, source: str) -> str | None:
        """The id of a source that is enrolled under a name, None if it is not."""
        return self._store.find(name, source)

    def search(
        self, embeddings: Float[np.ndarray, "queries dim"], k: int = 5
    ) -> list[list[Match]]:
        """The enrolled photos most similar to each embedding, by exact search.

        What another process has enrolled by now is found too. The first search reads
        all embeddings into memory.

        Args:
            embeddings: Of any length but zero.
            k: How many to find for each, at least 1.

        Returns:
            For each query its matches, most similar first: ``k``, or as many as are
            enrolled where that is fewer, none where the gallery is empty.

        Raises:
            ParameterError: If ``k`` is below 1.
            MismatchError: If the embeddings have another size or are of another model.
            GalleryError: If an embedding is zero or not finite.
            FileError: If the gallery is damaged.
        """
        if k < 1:
            raise ParameterError(f"k must be at least 1, got {k}")
        self._check_model()
        unit = unit_embeddings(embeddings, self._store.meta.embedding_size)
        with self._store.reading():
            self._refresh()
            k = min(k, len(self._index))
            if k == 0 or len(unit) == 0:
                return [[] for _ in unit]
            cosine, rows = self._index.search(unit, k)
            numbers = self._numbers[rows]
            entries = self._store.entries(np.unique(numbers))
        return [
            [
                Match(entry.name, float(score), entry.source, entry.id)
                for score, entry in zip(
                    scores, (entries[int(number)] for number in found), strict=True
                )
            ]
            for scores, found in zip(cosine, numbers, strict=True)
        ]

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        return self._store.names()

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        meta = self._store.meta
        with self._store.reading():
            num_people, num_embeddings = len(self.names()), len(self)
        return GalleryInfo(
            format=meta.format,
            created=meta.created,
            num_people=num_people,
            num_embeddings=num_embeddings,
            embedding_size=meta.embedding_size,
            model_fingerprint=meta.model_fingerprint,
            model_details=meta.model_details,
        )

    def _refresh(self) -> None:
        """Read what was added since the last search, by whomever."""
        last = int(self._numbers[-1]) if len(self._numbers) else 0
        blocks = [self._numbers]
        try:
            for numbers, embeddings in self._store.read_after(last):
                self._index.add(embeddings)
                blocks.append(numbers)
        finally:
            self._numbers = np.concatenate(blocks)

    def _check_model(self) -> None:
        made_for = self._store.meta.model_fingerprint
        if made_for == self._model_fingerprint:
            return
        raise MismatchError(
            f"{self.path}: this gallery was made {_for_model(made_for)} and was opened "
            f"{_for_model(self._model_fingerprint)}; open it with the model it was "
            "made for, or enroll the photos into a new gallery"
        )


def _for_model(fingerprint: str | None) -> str:
    if fingerprint is None:
        return "for no model in particular"
    return f"for model {fingerprint[:12]}"
