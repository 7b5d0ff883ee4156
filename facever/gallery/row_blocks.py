"""Embeddings in blocks of memory, to which more are added without copying them all."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

# Rows of a block, but for one that is given whole.
_MOST_ROWS = 2**18


class RowBlocks:
    """Rows of float32; those of an index file are mapped, the others in memory."""

    def __init__(self, rows: Float32[np.ndarray, "rows dim"]) -> None:
        """Begin with rows, which are not copied, or with none of the right size."""
        self._blocks = [rows]
        self._last = np.empty((0, rows.shape[1]), np.float32)
        self._num_last = 0
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self._last.shape[1]

    def add(self, rows: Float32[np.ndarray, "rows dim"]) -> None:
        """Append rows."""
        while len(rows):
            if self._num_last == len(self._last):
                self._make_room(len(rows))
            some = rows[: len(self._last) - self._num_last]
            end = self._num_last + len(some)
            self._last[self._num_last : end] = some
            self._num_last = end
            self._count += len(some)
            rows = rows[len(some) :]

    def blocks(
        self, first: int, end: int, most: int
    ) -> Iterator[tuple[int, Float32[np.ndarray, "rows dim"]]]:
        """The rows of a range in order, at most so many at once.

        Yields:
            The place of the first one, and the rows, which are not copied.
        """
        start = 0
        for block in (*self._blocks, self._last[: self._num_last]):
            stop = start + len(block)
            for place in range(max(first, start), min(end, stop), most):
                upto = min(place + most, end, stop)
                yield place, block[place - start : upto - start]
            start = stop

    def _make_room(self, num_rows: int) -> None:
        """Let the last block grow, or begin another one."""
        if self._num_last >= _MOST_ROWS:
            self._blocks.append(self._last)
            self._last = self._last[:0]
            self._num_last = 0
        room = min(_MOST_ROWS, max(2 * self._num_last, num_rows))
        grown = np.empty((room, self.size), np.float32)
        grown[: self._num_last] = self._last
        self._last = grown
