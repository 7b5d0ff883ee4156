"""``facever model threshold``: a threshold for a false accept rate, into the file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facever.choices import Precision
from facever.data.store.crop_store import CropStore
from facever.errors import ParameterError
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model, write_header
from facever.progress import progress_bar
from facever.results import Result, plain
from facever.verification.model_threshold import (
    ModelThreshold,
    check_impostor_pairs,
    choose_model_threshold,
)


@dataclass(frozen=True)
class ModelThresholdReport(Result):
    """The threshold that a model file was given.

    Attributes:
        model: The model file.
        found: The threshold, and what it does to the pairs that it was chosen on.
    """

    model: Path
    found: ModelThreshold

    def lines(self) -> list[str]:
        """One line with the threshold, and what it accepts."""
        found = self.found
        return [
            f"{self.model}: same person above cosine {found.threshold:.4f}, for FAR "
            f"{found.target_far:g}, which accepts {found.tar:.2%} of "
            f"{found.num_genuine:,} genuine pairs ({found.num_impostor:,} impostor "
            f"pairs, AUC {found.auc:.4f})"
        ]

    def to_dict(self) -> dict[str, Any]:
        """The model file and the threshold's fields."""
        return {"model": str(self.model), **plain(self.found)}


def set_model_threshold(
    model: str | Path,
    crops: str | Path,
    *,
    far: float = 1e-3,
    device: str = "auto",
    precision: Precision = "auto",
) -> ModelThresholdReport:
    """Choose the threshold of a model file on crops of held-out people; write it there.

    The people must be others than those that the model was trained on, and than those
    that it is going to be judged on. All pairs of their crops are compared. The
    weights, and so the embeddings and galleries made with them, stay as they are.

    Args:
        model: Model file; replaced as a whole, with another threshold.
        crops: Crop store of the held-out people.
        far: False accept rate to allow, in (0, 1).
        device: Where the network runs: ``auto``, ``cpu``, ``cuda``...
        precision: The numbers it computes with: ``auto``, ``bf16`` or ``fp32``.

    Returns:
        The threshold and what it accepts.

    Raises:
        ParameterError: If ``far`` is outside (0, 1).
        DataError: If the crops have too few impostor pairs for the rate; that is known
            before a crop is embedded.
        FaceverError: If the model or the crops cannot be used.
    """
    model, crops = Path(model), Path(crops)
    if not 0 < far < 1:
        raise ParameterError(f"far must be in (0, 1), got {far}")
    loaded = load_model(model)
    store = CropStore.open(crops)
    check_impostor_pairs(store.labels, far)
    crops_of_people = store.crops_for(loaded.template)
    embedder = Embedder(loaded, device, precision)
    with progress_bar("embed", len(store), "crops") as advance:
        embeddings = embedder.embed_crops(crops_of_people, advance=advance)
    with progress_bar("compare", len(store), "crops") as advance:
        found = choose_model_threshold(embeddings, store.labels, far, advance)
    header = replace(loaded.header, threshold=found.threshold, threshold_far=far)
    write_header(model, header)
    return ModelThresholdReport(model, found)
