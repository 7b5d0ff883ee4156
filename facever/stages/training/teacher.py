"""A run's teacher: its embeddings of the training crops, made once and kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from facever.config.training import TrainConfig
from facever.data.store.crop_store import CropStore
from facever.errors import ConfigError, FaceverError
from facever.files import check_file_place
from facever.heads import HEADS
from facever.inference.embedder import Embedder
from facever.inference.kept_embeddings import embed_store
from facever.inference.model_file import load_model
from facever.inference.vectors import unit_vectors
from facever.progress import ignore_progress, progress_bar
from facever.training.distributed import Processes


@dataclass(frozen=True)
class Teacher:
    """What a run learns from, beside its crops.

    Attributes:
        embeddings: The teacher's embedding of each crop of the store, at unit length,
            merged over both views as the teacher's model file says.
        fingerprint: The fingerprint of the teacher's model file.
        origin: What the teacher is and what it was trained on, for people to read.
    """

    embeddings: Float32[np.ndarray, "crops dim"]
    fingerprint: str
    origin: str


def read_teacher(
    config: TrainConfig, store: CropStore, processes: Processes
) -> Teacher | None:
    """The teacher of a run; its embeddings are made where they are not there yet.

    They lie beside the store, in a file that is named after the store and the teacher,
    so that every run of both finds them; a crop that has changed is embedded anew.

    Args:
        config: The run's config.
        store: The run's crops.
        processes: The processes of the job; the first of them embeds.

    Raises:
        ConfigError: If there is a teacher and no head that learns from it.
        FaceverError: If the teacher cannot be loaded or started, takes crops that the
            store does not have, gives an embedding that is zero or not finite, or the
            file cannot be written.
    """
    if config.teacher is None:
        return None
    if not any(head.name in _taught_heads() for head in config.heads):
        raise ConfigError(
            f"teacher={config.teacher} teaches nothing: no head learns from it; add "
            f"the head {' or '.join(_taught_heads())}, or leave teacher out"
        )
    try:
        embedder = Embedder(load_model(config.teacher), config.device)
        store.crops_for(embedder.template)
    except FaceverError as error:
        raise type(error)(f"teacher: {error}") from None
    path = embeddings_path(config.data.crops, embedder.model_fingerprint)
    if processes.is_first:
        check_file_place(path)
        with progress_bar("embed by the teacher", len(store), "crops") as advance:
            embed_store(embedder, store, path, advance)
    processes.any(False)  # The others wait until the file is there.
    embeddings = embed_store(embedder, store, path, ignore_progress)
    header = embedder.header
    return Teacher(
        unit_vectors(embeddings, store.sources),
        embedder.model_fingerprint,
        f"{config.teacher} ({header.network}, trained on {header.training_data}, "
        f"licence: {header.licence})",
    )


def embeddings_path(crops: Path, fingerprint: str) -> Path:
    """Where a teacher's embeddings of a crop store are kept: beside its folder."""
    folder = crops.resolve()
    return folder.with_name(f"{folder.name}-teacher-{fingerprint[:12]}.npz")


def _taught_heads() -> list[str]:
    return [name for name, kind in HEADS.items() if kind.has_teacher]
