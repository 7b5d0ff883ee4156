"""The rows nearest to each query, among those compared so far."""

import numpy as np
from jaxtyping import Float32, Int64

from facever.gallery.index import Found


class Nearest:
    """The ``k`` highest cosines of each query, highest first, and their rows.

    Attributes:
        cosine: -inf fills up where fewer have been compared.
        rows: -1 fills up.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self.cosine: Float32[np.ndarray, "queries k"] = np.full(
            (num_queries, k), -np.inf, np.float32
        )
        self.rows: Int64[np.ndarray, "queries k"] = np.full(
            (num_queries, k), -1, np.int64
        )

    def take(
        self,
        query: int,
        cosine: Float32[np.ndarray, " some"],
        rows: Int64[np.ndarray, " some"],
    ) -> None:
        """Compare more rows with a query."""
        best, best_rows = self.cosine[query], self.rows[query]
        # After the first blocks hardly any cosine is above the lowest of the best.
        higher = np.flatnonzero(cosine > best[-1])
        k = len(best)
        if len(higher) > k:
            higher = higher[np.argpartition(cosine[higher], -k)[-k:]]
        if len(higher):
            all_cosines = np.concatenate([best, cosine[higher]])
            all_rows = np.concatenate([best_rows, rows[higher]])
            order = np.argsort(-all_cosines, kind="stable")[:k]
            best[:], best_rows[:] = all_cosines[order], all_rows[order]

    def found(self) -> Found:
        """Cosines, which rounding may have left beyond 1, and rows."""
        return np.where(self.rows >= 0, self.cosine.clip(-1, 1), -np.inf), self.rows
