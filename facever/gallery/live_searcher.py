"""The searcher of an open gallery, which follows what the database says by now."""

from pathlib import Path

from facever.gallery.index_file import remove_index
from facever.gallery.index_keeping import fresh_searcher, keep_searcher
from facever.gallery.meta import GalleryMeta
from facever.gallery.searching import Searcher
from facever.gallery.store import GalleryStore


class LiveSearcher:
    """Made when first asked for, and again when another kind of index is wanted."""

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
        """Build the index anew from the stored embeddings, and write its file.

        Returns:
            The kind that was built: ``auto`` chooses one.

        Raises:
            FileError: If the gallery is damaged, or the index cannot be written.
        """
        with self._store.reading():
            self._searched = self._store.meta()
            self._searcher = fresh_searcher(
                self._folder, self._store, self._searched, anew=True
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
