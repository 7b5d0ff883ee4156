"""Approximate nearest neighbours by cosine, by faiss."""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from facever.gallery.indexes.index import Found

# Its classes are made by SWIG: what type checkers see of them is not what there is.
library: Any = faiss

# Embeddings that an index learns its cells and codes from, at most.
MAX_TRAINING = 100_000

# What the kinds need to learn from: 256 codes of 8 bits, some photos each.
MIN_TRAINING = 1024

_LINKS = 32
_BUILD_WIDTH = 200
_SEARCH_WIDTH = 256
_PQ_NUMBERS_A_BYTE = 4


class FaissIndex:
    """Unit embeddings in one of faiss's approximate indexes.

    ``sq8`` keeps a byte a number and compares with all; ``ivf-flat`` compares with
    those in the nearest cells; ``ivf-pq`` does, too, and keeps a byte for four numbers;
    ``hnsw`` walks a graph of neighbours.

    Attributes:
        kind: One of these.
    """

    exact = False

    def __init__(self, kind: str, index: Any) -> None:
        self.kind = kind
        self.compressed = kind in ("sq8", "ivf-pq")
        self._index = index

    @classmethod
    def train(
        cls, kind: str, sample: Float32[np.ndarray, "rows dim"], num_rows: int
    ) -> "FaissIndex":
        """An empty index that has learned from some embeddings.

        Args:
            kind: ``sq8``, ``ivf-flat``, ``ivf-pq`` or ``hnsw``.
            sample: Of unit length, at least ``MIN_TRAINING``.
            num_rows: How many there are going to be.
        """
        dim = sample.shape[1]
        metric = library.METRIC_INNER_PRODUCT
        # As many cells as faiss advises, but so few that each has photos to learn from.
        num_cells = max(1, min(round(4 * num_rows**0.5), len(sample) // 39))
        if kind == "sq8":
            index = library.IndexScalarQuantizer(
                dim, library.ScalarQuantizer.QT_8bit, metric
            )
        elif kind == "hnsw":
            index = library.IndexHNSWFlat(dim, _LINKS, metric)
            index.hnsw.efConstruction = _BUILD_WIDTH
        elif kind == "ivf-flat":
            index = library.IndexIVFFlat(
                library.IndexFlatIP(dim), dim, num_cells, metric
            )
        else:
            index = library.IndexIVFPQ(
                library.IndexFlatIP(dim), dim, num_cells, _num_codes(dim), 8, metric
            )
        index.train(sample)
        return cls(kind, index)

    @classmethod
    def from_parts(
        cls, kind: str, content: UInt8[np.ndarray, " bytes"]
    ) -> "FaissIndex":
        """The index that gave these ``parts``; of other bytes faiss may crash."""
        return cls(kind, library.deserialize_index(content))

    def parts(self) -> Iterator[UInt8[np.ndarray, " bytes"]]:
        """The whole index, for a file."""
        yield np.asarray(library.serialize_index(self._index))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, embeddings: Float32[np.ndarray, "rows dim"]) -> None:
        """Append embeddings of unit length."""
        self._index.add(embeddings)

    def search(
        self,
        embeddings: Float32[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """The ``k`` rows nearest to each query, some of which may be missed.

        See ``Index``; the cosines of a compressed index are rough.
        """
        options: dict[str, Any] = {}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            options["sel"] = library.IDSelectorBitmap(bits)
        if self.kind == "hnsw":
            options["efSearch"] = max(_SEARCH_WIDTH, 2 * k)
            parameters = library.SearchParametersHNSW(**options)
        elif self.kind == "sq8":
            parameters = library.SearchParameters(**options)
        else:
            # An eighth of the cells: faces lie less apart than what cells are made for.
            options["nprobe"] = max(16, -(-self._index.nlist // 8))
            parameters = library.SearchParametersIVF(**options)
        cosine: Float32[np.ndarray, "queries k"]
        rows: Int64[np.ndarray, "queries k"]
        cosine, rows = self._index.search(embeddings, k, params=parameters)
        cosine = np.clip(cosine, -1.0, 1.0)
        cosine[rows < 0] = -np.inf
        return cosine, rows


def _num_codes(dim: int) -> int:
    """Bytes a code: a divisor of the embedding's size, near a fourth of it."""
    most = max(1, dim // _PQ_NUMBERS_A_BYTE)
    return next(count for count in range(most, 0, -1) if dim % count == 0)
