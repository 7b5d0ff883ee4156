"""Kinds of indexes, by name or by the size of a gallery."""

from facever.errors import ParameterError

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
