"""Exact nearest neighbours on a GPU, which holds a copy of the rows.

Experimental: not run on a GPU yet; the tests run it on torch's CPU.
"""

import logging

import numpy as np
import torch
from jaxtyping import Bool, Float32

from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.index import Found

_log = logging.getLogger(__name__)

# Scores that are held at once: 256 MiB.
_BLOCK_ROWS = 2**18
_BLOCK_QUERIES = 256


class GpuIndex(ExactIndex):
    """Unit embeddings in memory and on a GPU, multiplied there in float32.

    If the GPU's memory cannot hold them, they are searched on the CPU, which is logged
    as a warning.
    """

    def __init__(
        self, rows: Float32[np.ndarray, "rows dim"], device: str = "cuda"
    ) -> None:
        """Begin with unit embeddings as ``ExactIndex`` does; they are copied later."""
        super().__init__(rows)
        self._copy = torch.empty((0, rows.shape[1]), device=device)
        self._num_copied = 0
        self._fits = True

    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query; see ``Index``."""
        if self._fits:
            try:
                self._copy_more()
                return self._search_copy(embeddings, k, allowed)
            except torch.OutOfMemoryError:
                self._fits = False
                self._copy = self._copy.new_empty((0, self._copy.shape[1]))
                _log.warning(
                    "the GPU's memory does not hold %s embeddings of %s numbers; they "
                    "are searched on the CPU",
                    f"{len(self):,}",
                    self._copy.shape[1],
                )
        return super().search(embeddings, k, allowed)

    def _copy_more(self) -> None:
        """Copy what has been added since the last search."""
        end = len(self)
        if end > len(self._copy):
            room = max(end, 2 * self._num_copied)
            grown = self._copy.new_empty((room, self._copy.shape[1]))
            grown[: self._num_copied] = self._copy[: self._num_copied]
            self._copy = grown
        for start, units in self._rows.blocks(self._num_copied, end, _BLOCK_ROWS):
            self._copy[start : start + len(units)].copy_(torch.from_numpy(units))
        self._num_copied = end

    def _search_copy(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> Found:
        cosine = np.full((len(embeddings), k), -np.inf, np.float32)
        rows = np.full((len(embeddings), k), -1, np.int64)
        device = self._copy.device
        hidden = None if allowed is None else torch.from_numpy(~allowed).to(device)
        for first in range(0, len(embeddings), _BLOCK_QUERIES):
            some = slice(first, first + _BLOCK_QUERIES)
            queries = torch.from_numpy(embeddings[some]).to(device)
            best = queries.new_empty((len(queries), 0))
            places = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
            for start in range(0, len(self), _BLOCK_ROWS):
                block = slice(start, min(start + _BLOCK_ROWS, len(self)))
                scores = queries @ self._copy[block].T
                if hidden is not None:
                    scores[:, hidden[block]] = -torch.inf
                found = scores.topk(min(k, scores.shape[1]))
                best = torch.cat([best, found.values], dim=1)
                places = torch.cat([places, found.indices + start], dim=1)
                best, order = best.topk(min(k, best.shape[1]))
                places = places.gather(1, order)
            cosine[some, : best.shape[1]] = best.cpu().numpy()
            rows[some, : best.shape[1]] = places.cpu().numpy()
        rows[np.isneginf(cosine)] = -1
        return np.clip(cosine, -1.0, 1.0, where=rows >= 0, out=cosine), rows
