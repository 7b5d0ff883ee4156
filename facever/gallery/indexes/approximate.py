"""Approximate nearest neighbours by cosine, by faiss."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from facever.gallery.indexes.index import Found, Index

# Its classes are made by SWIG: what type checkers see of them is not what there is.
library: Any = faiss

_LINKS = 32
_BUILD_WIDTH = 200
_SEARCH_WIDTH = 256
_PQ_NUMBERS_A_BYTE = 4

# Photos that each cell learns from, as faiss advises.
_PHOTOS_A_CELL = 39


class FaissIndex(Index):
    """Unit embeddings in one of faiss's approximate indexes."""

    writer = f"faiss {faiss.__version__}"

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def train(
        cls, sample: Float32[np.ndarray, "rows dim"], num_rows: int
    ) -> "FaissIndex":
        """An empty index that has learned from some embeddings; see ``Index``."""
        index = cls._make(sample.shape[1], _num_cells(len(sample), num_rows))
        index.train(sample)
        return cls(index)

    @classmethod
    def from_parts(
        cls, content: UInt8[np.ndarray, " bytes"], embedding_size: int
    ) -> "FaissIndex":
        """The index that gave these ``parts``; on a forger's bytes faiss may crash.

        Raises:
            ValueError: If faiss refuses them, or finds something else in them.
        """
        try:
            index = library.deserialize_index(content)
        except RuntimeError as error:
            raise ValueError(f"faiss refuses it: {error}") from error
        expected = type(cls._make(embedding_size, 1))
        if type(index) is not expected or index.d != embedding_size:
            raise ValueError(
                f"it is a {type(index).__name__} of {index.d} numbers, not a "
                f"{expected.__name__} of {embedding_size}"
            )
        return cls(index)

    @classmethod
    @abstractmethod
    def _make(cls, dim: int, num_cells: int) -> Any:
        """The index of faiss for a size; ``num_cells`` counts if it has cells."""

    @abstractmethod
    def _parameters(self, k: int, options: dict[str, Any]) -> Any:
        """The parameters of faiss for a search for ``k`` rows, beside these options."""

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
        cosine: Float32[np.ndarray, "queries k"]
        rows: Int64[np.ndarray, "queries k"]
        cosine, rows = self._index.search(
            embeddings, k, params=self._parameters(k, options)
        )
        cosine = np.clip(cosine, -1.0, 1.0)
        cosine[rows < 0] = -np.inf
        return cosine, rows


class CompressedIndex(FaissIndex):
    """Keeps one byte for each number, and compares with all rows."""

    kind = "sq8"
    compressed = True

    @classmethod
    def _make(cls, dim: int, num_cells: int) -> Any:
        levels = library.ScalarQuantizer.QT_8bit
        return library.IndexScalarQuantizer(dim, levels, library.METRIC_INNER_PRODUCT)

    def _parameters(self, k: int, options: dict[str, Any]) -> Any:
        return library.SearchParameters(**options)


class CellIndex(FaissIndex):
    """Compares with the rows in the nearest cells."""

    kind = "ivf-flat"

    @classmethod
    def _make(cls, dim: int, num_cells: int) -> Any:
        return library.IndexIVFFlat(
            library.IndexFlatIP(dim), dim, num_cells, library.METRIC_INNER_PRODUCT
        )

    def _parameters(self, k: int, options: dict[str, Any]) -> Any:
        # An eighth of the cells: faces lie closer together than what faiss's usual
        # share is made for.
        num_cells = max(16, -(-self._index.nlist // 8))
        return library.SearchParametersIVF(nprobe=num_cells, **options)


class CompressedCellIndex(CellIndex):
    """Compares with the rows in the nearest cells; keeps one byte for four numbers."""

    kind = "ivf-pq"
    compressed = True

    @classmethod
    def _make(cls, dim: int, num_cells: int) -> Any:
        cells = library.IndexFlatIP(dim)
        codes = _num_codes(dim), 8
        return library.IndexIVFPQ(
            cells, dim, num_cells, *codes, library.METRIC_INNER_PRODUCT
        )


class GraphIndex(FaissIndex):
    """Walks a graph of neighbours."""

    kind = "hnsw"

    @classmethod
    def _make(cls, dim: int, num_cells: int) -> Any:
        index = library.IndexHNSWFlat(dim, _LINKS, library.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_WIDTH
        return index

    def _parameters(self, k: int, options: dict[str, Any]) -> Any:
        width = max(_SEARCH_WIDTH, 2 * k)
        return library.SearchParametersHNSW(efSearch=width, **options)


def _num_cells(num_sampled: int, num_rows: int) -> int:
    """As many cells as faiss advises, but each must have photos to learn from."""
    return max(1, min(round(4 * math.sqrt(num_rows)), num_sampled // _PHOTOS_A_CELL))


def _num_codes(dim: int) -> int:
    """Bytes a code: a divisor of the embedding's size, near a fourth of it."""
    most = max(1, dim // _PQ_NUMBERS_A_BYTE)
    return next(count for count in range(most, 0, -1) if dim % count == 0)
