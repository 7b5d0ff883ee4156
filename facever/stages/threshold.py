"""``facever calibrate``: a threshold for a false accept rate, into the model file."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from facever.choices import Precision
from facever.data.store.crop_store import CropStore
from facever.errors import ParameterError
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model, save_model
from facever.progress import progress_bar
from facever.verification.model_threshold import (
    Calibration,
    calibrate,
    check_impostor_pairs,
)


def calibrate_model(
    model: Path,
    crops: Path,
    far: float,
    *,
    device: str = "auto",
    precision: Precision = "auto",
) -> Calibration:
    """Choose the threshold of a model file on a calibration set, and write it there.

    The set's people must be others than those that the model was trained on, and than
    those that it is going to be judged on. All pairs of its crops are compared. The
    weights, and so the embeddings and galleries made with them, stay as they are.

    Args:
        model: Model file; replaced as a whole, with another threshold.
        crops: Crop store of the calibration set.
        far: The false accept rate to allow, in (0, 1).
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``, ``bf16`` or ``fp32``.

    Returns:
        The threshold and what it accepts.

    Raises:
        ParameterError: If ``far`` is outside (0, 1).
        DataError: If the crops have too few impostor pairs for the rate; it is known
            before a crop is embedded.
        FaceverError: If the model or the crops cannot be used.
    """
    if not 0 < far < 1:
        raise ParameterError(f"far must be in (0, 1), got {far}")
    loaded = load_model(model)
    store = CropStore.open(crops)
    check_impostor_pairs(store.labels, far)
    embedder = Embedder(loaded, device, precision)
    with progress_bar("embed", len(store), "crops") as advance:
        embeddings = embedder.embed_crops(store.crops, advance=advance)
    with progress_bar("compare", len(store), "crops") as advance:
        found = calibrate(embeddings, store.labels, far, advance)
    header = replace(loaded.header, threshold=found.threshold, threshold_far=far)
    mean = loaded.preprocessing.mean
    image = mean.cpu() if header.mean == "image" and isinstance(mean, Tensor) else None
    save_model(model, load_model(model).network, header, image)
    print(
        f"{model}: same person above cosine {found.threshold:.4f}, for FAR {far:g}, "
        f"which accepts {found.tar:.2%} of {found.num_genuine:,} genuine pairs "
        f"({found.num_impostor:,} impostor pairs, AUC {found.auc:.4f})"
    )
    return found
