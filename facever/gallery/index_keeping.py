"""Which index a gallery searches with, read from its file or built, and kept fresh."""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from facever.errors import FileError
from facever.gallery.approximate import MAX_TRAINING, MIN_TRAINING, FaissIndex
from facever.gallery.exact_index import ExactIndex
from facever.gallery.index_choice import EXACT, choose_kind
from facever.gallery.index_file import read_index, write_index
from facever.gallery.meta import GalleryMeta
from facever.gallery.searching import Searcher
from facever.gallery.store import GalleryStore

_log = logging.getLogger(__name__)
_SEED = 0

# The file is written again when so many rows are not in it: reading these at every
# start takes no time yet.
_UNSAVED = 10_000

# So few are searched in milliseconds on a CPU, and torch takes a second to import.
_MIN_ON_GPU = 100_000


def fresh_searcher(
    folder: Path, store: GalleryStore, meta: GalleryMeta, anew: bool = False
) -> Searcher:
    """A searcher whose index is read from the gallery's file, or built and written.

    A damaged file is built anew, which is logged as a warning. Too few photos to learn
    from are searched exactly, whatever the kind.

    Args:
        folder: The gallery's.
        store: Within ``reading``.
        meta: Of the gallery.
        anew: Build, whatever the file holds.

    Returns:
        The searcher, refreshed.
    """
    count = store.count()
    kind = choose_kind(meta.index, count)
    if kind == EXACT or count < MIN_TRAINING:
        searcher = Searcher(store, _exact_index(meta.embedding_size, count))
        searcher.refresh()
        return searcher
    found = None
    if not anew:
        try:
            found = read_index(folder, meta, kind)
        except FileError as error:
            _log.warning("%s; it is built anew from the stored embeddings", error)
    if found is not None:
        searcher = Searcher(store, found.index)
        searcher.take(found.numbers)
        last = int(found.numbers[-1]) if len(found.numbers) else 0
        num_kept = len(found.numbers) - searcher.rows.num_removed
        # Of another state of the database: one that a copy was put in the place of.
        if num_kept == store.count_to(last) and last <= store.last()[0]:
            searcher.refresh()
            return searcher
        _log.warning("%s: the index is of another state; it is built anew", folder)
    return _built(folder, store, meta, kind, count)


def keep_searcher(
    folder: Path, store: GalleryStore, meta: GalleryMeta, searcher: Searcher
) -> Searcher:
    """The same searcher, or one built anew where too much has changed since.

    Args:
        folder: The gallery's.
        store: Within ``reading``.
        meta: Of the gallery.
        searcher: Refreshed.
    """
    rows = len(searcher.rows)
    if searcher.rows.num_removed > max(MIN_TRAINING, rows // 2):
        return fresh_searcher(folder, store, meta, anew=True)
    index = searcher.index
    if isinstance(index, FaissIndex):
        if rows - searcher.num_saved > max(_UNSAVED, rows // 10):
            # Cells learned from half of what there is now are not worth keeping.
            if rows > 2 * searcher.num_learned:
                return _built(folder, store, meta, index.kind, rows)
            _save(folder, meta, searcher)
    elif rows - searcher.rows.num_removed >= MIN_TRAINING:
        wanted = choose_kind(meta.index, rows - searcher.rows.num_removed)
        if wanted != EXACT:
            return fresh_searcher(folder, store, meta)
    return searcher


def _exact_index(embedding_size: int, count: int) -> ExactIndex:
    if count < _MIN_ON_GPU:
        return ExactIndex(embedding_size)
    import torch

    if not torch.cuda.is_available():
        return ExactIndex(embedding_size)
    from facever.gallery.gpu_index import GpuIndex

    return GpuIndex(embedding_size)


def _built(
    folder: Path, store: GalleryStore, meta: GalleryMeta, kind: str, count: int
) -> Searcher:
    searcher = Searcher(store, FaissIndex.train(kind, _sample(store, count), count))
    searcher.refresh()
    searcher.num_learned = len(searcher.rows)
    _save(folder, meta, searcher)
    return searcher


def _save(folder: Path, meta: GalleryMeta, searcher: Searcher) -> None:
    assert isinstance(searcher.index, FaissIndex)
    try:
        write_index(folder, meta, searcher.index, searcher.rows.numbers)
    except FileError as error:
        # Somebody who may only read can search all the same.
        _log.warning("%s; it is kept in memory alone", error)
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
