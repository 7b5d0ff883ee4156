"""Indexes: nearest neighbours by cosine. A new one is a class and a row here."""

from facever.gallery.indexes.approximate import (
    CellIndex,
    CompressedCellIndex,
    CompressedIndex,
    GraphIndex,
)
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.index import Index

INDEXES: dict[str, type[Index]] = {
    "exact": ExactIndex,
    "sq8": CompressedIndex,
    "ivf-flat": CellIndex,
    "ivf-pq": CompressedCellIndex,
    "hnsw": GraphIndex,
}

__all__ = ["INDEXES", "Index"]
