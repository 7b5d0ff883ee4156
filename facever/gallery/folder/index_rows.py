"""Which photos the rows of an index are: their numbers in the database, and people."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64

from facever.gallery.folder.store import FEW, GalleryStore
from facever.gallery.indexes.index import Index


class IndexRows:
    """Number, person and presence of each row of an index.

    All methods are called within ``store.reading``.

    Attributes:
        numbers: The number in the database of each row, ascending; removed ones
            included.
        alive: Whether the entry of each row still exists.
        codes: The person of each row: one number for each name.
    """

    def __init__(self, store: GalleryStore) -> None:
        """Begin with no rows; ``refresh`` reads them."""
        self.numbers: Int64[np.ndarray, " rows"] = np.empty(0, np.int64)
        self.alive: Bool[np.ndarray, " rows"] = np.empty(0, bool)
        self.codes: Int64[np.ndarray, " rows"] = np.empty(0, np.int64)
        self._store = store
        self._code_of: dict[str, int] = {}
        self._names: list[str] = []
        self._sequence = store.last()[1]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def num_people(self) -> int:
        """How many codes were given so far."""
        return len(self._names)

    @property
    def alive_numbers(self) -> Int64[np.ndarray, " rows"]:
        """The numbers of all entries, ascending."""
        return np.asarray(self.numbers[self.alive])

    @property
    def num_removed(self) -> int:
        """Rows of the index whose entry is gone."""
        return int(len(self.alive) - np.count_nonzero(self.alive))

    def take(self, numbers: Int64[np.ndarray, " rows"]) -> None:
        """Say which rows, ascending, an index that was read from a file holds."""
        self.numbers = np.array(numbers)
        self.alive = np.zeros(len(numbers), bool)
        self.codes = np.full(len(numbers), -1, np.int64)
        self._read_names(numbers)

    def refresh(self, index: Index) -> None:
        """Follow all changes of the database, whoever made them.

        Args:
            index: The index of these rows, which gets the new ones.

        Raises:
            FileError: If a row is damaged, or missing without having been removed.
        """
        changed, self._sequence = self._store.changes_after(self._sequence)
        last = int(self.numbers[-1]) if len(self.numbers) else 0
        old = np.unique(np.array([n for n in changed if n <= last], np.int64))
        self.alive[self.places(old)] = False
        self._read_names(old)
        blocks = [self.numbers]
        try:
            for numbers, embeddings in self._store.read_after(last):
                index.add(embeddings)
                blocks.append(numbers)
        finally:
            self.numbers = np.concatenate(blocks)
        new = self.numbers[len(self.alive) :]
        if len(new):
            self.alive = np.append(self.alive, np.zeros(len(new), bool))
            self.codes = np.append(self.codes, np.full(len(new), -1, np.int64))
            self._read_names(new)
        if len(new) or len(old):
            self._store.check_all(int(np.count_nonzero(self.alive)))

    def name_of(self, code: int) -> str:
        """Whose code it is."""
        return self._names[code]

    def places(self, numbers: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " some"]:
        """The rows of numbers that are in memory."""
        return np.asarray(np.searchsorted(self.numbers, numbers), np.int64)

    def _read_names(self, numbers: Int64[np.ndarray, " some"]) -> None:
        """Note which of these rows are there, and whose they are."""
        if len(numbers) > FEW:
            # All names are read from SQLite's index, which no checksum covers, and a
            # few from among the embeddings.
            names = self._store.names()
            present = self._store.numbers_by_name()
            codes = np.repeat(self._codes(names), list(names.values()))
        else:
            people = self._store.entries_of(numbers)
            present = np.array(list(people), np.int64)
            codes = self._codes(entry.name for entry in people.values())
        places = self.places(present)
        known = places < len(self.numbers)
        self.codes[places[known]] = codes[known]
        self.alive[places[known]] = True

    def _codes(self, names: Iterable[str]) -> Int64[np.ndarray, " names"]:
        """The code of each name; new names get new ones."""
        known = self._code_of
        codes = [known.setdefault(name, len(known)) for name in names]
        self._names.extend(list(known)[len(self._names) :])
        return np.array(codes, np.int64)
