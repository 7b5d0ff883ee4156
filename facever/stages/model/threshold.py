"""``facever model threshold``: a threshold for a false accept rate, into the file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from facever.choices import Backend, Precision
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ModelFileError, ParameterError
from facever.files import check_file_place
from facever.inference.embedder import Embedder
from facever.inference.header import MeasuredOn, ModelHeader
from facever.inference.model_file import load_model, write_header
from facever.inference.ready import READY
from facever.progress import progress_bar
from facever.results import Result, plain
from facever.verification.model_threshold import (
    ModelThreshold,
    check_impostor_pairs,
    check_threshold_pairs,
    choose_model_threshold,
)
from facever.verification.threshold_errors import describe_errors, threshold_errors


@dataclass(frozen=True)
class ModelThresholdReport(Result):
    """The thresholds that a model file was given.

    Attributes:
        model: The model file.
        found: The threshold in use, and what it does to the pairs that it was chosen
            on.
        others: Those for other rates, which the file knows, too.
        set_on: The people whom they were set on, and the errors of the first there.
        checked_on: The same of other people, where some were given.
    """

    model: Path
    found: ModelThreshold
    others: tuple[ModelThreshold, ...]
    set_on: MeasuredOn
    checked_on: MeasuredOn | None

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
            f"set on {self.set_on}",
            *([f"checked on {self.checked_on}"] if self.checked_on else ()),
            *([self._warning()] if self._warning() else ()),
        ]

    def _warning(self) -> str:
        """What the check says, where it contradicts the rate that was asked for."""
        checked, target = self.checked_on, self.found.target_far
        if checked is None or checked.fmr_low <= target:
            return ""
        return (
            f"the rate that was asked for, {target:.3%}, does not hold for the people "
            "whom it was checked on: set the threshold on photos like theirs"
        )

    def to_dict(self) -> dict[str, Any]:
        """The model file, the fields of the threshold in use, and the others."""
        return {
            "model": str(self.model),
            **plain(self.found),
            "others": plain(self.others),
            "set_on": plain(self.set_on),
            "checked_on": plain(self.checked_on),
        }


def set_model_threshold(
    model: str | Path,
    crops: str | Path,
    *,
    check: str | Path | None = None,
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
        check: Crop store of yet others, on whom the threshold is checked.
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
    with _of_store(store):
        check_impostor_pairs(store.labels, min(fars))
    other = None if check is None else CropStore.open(check)
    if other is not None:
        with _of_store(other):
            check_threshold_pairs(other.labels)
        _check_other_people(store, other)
        other.crops_for(loaded.template)
    store.crops_for(loaded.template)
    embedder = Embedder(loaded, device, precision, backend=backend)
    embeddings = _embed(embedder, store)
    with progress_bar("compare", len(fars) * len(store), "crops") as advance:
        found, *others = (
            choose_model_threshold(embeddings, store.labels, each, advance)
            for each in fars
        )
    notes = [chosen.note for chosen in (found, *others) if chosen.note]
    if notes:
        raise DataError(f"{notes[0]}; {model} stays as it is")
    assert found.threshold is not None
    set_on = _measure(embeddings, store, found.threshold)
    checked_on = None
    if other is not None:
        checked_on = _measure(_embed(embedder, other), other, found.threshold)
    header = replace(
        _with_thresholds(loaded.header, [found, *others]),
        threshold_set_on=set_on,
        threshold_checked_on=checked_on,
    )
    write_header(model, header)
    return ModelThresholdReport(model, found, tuple(others), set_on, checked_on)


@contextmanager
def _of_store(store: CropStore) -> Iterator[None]:
    """Name the store in what is wrong with its people."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{store.folder}: {error}") from None


def _check_other_people(store: CropStore, other: CropStore) -> None:
    """Refuse a check on people whom the threshold is set on."""
    shared = sorted({*store.identities} & {*other.identities})
    if shared:
        raise DataError(
            f"{len(shared)} people are in {store.folder} and in {other.folder}, such "
            f"as {shared[0]}: a check takes people who had no part in the threshold"
        )


def _embed(embedder: Embedder, store: CropStore) -> Float32[np.ndarray, "crops dim"]:
    with progress_bar("embed", len(store), "crops") as advance:
        return embedder.embed_crops(store.crops_for(embedder.template), advance=advance)


def _measure(
    embeddings: Float32[np.ndarray, "crops dim"], store: CropStore, threshold: float
) -> MeasuredOn:
    with progress_bar("count errors", len(store), "crops") as advance:
        errors = threshold_errors(embeddings, store.labels, threshold, advance)
    return describe_errors(errors, store.folder.resolve().name, store.fingerprint)


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
