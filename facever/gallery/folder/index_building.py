"""Which index a gallery is searched with, when it is read, built, and built again."""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from facever.errors import FileError
from facever.gallery.folder.index_file import (
    INDEX_NAME,
    IndexFile,
    read_index,
    remove_index,
    write_index,
)
from facever.gallery.folder.searching import Searcher
from facever.gallery.folder.store import GalleryStore
from facever.gallery.indexes import INDEXES
from facever.gallery.indexes.index import (
    EXACT,
    MAX_TRAINING,
    MIN_TRAINING,
    Index,
    choose_kind,
)
from facever.gallery.meta import GalleryMeta
from facever.hardware import device_name

_log = logging.getLogger(__name__)
_SEED = 0

# The file is written again when more rows than this are not in it: up to here, reading
# them at every start takes no time.
_UNSAVED = 10_000

# Fewer rows are searched in milliseconds on a CPU, and torch takes a second to import.
_MIN_ON_GPU = 100_000

# Fewer rows are read from the database in a second: an exact index has no file then.
_MIN_EXACT_IN_FILE = 50_000


def fresh_searcher(
    folder: Path, store: GalleryStore, meta: GalleryMeta, again: bool = False
) -> Searcher:
    """A searcher whose index is read from the gallery's file, or built and written.

    A damaged file is built again, which is logged as a warning. If there are too few
    photos to learn from, they are searched exactly, whatever the kind.

    Args:
        folder: The gallery's folder.
        store: The gallery's store, within ``reading``.
        meta: The gallery's metadata.
        again: Build the index, whatever the file holds.

    Returns:
        The searcher, refreshed.
    """
    count = store.count()
    kind = choose_kind(meta.index, count)
    if kind == EXACT and count < _MIN_EXACT_IN_FILE:
        return _in_memory(store, meta)
    found = None if again else _read(folder, store, meta, kind)
    if found is not None:
        found.refresh()
        return found
    if kind == EXACT:
        return _mapped(folder, store, meta)
    return _trained(folder, store, meta, kind)


def keep_searcher(
    folder: Path, store: GalleryStore, meta: GalleryMeta, searcher: Searcher
) -> Searcher:
    """The same searcher, or one built again because too much has changed.

    Args:
        folder: The gallery's folder.
        store: The gallery's store, within ``reading``.
        meta: The gallery's metadata.
        searcher: The searcher up to now, refreshed.
    """
    rows = len(searcher.rows)
    left = rows - searcher.rows.num_removed
    if rows - left > max(MIN_TRAINING, rows // 2):
        return fresh_searcher(folder, store, meta, again=True)
    kind = searcher.index.kind
    if kind == EXACT:
        if choose_kind(meta.index, left) != EXACT:
            return fresh_searcher(folder, store, meta)
        if left < _MIN_EXACT_IN_FILE:
            return searcher
    if rows - searcher.num_saved > max(_UNSAVED, rows // 10):
        # Cells learned from half of what there is now are not worth keeping.
        if kind != EXACT and rows > 2 * searcher.num_learned:
            return _trained(folder, store, meta, kind)
        _save(folder, store, meta, searcher)
    return searcher


def _read(
    folder: Path, store: GalleryStore, meta: GalleryMeta, kind: str
) -> Searcher | None:
    """A searcher with the index of the file, None if the file is of another state."""
    try:
        found = read_index(folder, meta, INDEXES[kind])
        if found is None:
            return None
        index_class = _index_class(kind, len(found.numbers))
        index = index_class.from_parts(found.content, meta.embedding_size)
        if len(index) != len(found.numbers):
            raise ValueError(f"{len(index)} rows for {len(found.numbers)} photos")
    except FileError as error:
        _log.warning("%s; it is built again from the stored embeddings", error)
        return None
    except ValueError as error:
        _log.warning(
            "%s: %s cannot be used (%s); it is built again from the stored embeddings",
            *(folder, INDEX_NAME, " ".join(str(error).split())),
        )
        return None
    searcher = Searcher(store, index)
    searcher.take(found.numbers)
    if _is_of_this_state(store, searcher, found):
        return searcher
    _log.warning("%s: the index is of another state; it is built again", folder)
    return None


def _is_of_this_state(
    store: GalleryStore, searcher: Searcher, found: IndexFile
) -> bool:
    """Whether the database has gone on from what was indexed.

    It has not if a copy was put in its place, and photos were added to the copy.
    """
    last = int(found.numbers[-1])
    kept = len(found.numbers) - searcher.rows.num_removed
    return (
        last <= store.last()[0]
        and kept + store.count_after(last) == store.count()
        # Ids are random: photos that were added to a copy have others.
        and store.id_of(found.newest[0]) in (None, found.newest[1])
    )


def _in_memory(store: GalleryStore, meta: GalleryMeta) -> Searcher:
    """A searcher with an exact index, which learns from nothing."""
    count, nothing = store.count(), np.empty((0, meta.embedding_size), np.float32)
    searcher = Searcher(store, _index_class(EXACT, count).train(nothing, count))
    searcher.refresh()
    return searcher


def _mapped(folder: Path, store: GalleryStore, meta: GalleryMeta) -> Searcher:
    """A searcher with an exact index that goes into a file, and not into memory."""
    numbers = np.sort(store.numbers_by_name())
    blocks = (units for _, units in store.read_after(0))
    if write_index(folder, meta, INDEXES[EXACT], numbers, store.newest(), blocks):
        searcher = _read(folder, store, meta, EXACT)
        if searcher is not None:
            return searcher
    searcher = _in_memory(store, meta)
    searcher.num_saved = len(searcher.rows)
    return searcher


def _trained(
    folder: Path, store: GalleryStore, meta: GalleryMeta, kind: str
) -> Searcher:
    count = store.count()
    sample = _sample(store, count)
    searcher = Searcher(store, _index_class(kind, count).train(sample, count))
    searcher.refresh()
    searcher.num_learned = len(searcher.rows)
    _save(folder, store, meta, searcher)
    return searcher


def _index_class(kind: str, count: int) -> type[Index]:
    """The class of a kind of index; large ones are searched exactly on a GPU."""
    if kind == EXACT and count >= _MIN_ON_GPU:
        # torch is imported only where there may be a GPU.
        if device_name().startswith("cuda"):
            from facever.gallery.indexes.gpu import GpuIndex

            return GpuIndex
    return INDEXES[kind]


def _save(
    folder: Path, store: GalleryStore, meta: GalleryMeta, searcher: Searcher
) -> None:
    index, numbers = searcher.index, searcher.rows.numbers
    kind = INDEXES[index.kind]
    write_index(folder, meta, kind, numbers, store.newest(), index.parts())
    searcher.num_saved = len(searcher.rows)


def _sample(store: GalleryStore, count: int) -> Float32[np.ndarray, "rows dim"]:
    """Some of the embeddings, drawn with a fixed seed."""
    rng = np.random.default_rng(_SEED)
    share = min(1.0, MAX_TRAINING / count)
    return np.concatenate(
        [
            units if share == 1 else units[rng.random(len(units)) < share]
            for _, units in store.read_after(0)
        ]
    )


class LiveSearcher:
    """A searcher that is made when it is first asked for, and follows the gallery."""

    def __init__(self, folder: Path, store: GalleryStore) -> None:
        self._folder = folder
        self._store = store
        self._searcher: Searcher | None = None
        self._searched: GalleryMeta | None = None

    def refreshed(self) -> Searcher:
        """The searcher, with all changes up to now; within ``reading``."""
        meta = self._store.meta()
        if self._searcher is None or not _searched_alike(meta, self._searched):
            self._searched = meta
            self._searcher = fresh_searcher(self._folder, self._store, meta)
        else:
            self._searcher.refresh()
        self._searcher = keep_searcher(self._folder, self._store, meta, self._searcher)
        return self._searcher

    def rebuild(self) -> str:
        """Build the index again from the stored embeddings, and write its file.

        Returns:
            The kind that was built: ``auto`` chooses one.

        Raises:
            FileError: If the gallery is damaged, or the index cannot be written.
        """
        with self._store.reading():
            self._searched = self._store.meta()
            self._searcher = fresh_searcher(
                self._folder, self._store, self._searched, again=True
            )
        if not self._searcher.num_saved:
            remove_index(self._folder)
        return self._searcher.index.kind


def _searched_alike(one: GalleryMeta, other: GalleryMeta | None) -> bool:
    return (
        other is not None
        and one.index == other.index
        and one.embedding_size == other.embedding_size
        and one.model_fingerprint == other.model_fingerprint
    )
