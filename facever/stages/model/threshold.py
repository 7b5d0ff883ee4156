"""``facever model threshold``: a threshold for a false accept rate, into the file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facever.choices import Backend, Precision
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ModelFileError, ParameterError
from facever.files import check_file_place
from facever.inference.embedder import Embedder
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model, write_header
from facever.inference.ready import READY
from facever.progress import progress_bar
from facever.results import Result, plain
from facever.verification.model_threshold import (
    ModelThreshold,
    check_impostor_pairs,
    choose_model_threshold,
)


@dataclass(frozen=True)
class ModelThresholdReport(Result):
    """The thresholds that a model file was given.

    Attributes:
        model: The model file.
        found: The threshold in use, and what it does to the pairs that it was chosen
            on.
        others: Those for other rates, which the file knows, too.
    """

    model: Path
    found: ModelThreshold
    others: tuple[ModelThreshold, ...]

    def lines(self) -> list[str]:
        """A line for each threshold, with what it accepts."""
        found = self.found
        return [
            f"{self.model}: same person above cosine {found.threshold:.4f}, for FAR "
            f"{found.target_far:g}, which accepts {found.tar:.2%} of "
            f"{found.num_genuine:,} genuine pairs ({found.num_impostor:,} impostor "
            f"pairs, AUC {found.auc:.4f})",
            *(
                f"  above {other.threshold:.4f} for FAR {other.target_far:g}, which "
                f"accepts {other.tar:.2%}"
                for other in self.others
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The model file, the fields of the threshold in use, and the others."""
        return {
            "model": str(self.model),
            **plain(self.found),
            "others": plain(self.others),
        }


def set_model_threshold(
    model: str | Path,
    crops: str | Path,
    *,
    far: float | Sequence[float] = 1e-3,
    device: str = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
) -> ModelThresholdReport:
    """Choose the threshold of a model file on crops of held-out people; write it there.

    The people must be others than those that the model was trained on, and than those
    that it is going to be judged on. All pairs of their crops are compared. The
    weights, and so the embeddings and galleries made with them, stay as they are.

    Args:
        model: Model file; replaced as a whole, with another threshold.
        crops: Crop store of the held-out people.
        far: False accept rate to allow, in (0, 1); of several the first is the one in
            use, and the file knows the threshold of each.
        device: Where the network runs: ``auto``, ``cpu``, ``cuda``...
        precision: The numbers it computes with: ``auto``, ``bf16`` or ``fp32``.
        backend: What computes the network; see ``Embedder``.

    Returns:
        The thresholds and what they accept.

    Raises:
        ParameterError: If ``far`` is outside (0, 1).
        DataError: If the crops have too few impostor pairs for the rate; that is known
            before a crop is embedded.
        FaceverError: If the model or the crops cannot be used.
    """
    model, crops = Path(model), Path(crops)
    fars = [far] if isinstance(far, float) else list(far)
    for each in fars:
        if not 0 < each < 1:
            raise ParameterError(f"far must be in (0, 1), got {each}")
    if str(model) in READY and not model.is_file():
        raise ModelFileError(
            f"{model} is a ready model, whose file is not ours to change: write one of "
            f"your own with facever model get {model} {model}.onnx, and name that"
        )
    loaded = load_model(model)
    check_file_place(model)
    store = CropStore.open(crops)
    check_impostor_pairs(store.labels, min(fars))
    crops_of_people = store.crops_for(loaded.template)
    embedder = Embedder(loaded, device, precision, backend=backend)
    with progress_bar("embed", len(store), "crops") as advance:
        embeddings = embedder.embed_crops(crops_of_people, advance=advance)
    with progress_bar("compare", len(fars) * len(store), "crops") as advance:
        found, *others = (
            choose_model_threshold(embeddings, store.labels, each, advance)
            for each in fars
        )
    notes = [chosen.note for chosen in (found, *others) if chosen.note]
    if notes:
        raise DataError(f"{notes[0]}; {model} stays as it is")
    write_header(model, _with_thresholds(loaded.header, [found, *others]))
    return ModelThresholdReport(model, found, tuple(others))


def _with_thresholds(
    header: ModelHeader, found: Sequence[ModelThreshold]
) -> ModelHeader:
    known = [
        (each.target_far, each.threshold)
        for each in found
        if each.threshold is not None
    ]
    [(far, threshold), *_] = known
    return replace(
        header, threshold=threshold, threshold_far=far, thresholds=sorted(known)
    )
