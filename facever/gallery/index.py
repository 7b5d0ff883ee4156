"""Exact nearest neighbours by cosine; the only file that knows faiss."""

import faiss
import numpy as np
from jaxtyping import Float32, Int64


class ExactIndex:
    """Unit embeddings in memory, searched by inner product without approximation."""

    def __init__(self, embedding_size: int) -> None:
        self._index = faiss.IndexFlatIP(embedding_size)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        self._index.add(embeddings)

    def search(
        self, embeddings: Float32[np.ndarray, "queries dim"], k: int
    ) -> tuple[Float32[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]:
        """The ``k`` rows nearest to each query, nearest first.

        Args:
            embeddings: Unit length.
            k: At least 1 and at most the number of rows.

        Returns:
            Cosines in [-1, 1], and the rows they belong to.
        """
        cosine, rows = self._index.search(embeddings, k)
        return np.clip(cosine, -1.0, 1.0), rows
