"""What an index of embeddings does: nearest neighbours by cosine."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from facever.errors import ParameterError

Found = tuple[Float32[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]


@runtime_checkable
class Index(Protocol):
    """Unit embeddings that can be searched by cosine; a row is a place in their order.

    Attributes:
        kind: Its name.
        exact: Whether nothing that is asked for can be missed.
        compressed: Whether its cosines are rough, to be replaced by exact ones.
    """

    kind: str
    exact: bool
    compressed: bool

    def __len__(self) -> int: ...

    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        ...

    def parts(self) -> Iterator[np.ndarray]:
        """The whole index in arrays, for a file."""
        ...

    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query, nearest first.

        Args:
            embeddings: Unit length.
            k: At least 1.
            allowed: Rows that may be found; all by default.

        Returns:
            Cosines in [-1, 1], and the rows they belong to; -inf and -1 fill up where
            fewer are found.
        """
        ...


AUTO = "auto"
EXACT = "exact"
KINDS = (EXACT, "sq8", "ivf-flat", "ivf-pq", "hnsw")

# Up to here exact search takes some ten milliseconds and no memory worth saving. Above,
# a byte a number with exact re-ranking finds the same at a quarter of the memory.
_LARGE = 200_000


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of index.

    Raises:
        ParameterError: That names the kinds.
    """
    if kind not in (AUTO, *KINDS):
        raise ParameterError(
            f"index must be one of {', '.join((AUTO, *KINDS))}, got {kind!r}"
        )


def choose_kind(kind: str, num_embeddings: int) -> str:
    """The kind to build: ``auto`` goes by the number of embeddings."""
    if kind != AUTO:
        return kind
    return EXACT if num_embeddings <= _LARGE else "sq8"
