"""One cell of a small-image table and one seed: a recipe and a set become a result."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facever import build
from facever.config.small_images import SmallImageCell
from facever.config.tables import folder_name
from facever.errors import DivergedError, FileError
from facever.files import whole_file
from facever.hardware import pick_device, precision_name, uses_bf16
from facever.heads import JointHead
from facever.progress import progress_bar
from facever.small_images.batches import (
    Preparation,
    PreparedImages,
    SmallImageBatches,
    prepare_images,
)
from facever.small_images.fit import fit_small_images
from facever.small_images.measure import (
    class_vectors,
    embed_images,
    error_rates,
    mean_confidence,
    predict_logits,
    target_angles,
)
from facever.small_images.networks import SMALL_IMAGE_NETWORKS
from facever.small_images.runs import CellRun
from facever.small_images.sets import SmallImageSet, read_small_images
from facever.stages.tables.running import (
    RESULT_FILE,
    CellTrainer,
    read_json_file,
    write_json,
)
from facever.tables.class_angles import class_angles
from facever.training.checkpoint import (
    CHECKPOINT_FILE,
    TrainingState,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from facever.training.freed_memory import keep_freed_memory
from facever.training.log_lines import LogLine

CURVE_FILE = "curve.jsonl"
FEATURES_FILE = "features.npz"

_NUM_ANGLES = 200
"""Training images of class 0 whose angle is watched, as angular-loss.md does."""

_KEPT_PER_CLASS = 20
"""Test features kept of each class, where there are more than two dimensions."""


@dataclass
class SmallImageTrainer(CellTrainer[SmallImageCell, CellRun]):
    """Trains the cells of a table of small images.

    Attributes:
        out: The folder of the table, with that of the cell a cell starts from.
        data: The files of the sets, or a folder of each set's name.
        say: Gets a line for a person about each set.
        hold_out: How many of the last training images to judge on, in the place of the
            test set; None judges on the test set.
        is_checked: Whether files must have the published MD5 sums.
        device: Name of the device, see ``pick_device``.
        compiled: Whether torch.compile joins network and head; see ``train_cell``.
    """

    out: Path
    data: Path
    say: Callable[[str], None]
    hold_out: int | None = None
    is_checked: bool = True
    device: str = "auto"
    compiled: bool = False
    _sets: dict[str, SmallImageSet] = field(default_factory=dict)

    def check(self, cell: SmallImageCell) -> None:
        """Refuse names that do not exist, and bf16 where there are no units for it."""
        build.check_names(cell.network, cell.heads, SMALL_IMAGE_NETWORKS)
        uses_bf16(cell.precision, str(pick_device(self.device)))

    def fingerprint(self, cell: SmallImageCell, seed: int) -> str:
        """A hash of the cell, the set and the seed."""
        return _fingerprint(cell, self._images(cell), seed)

    def read(self, content: dict[str, Any]) -> CellRun:
        """The fields of a ``CellRun``."""
        return CellRun(**content)

    def train(self, name: str, cell: SmallImageCell, seed: int, out: Path) -> CellRun:
        """Train a cell, from the network of another where the recipe says so."""
        start = None
        if cell.start is not None:
            start = self.out / folder_name(cell.start) / f"seed{seed}" / CHECKPOINT_FILE
            if not (start.parent / RESULT_FILE).exists():
                raise DivergedError(
                    f"{cell.start!r}, from whose network it starts, came to no end"
                )
        return train_cell(
            cell,
            self._images(cell),
            seed,
            out,
            title=f"{name}, seed {seed}",
            start=start,
            device=self.device,
            compiled=self.compiled,
        )

    def _images(self, cell: SmallImageCell) -> SmallImageSet:
        name = cell.data.set
        if name not in self._sets:
            inside = self.data / name
            folder = inside if inside.is_dir() else self.data
            found = read_small_images(name, folder, verify=self.is_checked)
            note = "the published files" if found.verified else "MD5 sums not compared"
            if self.hold_out is not None:
                found = found.held_out(self.hold_out)
                note = f"{note}; the test set is left alone"
            self._sets[name] = found
            self.say(
                f"{name}: {len(found.train):,} + {len(found.test):,} images, {note}"
            )
        return self._sets[name]


def train_cell(
    cell: SmallImageCell,
    images: SmallImageSet,
    seed: int,
    out: Path,
    *,
    title: str,
    start: Path | None = None,
    device: str = "auto",
    compiled: bool = False,
) -> CellRun:
    """Train a cell with a seed and measure its last step, or go on where it stopped.

    The folder gets ``result.json``, ``curve.jsonl`` (a line an epoch), the last
    checkpoint and ``features.npz`` for the figures. Only the last step counts; what
    the curve shows on the way decides nothing.

    Args:
        cell: The cell's config.
        images: The set that the config names.
        seed: Seed of weights, order and augmentation.
        out: The folder of this run.
        title: Title of the progress bar.
        start: Checkpoint of the cell whose network this one starts from.
        device: Name of the device, see ``pick_device``.
        compiled: Whether torch.compile joins network and head; see
            ``fit_small_images``.

    Returns:
        The numbers of the last step, as ``result.json`` holds them.

    Raises:
        FileError: If the folder holds a run of another recipe or another set.
        DivergedError: If the loss becomes NaN or infinite.
    """
    fingerprint = _fingerprint(cell, images, seed)
    done = _read_result(out / RESULT_FILE, fingerprint)
    if done is not None:
        return done
    run = _prepare_run(cell, images, seed, pick_device(device))
    bf16 = uses_bf16(cell.precision, str(run.train.images.device))
    precision = precision_name(bf16)
    title = f"{title}, {precision}"
    state, checkpoint = run.state, out / CHECKPOINT_FILE
    if checkpoint.exists():
        load_checkpoint(checkpoint, state, fingerprint)
    elif start is not None:
        state.network.load_state_dict(read_checkpoint(start)["network"])
    out.mkdir(parents=True, exist_ok=True)
    curve = _Curve(out / CURVE_FILE, state.step)

    def measure(line: LogLine) -> None:
        curve.add({**line, "precision": precision, **_watch(run)})
        save_checkpoint(checkpoint, state, fingerprint)

    schedule = build.make_schedule(cell)
    every = cell.measure_every or run.batches.sampler.batches_an_epoch
    first, began = state.step, time.perf_counter()
    with progress_bar(title, schedule.steps, "steps", first) as advance:
        fit_small_images(
            state,
            run.batches,
            schedule,
            every=every,
            measure=measure,
            bf16=bf16,
            is_compiled=compiled,
            advance=advance,
        )
    result = CellRun(
        seed=seed,
        **_judge(run, out),
        steps=state.step,
        steps_of_this_run=state.step - first,
        seconds_of_this_run=round(time.perf_counter() - began, 1),
        num_weights=sum(each.numel() for each in state.network.parameters()),
        verified=images.verified,
        device=str(run.train.images.device),
        recipe=cell.model_dump(mode="json", exclude={"sweep"}),
        fingerprint=fingerprint,
        curve=curve.lines,
        precision=curve.precision,
    )
    write_json(out / RESULT_FILE, result.to_dict())
    return result


@dataclass
class _Run:
    state: TrainingState
    head: JointHead
    batches: SmallImageBatches
    train: PreparedImages
    test: PreparedImages
    watched: torch.Tensor


def _prepare_run(
    cell: SmallImageCell, images: SmallImageSet, seed: int, device: torch.device
) -> _Run:
    if device.type == "cpu":
        keep_freed_memory()
    preparation = Preparation(cell.data.preparation, images.train.images)
    train, test = (
        prepare_images(part, preparation, device)
        for part in (images.train, images.test)
    )
    torch.manual_seed(seed)
    network = build.make_small_image_network(cell.network)
    network.to(device).to(memory_format=torch.channels_last)
    head = build.make_head(
        cell.heads, network.embedding_size, images.num_classes, seed=seed
    )
    head.to(device)
    state = TrainingState(network, head, build.make_optimiser(cell, network, head))
    batches = SmallImageBatches(
        train,
        batch_size=cell.batch_size,
        seed=seed,
        mirror=cell.data.mirror,
        crop_padding=cell.data.crop_padding,
    )
    zeros = np.flatnonzero(images.train.labels == 0)
    picked = np.random.default_rng(seed).permutation(zeros)[:_NUM_ANGLES]
    watched = torch.from_numpy(picked).to(device)
    return _Run(state, head, batches, train, test, watched)


def _watch(run: _Run) -> dict[str, Any]:
    """Error, confidence and WCIntra of the test images, and angles of class 0."""
    network, vectors = run.state.network, class_vectors(run.head)
    test, labels = embed_images(network, run.test.images), run.test.labels
    logits = predict_logits(run.head, test)
    features = embed_images(network, run.train.images[run.watched])
    angles = target_angles(features, vectors[0])
    found = class_angles(*(each.cpu().numpy() for each in (test, labels, vectors)))
    return {
        "test_error": error_rates(logits, labels).top1,
        "confidence": mean_confidence(logits, labels),
        "wc_intra": found.wc_intra,
        "angles": [round(angle, 4) for angle in angles.tolist()],
    }


def _judge(run: _Run, out: Path) -> dict[str, float]:
    """The numbers of the last step, and the features for the figures."""
    network = run.state.network
    train = embed_images(network, run.train.images)
    test = embed_images(network, run.test.images)
    rates = error_rates(predict_logits(run.head, test), run.test.labels)
    on_train = error_rates(predict_logits(run.head, train), run.train.labels)
    vectors = class_vectors(run.head)
    angles = class_angles(
        train.cpu().numpy(), run.train.labels.cpu().numpy(), vectors.cpu().numpy()
    )
    _save_features(run, train, test, out / FEATURES_FILE)
    return {
        "error": rates.top1,
        "top5_error": rates.top5,
        "train_error": on_train.top1,
        "w_inter": angles.w_inter,
        "c_inter": angles.c_inter,
        "wc_intra": angles.wc_intra,
    }


def _save_features(
    run: _Run, train: torch.Tensor, test: torch.Tensor, path: Path
) -> None:
    content = {"vectors": class_vectors(run.head)}
    points = run.head.class_points()
    if points is not None:
        content["points"] = points
    if test.shape[1] == 2:
        content |= {"train": train, "train_labels": run.train.labels}
        content |= {"test": test, "test_labels": run.test.labels}
    else:
        labels = run.test.labels
        rows = torch.cat(
            [
                (labels == label).nonzero()[:_KEPT_PER_CLASS, 0]
                for label in range(len(content["vectors"]))
            ]
        )
        content |= {"test": test[rows], "test_labels": labels[rows]}
    arrays: dict[str, Any] = {
        name: each.cpu().numpy() for name, each in content.items()
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


class _Curve:
    """The lines of a run; those behind the last checkpoint are measured again."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if step and path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        self.lines = [line for line in lines if line["step"] <= step]

    @property
    def precision(self) -> str:
        """The numbers of all lines; those that do not say were of fp32."""
        return ", ".join(
            dict.fromkeys(line.get("precision", "fp32") for line in self.lines)
        )

    def add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with whole_file(self._path) as temporary:
            text = "".join(json.dumps(line) + "\n" for line in self.lines)
            temporary.write_text(text, encoding="utf-8")


def _read_result(path: Path, fingerprint: str) -> CellRun | None:
    content = read_json_file(path)
    if content is None:
        return None
    result = CellRun(**content)
    if result.fingerprint != fingerprint:
        raise FileError(
            f"{path} was made with another recipe or another set; name another --out, "
            "or delete that folder to start over"
        )
    return result


def _fingerprint(cell: SmallImageCell, images: SmallImageSet, seed: int) -> str:
    """A hash of everything that must be the same for a run to go on."""
    options = cell.model_dump(mode="json", exclude={"printed", "sweep"})
    if cell.precision == "auto":  # The machine decides; earlier runs do not name it.
        del options["precision"]
    content = [options, images.fingerprint, seed]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
