"""Embeddings of a crop store in a file, so that a run that was killed goes on."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from facever.data.store.crop_store import CropStore
from facever.files import whole_file
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import (
    EmbeddingsFile,
    read_embeddings,
    write_embeddings,
)
from facever.progress import Advance, ignore_progress

# A run that is killed loses a hundredth of the crops, or so many if that is more.
_PIECE_CROPS = 256
_NUM_PIECES = 100


def embed_store(
    embedder: Embedder,
    store: CropStore,
    path: Path,
    advance: Advance = ignore_progress,
) -> Float32[np.ndarray, "crops dim"]:
    """Embed the crops of a store, but for those that a file has already.

    A crop is known by its source and its checksum, so that one of another store, or of
    a photo that has changed, is not taken for it.

    Args:
        embedder: Makes the embeddings; those of another model in the file are dropped.
        store: The crops.
        path: The file, an ``.npz``, which is written again whenever a piece is done.
        advance: Progress, one unit for each crop.

    Returns:
        As of ``Embedder.embed_crops``: not normalised.

    Raises:
        FileError: If the file is no ``.npz`` or cannot be written.
        DataError: If it is damaged.
        MismatchError: If the store's crops do not serve the model.
    """
    embeddings = np.empty((len(store), embedder.embedding_size), np.float32)
    is_known = _read_known(embedder, store, path, embeddings)
    advance(int(np.count_nonzero(is_known)))
    missing = np.flatnonzero(~is_known).tolist()
    crops = store.crops_for(embedder.template)
    step = max(_PIECE_CROPS, len(store) // _NUM_PIECES)
    for start in range(0, len(missing), step):
        rows = missing[start : start + step]
        embeddings[rows] = embedder.embed_crops(crops[rows], advance=advance)
        is_known[rows] = True
        known = np.flatnonzero(is_known)
        content = EmbeddingsFile(
            embeddings[known],
            [store.sources[row] for row in known.tolist()],
            embedder.model_fingerprint,
            store.checksums[known],
        )
        with whole_file(path) as temporary:
            write_embeddings(temporary, content)
    return embeddings


def _read_known(
    embedder: Embedder,
    store: CropStore,
    path: Path,
    embeddings: Float32[np.ndarray, "crops dim"],
) -> Bool[np.ndarray, " crops"]:
    """Fill in the embeddings that a file has, and say which these are."""
    is_known = np.zeros(len(store), bool)
    if not path.exists():
        return is_known
    file = read_embeddings(path)
    if file.model_fingerprint != embedder.model_fingerprint or file.checksums is None:
        return is_known
    crops = zip(file.images, file.checksums.tolist(), strict=True)
    place_of = {crop: place for place, crop in enumerate(crops)}
    wanted = zip(store.sources, store.checksums.tolist(), strict=True)
    for row, crop in enumerate(wanted):
        if crop in place_of:
            embeddings[row] = file.embeddings[place_of[crop]]
            is_known[row] = True
    return is_known
