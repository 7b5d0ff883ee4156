"""One cell of a table on faces and one seed: a training becomes a result."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from facever import build
from facever.config.faces import FaceCell
from facever.config.training import TrainConfig
from facever.data.store.crop_store import CropStore
from facever.errors import ConfigError, FileError
from facever.hardware import pick_device, uses_bf16
from facever.inference.embedder import Embedder
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.results import Result
from facever.stages.evaluation.features import embed_rows
from facever.stages.face_tables.judging import PairTest, judge_pairs
from facever.stages.tables.running import (
    RESULT_FILE,
    CellTrainer,
    read_json_file,
    write_json,
)
from facever.stages.training.run_folder import (
    LOG_FILE,
    MODEL_FILE,
    check_same_run,
    precisions_of_starts,
    run_fingerprint,
)
from facever.stages.training.setup import THRESHOLD_FAR, split_crops
from facever.stages.training.train import train
from facever.tables.class_angles import class_angles
from facever.tables.rows import Measure
from facever.training.checkpoint import CHECKPOINT_FILE, read_checkpoint
from facever.verification.model_threshold import choose_model_threshold
from facever.verification.pca import default_num_components

ANGLE_CLASSES = 200
"""Training classes whose angles are measured, the first ones."""

_PERCENT = 100.0
MEASURES = (
    Measure("lfw", "LFW %", 2, _PERCENT, is_compared=True),
    Measure("lfw_euclidean", "LFW %, Euclidean", 2, _PERCENT),
    Measure("lfw_no_pca", "LFW %, no PCA", 2, _PERCENT),
    Measure("ytf", "YTF %", 2, _PERCENT, is_compared=True),
    Measure("ytf_euclidean", "YTF %, Euclidean", 2, _PERCENT),
    Measure("ytf_no_pca", "YTF %, no PCA", 2, _PERCENT),
    Measure("held_out_auc", "held out, AUC %", 2, _PERCENT),
    Measure("held_out_tar", "held out, TAR % at FAR 0.001", 2, _PERCENT),
    Measure("w_inter", "WInter", 3),
    Measure("c_inter", "CInter", 3),
    Measure("wc_intra", "WCIntra", 3),
)
"""What the table shows of a run; the first of a kind is the paper's way to compare."""


@dataclass(frozen=True)
class FaceRun(Result):
    """What one run of a cell came to, as its ``result.json`` holds it.

    Attributes:
        seed: The seed.
        held_out_auc: AUC over all pairs of the held-out people's crops, of the training
            crops' own source; None where nobody is held out.
        held_out_tar: Share of their genuine pairs that is accepted at a false accept
            rate of 0.001; None with too few pairs.
        w_inter: Mean angle between the class vectors of the first 200 training classes,
            in radians; None where no head has class vectors.
        c_inter: Mean angle between their feature centers, in radians.
        wc_intra: Mean angle between class vector and feature center, in radians.
        steps: Number of steps.
        last_log_line: The last line of the training's log.
        pca_components: Number of dimensions that the PCA keeps.
        recipe: The training's config.
        fingerprint: Hash of everything that decides the training.
        precision: The numbers that the network was trained with: bf16, fp32, or one
            after the other, with a comma between; empty where an earlier run does not
            say.
        judged: What each test consisted of, by the name of the test: the hash of its
            pairs and crops, and the recipe's ``pca_components``.
        lfw: Accuracy on LFW by cosine after the PCA, as the IE paper compares, a share;
            this and what follows is None where no call has judged it so.
        lfw_euclidean: The accuracy by Euclidean distance after the PCA.
        lfw_no_pca: The accuracy by cosine without a PCA.
        lfw_auc: The area under the ROC curve by cosine after the PCA.
        lfw_missing_pairs: Number of pairs of which a photo is missing.
        ytf: Accuracy on YouTube Faces, as ``lfw``; a video is the mean of its frames.
        ytf_euclidean: The accuracy by Euclidean distance after the PCA.
        ytf_no_pca: The accuracy by cosine without a PCA.
        ytf_auc: The area under the ROC curve by cosine after the PCA.
        ytf_missing_pairs: Number of pairs of which a video is missing.
    """

    seed: int
    held_out_auc: float | None
    held_out_tar: float | None
    w_inter: float | None
    c_inter: float | None
    wc_intra: float | None
    steps: int
    last_log_line: dict[str, Any]
    pca_components: int
    recipe: dict[str, Any]
    fingerprint: str
    precision: str = ""
    judged: dict[str, list[str | int | None]] = field(default_factory=dict)
    lfw: float | None = None
    lfw_euclidean: float | None = None
    lfw_no_pca: float | None = None
    lfw_auc: float | None = None
    lfw_missing_pairs: int | None = None
    ytf: float | None = None
    ytf_euclidean: float | None = None
    ytf_no_pca: float | None = None
    ytf_auc: float | None = None
    ytf_missing_pairs: int | None = None

    def lines(self) -> list[str]:
        """The seed and the accuracies, or what held-out people say."""
        known = (
            ("LFW", self.lfw),
            ("YTF", self.ytf),
            ("held out, AUC", self.held_out_auc),
        )
        found = [f"{what} {100 * n:.2f} %" for what, n in known if n is not None]
        return [f"seed {self.seed}: {', '.join(found) or 'judged on nobody'}"]


@dataclass
class FaceTrainer(CellTrainer[FaceCell, FaceRun]):
    """Trains the cells of a table on faces, and judges them.

    Attributes:
        tests: What the last step is judged on; with none held-out people alone.
        pca_components: Number of dimensions that the PCA keeps; None keeps half.
    """

    tests: tuple[PairTest, ...]
    pca_components: int | None = None
    _stores: dict[Path, CropStore] = field(default_factory=dict)
    _teachers: dict[str, LoadedModel] = field(default_factory=dict)

    def check(self, cell: FaceCell) -> None:
        """Refuse names that do not exist, and bf16 where there are no units for it."""
        build.check_names(cell.network, cell.heads)
        uses_bf16(cell.precision, str(pick_device(cell.device)))

    def fingerprint(self, cell: FaceCell, seed: int) -> str:
        """A hash of the training and of its crops."""
        config = cell.training(seed, Path())
        teacher = self._teacher(config)
        taught_by = None if teacher is None else teacher.fingerprint
        content = run_fingerprint(config, self._store(config), taught_by)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def read(self, content: dict[str, Any]) -> FaceRun:
        """The run that a file holds, without what was judged in another way.

        The numbers of a test that this call leaves out stay as they are.
        """
        judged = {
            name: found
            for name, found in content["judged"].items()
            if found == self._judging.get(name, [found[0], self.pca_components])
        }
        outdated = tuple(f"{name}_" for name in content["judged"].keys() - judged)
        kept = {
            name: value
            for name, value in content.items()
            if not f"{name}_".startswith(outdated)
        }
        return FaceRun(**kept | {"judged": judged})

    @property
    def _judging(self) -> dict[str, list[str | int | None]]:
        return {
            test.name: [test.fingerprint, self.pca_components] for test in self.tests
        }

    def train(self, name: str, cell: FaceCell, seed: int, out: Path) -> FaceRun:
        """Train and judge; what is trained is judged by the tests that are missing."""
        fingerprint = self.fingerprint(cell, seed)
        content = read_json_file(out / RESULT_FILE)
        config = cell.training(seed, out)
        is_trained = content is not None and content["fingerprint"] == fingerprint
        if content is not None and is_trained:
            run = self.read(content)
        else:
            run = self._train(config, fingerprint, out)
        missing = [test for test in self.tests if test.name not in run.judged]
        if missing:
            run = self._judge(run, missing, config, out)
        if missing or not is_trained:
            write_json(out / RESULT_FILE, run.to_dict())
        return run

    def _train(self, config: TrainConfig, fingerprint: str, out: Path) -> FaceRun:
        try:
            check_same_run(config)
        except ConfigError as error:  # No matter of a value, which would be a row.
            raise FileError(str(error)) from None
        trained = train(config)
        model = load_model(trained.model)
        return FaceRun(
            seed=config.seed,
            **self._measure(config, model, out),
            steps=trained.steps,
            last_log_line=_last_line(out / LOG_FILE),
            pca_components=self._num_components(model),
            recipe=config.model_dump(mode="json"),
            fingerprint=fingerprint,
            precision=", ".join(precisions_of_starts(out)),
        )

    def _judge(
        self, run: FaceRun, tests: Sequence[PairTest], config: TrainConfig, out: Path
    ) -> FaceRun:
        path = out / MODEL_FILE
        pca = self._num_components(load_model(path))
        numbers: dict[str, Any] = {}
        for test in tests:
            features = test.embed(path, out, config.device, config.precision)
            numbers |= judge_pairs(test, features, pca)
        judged = run.judged | {test.name: self._judging[test.name] for test in tests}
        return replace(run, pca_components=pca, judged=judged, **numbers)

    def _num_components(self, model: LoadedModel) -> int:
        return self.pca_components or default_num_components(model.feature_size)

    def _teacher(self, config: TrainConfig) -> LoadedModel | None:
        if config.teacher is None:
            return None
        if config.teacher not in self._teachers:
            self._teachers[config.teacher] = load_model(config.teacher)
        return self._teachers[config.teacher]

    def _store(self, config: TrainConfig) -> CropStore:
        crops = config.data.crops
        if crops not in self._stores:
            self._stores[crops] = CropStore.open(crops)
        return self._stores[crops]

    def _measure(
        self, config: TrainConfig, model: LoadedModel, out: Path
    ) -> dict[str, Any]:
        """What held-out people say, and the angles of classes."""
        store = self._store(config)
        split = split_crops(config, store)
        auc = tar = None
        if len(split.held_out):
            embedder = Embedder(model, config.device, config.precision)
            embeddings = embed_rows(embedder, store, split.held_out.tolist())
            labels = store.labels[split.held_out]
            strangers = choose_model_threshold(embeddings, labels, THRESHOLD_FAR)
            auc, tar = strangers.auc, strangers.tar
        teacher = self._teacher(config)
        head = build.make_head(
            config.heads,
            model.header.embedding_size,
            split.num_classes,
            teacher_size=None if teacher is None else teacher.feature_size,
        )
        head.load_state_dict(read_checkpoint(out / CHECKPOINT_FILE)["head"])
        vectors = head.class_vectors()
        angles: dict[str, float] = {}
        if vectors is not None:
            # The feature itself, without its mirror image's: what the head has seen.
            embedder = Embedder(
                model.with_mirror("none"), config.device, config.precision
            )
            picked = split.labels < ANGLE_CLASSES
            features = embed_rows(embedder, store, split.rows[picked].tolist())
            found = class_angles(features, split.labels[picked], vectors.numpy())
            angles = asdict(found)
        return {
            "held_out_auc": auc,
            "held_out_tar": tar,
            **{name: angles.get(name) for name in ("w_inter", "c_inter", "wc_intra")},
        }


def _last_line(log: Path) -> dict[str, Any]:
    """The last line of a training's log that is not a look at held-out people."""
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    [*_, last] = (line for line in lines if "loss" in line)
    found: dict[str, Any] = last
    return found
