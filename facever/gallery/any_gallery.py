"""What every gallery can do, wherever its people are kept."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from facever.gallery.entries import Entry, Filter, Match, Origin
from facever.gallery.info import GalleryInfo
from facever.gallery.meta import Threshold
from facever.gallery.searching import By


@runtime_checkable
class AnyGallery(Protocol):
    """Enrolled people that can be searched by embedding.

    ``Gallery``, in a folder, is the one whose docstrings say what each method takes,
    gives and refuses; ``QdrantGallery`` says what it promises in place of that.
    """

    def __enter__(self) -> "AnyGallery": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of it; the gallery is of no use after."""
        ...

    def add(
        self,
        names: Sequence[str],
        embeddings: Float[np.ndarray, "rows dim"],
        sources: Sequence[str],
        fields: Sequence[Mapping[str, Any]] | None = None,
        origins: Sequence[Origin | None] | None = None,
    ) -> list[str]:
        """Enroll embeddings, and give their ids."""
        ...

    def insert(
        self, entries: Sequence[Entry], embeddings: Float32[np.ndarray, "rows dim"]
    ) -> None:
        """Take in entries as ``read`` gave them, ids and all."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Take enrolled photos out."""
        ...

    def remove_person(self, name: str) -> int:
        """Take all of somebody's photos out, and say how many there were."""
        ...

    def update(
        self,
        ids: Sequence[str],
        name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Change whose photos these are, and what is known of them."""
        ...

    def update_person(
        self,
        name: str,
        new_name: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> int:
        """Change all of somebody's photos, and say how many there are."""
        ...

    def find(self, name: str, source: str) -> str | None:
        """The id of a source that is enrolled under a name, None if it is not."""
        ...

    def entries(self, where: Filter | None = None) -> list[Entry]:
        """What is enrolled, in the order it was added, or what meets a filter."""
        ...

    def read(
        self, where: Filter | None = None
    ) -> Iterator[tuple[list[Entry], Float32[np.ndarray, "rows dim"]]]:
        """Entries and their embeddings, block by block."""
        ...

    def origin(self, entry_id: str) -> Origin | None:
        """Where an enrolled face can be read from again, None if nobody said."""
        ...

    def search(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        k: int = 5,
        by: By = "photo",
        where: Filter | None = None,
    ) -> list[list[Match]]:
        """The photos or people most similar to each embedding, most similar first."""
        ...

    def identify(
        self,
        embeddings: Float[np.ndarray, "queries dim"],
        where: Filter | None = None,
    ) -> list[Match | None]:
        """Who each embedding is, None for nobody: by the most similar photo."""
        ...

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Keep a threshold for ``identify``; None takes it away."""
        ...

    def names(self) -> dict[str, int]:
        """How many embeddings each person has, in the order of the names."""
        ...

    def info(self) -> GalleryInfo:
        """What the gallery holds, and for which model it was made."""
        ...

    def verify(self) -> int:
        """Read everything, check it, and say how many embeddings there are."""
        ...
