"""What an index of embeddings does: nearest neighbours by cosine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from facever.choices import FolderIndexKind
from facever.errors import ParameterError

Found = tuple[Float32[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]


class Index(ABC):
    """Unit embeddings that can be searched by cosine; a row is a place in their order.

    Attributes:
        kind: Name of the kind: a key of ``INDEXES`` and one of ``FolderIndexKind``.
        exact: Whether a search always finds the nearest rows.
        compressed: Whether the cosines that it gives are rough and must be replaced by
            exact ones.
        writer: What its ``parts`` are written by; a file by another writer is not read.
    """

    kind: ClassVar[str]
    writer: ClassVar[str] = "facever"
    exact: ClassVar[bool] = False
    compressed: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def train(cls, sample: Float32[np.ndarray, "rows dim"], num_rows: int) -> "Index":
        """An empty index that has learned from some embeddings, if it has to learn.

        Args:
            sample: Some of the embeddings that are going to be added, at unit length:
                from ``MIN_TRAINING`` to about ``MAX_TRAINING`` of them, but for an
                exact index, which may be given none.
            num_rows: Number of embeddings that the index is going to hold.
        """

    @classmethod
    @abstractmethod
    def from_parts(
        cls, content: UInt8[np.ndarray, " bytes"], embedding_size: int
    ) -> "Index":
        """The index that gave these ``parts``, one after the other.

        Raises:
            ValueError: If they are not the parts of such an index.
        """

    @abstractmethod
    def parts(self) -> Iterator[np.ndarray]:
        """The whole index in arrays, for a file."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""

    @abstractmethod
    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query, nearest first.

        Args:
            embeddings: Queries of unit length.
            k: Number of rows to find, at least 1.
            allowed: Whether each row may be found; all may by default.

        Returns:
            Cosines in [-1, 1], and the rows they belong to; -inf and -1 fill up where
            fewer are found.
        """

    def scores(
        self, embeddings: Float32[np.ndarray, "queries dim"]
    ) -> Float32[np.ndarray, "queries rows"]:
        """The cosines of each query with all rows; for an exact index."""
        cosine, rows = self.search(embeddings, len(self))
        scores = np.empty_like(cosine)
        np.put_along_axis(scores, rows, cosine, axis=1)
        return scores


AUTO = "auto"
EXACT = "exact"

# Embeddings that an index learns its cells and codes from, at most.
MAX_TRAINING = 100_000

# Fewer embeddings are searched exactly, whatever the kind: codes of 8 bits have 256
# values, each of which is learned from some photos.
MIN_TRAINING = 1024

# Up to this size exact search takes some ten milliseconds and no memory worth saving.
# Above it, one byte for each number and exact re-ranking find the same in a quarter of
# the memory.
_LARGE = 200_000


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of index.

    Raises:
        ParameterError: If there is no such kind; the message names those that there
            are.
    """
    kinds = get_args(FolderIndexKind)
    if kind not in kinds:
        raise ParameterError(
            f"index must be one of {', '.join(kinds)} for a gallery in a folder "
            f"(--index), got {kind!r}"
        )


def choose_kind(kind: str, num_embeddings: int) -> str:
    """The kind to build: ``auto`` goes by the number of embeddings.

    Too few to learn from are searched exactly, whatever the kind.
    """
    if num_embeddings < MIN_TRAINING:
        return EXACT
    if kind != AUTO:
        return kind
    return EXACT if num_embeddings <= _LARGE else "sq8"


def kind_in_words(kind: str, in_use: str) -> str:
    """The kind that was asked for and, if it is another, the one in use.

    >>> kind_in_words("hnsw", "exact")
    'hnsw, from 1,024 faces on; exact until then'
    """
    if kind == AUTO:
        return f"{AUTO}, now {in_use}"
    if kind == in_use:
        return kind
    return f"{kind}, from {MIN_TRAINING:,} faces on; {in_use} until then"
