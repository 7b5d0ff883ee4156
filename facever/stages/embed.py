"""``facever embed``: a model file and a crop store become embeddings."""

from dataclasses import dataclass
from pathlib import Path

from facever.choices import Backend, Mirror, Precision
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import FAILURES_FILE
from facever.errors import DataError, ParameterError
from facever.files import check_file_place, whole_file
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import EmbeddingsFile, write_embeddings
from facever.inference.model_file import load_model
from facever.inference.vectors import check_directions
from facever.progress import progress_bar
from facever.results import Result


@dataclass(frozen=True)
class EmbedSummary(Result):
    """What ``embed`` wrote.

    Attributes:
        out: The ``.npz`` file.
        num_embeddings: Number of embeddings, one for each crop of the store.
        embedding_size: Numbers in an embedding.
        model_fingerprint: The fingerprint of the model that made them.
        computed_by: Backend, numbers and device.
    """

    out: Path
    num_embeddings: int
    embedding_size: int
    model_fingerprint: str
    computed_by: str

    def lines(self) -> list[str]:
        """The file and what is in it."""
        return [
            f"{self.out}: {self.num_embeddings:,} embeddings of {self.embedding_size} "
            f"dimensions, computed by {self.computed_by}"
        ]


def embed(
    model: str | Path,
    crops: str | Path,
    out: str | Path,
    *,
    mirror: Mirror | None = None,
    batch_size: int = 64,
    precision: Precision = "auto",
    device: str = "auto",
    backend: Backend = "auto",
) -> EmbedSummary:
    """Embed every crop of a store.

    Writes an ``.npz`` with ``embeddings`` float32 ``[N, D]`` (not normalised), the
    crops' sources as ``images``, in the store's order, and ``model_fingerprint``.

    Args:
        model: The model file.
        crops: The crop store.
        out: The ``.npz`` to write.
        mirror: A rule in place of the model file's: ``sum``, ``concat`` or ``none``.
        batch_size: Number of crops at a time, at least 1; changes the speed alone.
        precision: ``auto``, ``bf16`` or ``fp32``.
        device: ``auto``, ``cpu``, ``cuda``...
        backend: What computes the network; see ``Embedder``.

    Raises:
        FaceverError: If the model, the crops or an option does not fit, or the
            embedding of a crop, which is named, is zero or not finite.
    """
    crops, out = Path(crops), Path(out)
    if out.suffix != ".npz":
        raise ParameterError(f"OUT must end in .npz, got {out}")
    if crops.is_file() and Path(model).is_dir():
        raise ParameterError(
            f"the model comes first and the crops second: facever embed {crops} "
            f"{model} {out}"
        )
    check_file_place(out)
    store = CropStore.open(crops)
    if not len(store):
        raise DataError(f"{crops} holds no crop; {crops / FAILURES_FILE} says why")
    embedder = Embedder(
        load_model(model).with_mirror(mirror), device, precision, backend=backend
    )
    fitting = store.crops_for(embedder.template)
    with whole_file(out) as temporary:
        with progress_bar("embed", len(store), "crops") as advance:
            embeddings = embedder.embed_crops(fitting, batch_size, advance)
        check_directions(embeddings, store.sources)
        content = EmbeddingsFile(
            embeddings, list(store.sources), embedder.model_fingerprint
        )
        write_embeddings(temporary, content)
    return EmbedSummary(
        out,
        len(store),
        embedder.embedding_size,
        embedder.model_fingerprint,
        str(embedder.started),
    )
