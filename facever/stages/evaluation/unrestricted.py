"""One fold of LFW's unrestricted setting: choose people, train, judge the fold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facever.config.training import TrainConfig, UnrestrictedConfig
from facever.data.batches.people_list import (
    TrainingPeople,
    read_people_list,
    write_people_list,
)
from facever.data.store.crop_store import CropStore, photo_of
from facever.errors import DataError
from facever.files import whole_file
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import (
    EmbeddingsFile,
    read_embeddings,
    write_embeddings,
)
from facever.inference.model_file import load_model
from facever.results import Result
from facever.stages.evaluation.features import Features, embed_rows
from facever.stages.evaluation.judging import EXACT
from facever.stages.training.setup import split_crops
from facever.stages.training.train import train
from facever.verification.evaluation import Evaluation
from facever.verification.protocols import (
    PairList,
    check_people_of_pairs,
    person_of,
    photo_key,
)
from facever.verification.unrestricted import (
    HELD_OUT_FOLD,
    TESTED_FOLD,
    check_no_leak,
    choose_people,
    with_held_out,
)

PEOPLE_FILE = "people.csv"
EMBEDDINGS_FILE = "embeddings.npz"
HELD_OUT_PAIRS = 2700
"""Pairs of one person, and of two, that choose a threshold: those of nine folds."""


@dataclass(frozen=True)
class UnrestrictedLfw:
    """LFW's unrestricted setting: what the trainings for all folds share.

    Attributes:
        config: Config of the trainings.
        store: Crops of all photos of LFW.
        folds: The people of each fold.
        pairs: LFW's pairs.
    """

    config: UnrestrictedConfig
    store: CropStore
    folds: Sequence[Mapping[str, int]]
    pairs: PairList

    def check(self) -> None:
        """Refuse files that do not belong together, with a DataError.

        A store may lack crops, but a photo without a crop must be in its ledger: a
        store of the pairs' photos alone would train on fewer photos unnoticed.
        """
        check_people_of_pairs(self.folds, self.pairs)
        photos = {photo_of(source) for source in self.store.sources}
        counted = Counter(
            person_of(source) for source in photos | {*self.store.failures}
        )
        for people in self.folds:
            for name, count in people.items():
                if counted[name] != count:
                    raise DataError(
                        f"{self.store.folder} must hold all photos of LFW: {name} has "
                        f"{count}, the store and its ledger {counted[name]}; align the "
                        "whole of LFW into a new folder"
                    )


@dataclass(frozen=True)
class FoldResult(Result):
    """A fold, judged by the network that was trained for it.

    Attributes:
        fold: The tested fold's number, from 0.
        evaluations: Evaluations of the pairs of ``with_held_out`` by the name of the
            comparison, the headline first.
        num_people: Number of people that the network was trained on.
        num_crops: Number of crops that it was trained on.
        num_held_out: Number of people who set the threshold.
        held_out_accuracy: Accuracy on the held-out people's pairs, without a PCA, at
            the threshold that was chosen on them, and so somewhat too high; what to
            choose a recipe by.
    """

    fold: int
    evaluations: dict[str, Evaluation]
    num_people: int
    num_crops: int
    num_held_out: int
    held_out_accuracy: float

    def threshold(self, name: str) -> float:
        """The tested fold's threshold under a comparison."""
        return float(self.evaluations[name].thresholds[TESTED_FOLD])

    def accuracy(self, name: str) -> float:
        """Accuracy on the tested fold, in [0, 1], under a comparison."""
        return float(self.evaluations[name].accuracies[TESTED_FOLD])

    def lines(self) -> list[str]:
        """The accuracies, in one line."""
        accuracies = ", ".join(
            f"{name} {100 * self.accuracy(name):.2f} %" for name in self.evaluations
        )
        return [
            f"fold {self.fold + 1}: {accuracies}; held out "
            f"{100 * self.held_out_accuracy:.2f} % (cosine)"
        ]

    def to_dict(self) -> dict[str, Any]:
        """The fields, with an accuracy and a threshold for each comparison."""
        return {
            "fold": self.fold + 1,
            "people": self.num_people,
            "crops": self.num_crops,
            "held_out_people": self.num_held_out,
            "held_out_accuracy": self.held_out_accuracy,
            "evaluations": {
                name: {
                    "threshold": self.threshold(name),
                    "accuracy": self.accuracy(name),
                }
                for name in self.evaluations
            },
        }


def run_fold(protocol: UnrestrictedLfw, fold: int) -> FoldResult:
    """Train for one fold and judge it, or go on where an earlier run stopped.

    The fold's folder below ``config.train.out`` gets ``people.csv``, what ``train``
    writes, and ``embeddings.npz`` of the photos that are tested or held out.

    Args:
        protocol: What the folds share; checked before.
        fold: The fold's number, from 0.

    Returns:
        The fold's numbers.

    Raises:
        DataError: If the folder belongs to another choice of people, or somebody who
            is tested would be trained on.
        FaceverError: If an input or an earlier run does not fit.
    """
    out = _folder(protocol, fold)
    people = _settle_people(protocol, fold, out / PEOPLE_FILE)
    config = _train_config(protocol.config.train, fold, out)
    model = train(config).model
    split = split_crops(config, protocol.store)
    held_out = [protocol.store.sources[row] for row in split.held_out]
    pairs = with_held_out(
        protocol.pairs, fold, held_out, HELD_OUT_PAIRS, protocol.config.train.seed
    )
    embeddings, images = _embed(config, model, protocol.store, pairs, out)
    features = Features(embeddings, images, {}, {}, None)
    evaluations = EXACT.evaluate(features, pairs).evaluations
    plain = evaluations[EXACT.measure]
    chosen_on = pairs.fold == HELD_OUT_FOLD
    accepted = plain.scores > plain.thresholds[TESTED_FOLD]
    return FoldResult(
        fold=fold,
        evaluations=evaluations,
        num_people=split.num_classes,
        num_crops=len(split.rows),
        num_held_out=len(people.held_out),
        held_out_accuracy=float(np.mean((accepted == pairs.same)[chosen_on])),
    )


def is_embedded(protocol: UnrestrictedLfw, fold: int) -> bool:
    """Whether an earlier run trained for a fold: to judge it takes seconds."""
    return (_folder(protocol, fold) / EMBEDDINGS_FILE).exists()


def _folder(protocol: UnrestrictedLfw, fold: int) -> Path:
    return protocol.config.train.out / f"fold-{fold + 1:02d}"


def _settle_people(protocol: UnrestrictedLfw, fold: int, path: Path) -> TrainingPeople:
    """Choose the people, or take those of an earlier run, and check them."""
    labels, counts = np.unique(protocol.store.labels, return_counts=True)
    names = [protocol.store.identities[label] for label in labels]
    chosen = choose_people(
        protocol.folds,
        fold,
        dict(zip(names, counts.tolist(), strict=True)),
        min_photos=protocol.config.min_photos,
        num_held_out=protocol.config.held_out_people,
        seed=protocol.config.train.seed,
    )
    if not path.exists():
        write_people_list(path, chosen)
    # The very file that the training reads is checked, not what we meant to write.
    people = read_people_list(path)
    check_no_leak(people, protocol.folds, fold, protocol.pairs)
    if people != chosen:
        raise DataError(
            f"{path} lists other people than this config and these crops choose; set "
            "train.out=... to a new folder, or delete the old run to start over"
        )
    return people


def _train_config(config: TrainConfig, fold: int, out: Path) -> TrainConfig:
    data = {"people": out / PEOPLE_FILE, "name": f"LFW without fold {fold + 1}"}
    changes = {"data": config.data.model_copy(update=data), "out": out}
    return config.model_copy(update=changes)


def _embed(
    config: TrainConfig, model: Path, store: CropStore, pairs: PairList, out: Path
) -> tuple[Float[np.ndarray, "images dim"], list[str]]:
    """Embeddings of the photos of the pairs, kept in a file for the next run."""
    wanted = {photo_key(source) for source in pairs.sources}
    rows = [row for row, name in enumerate(store.sources) if photo_key(name) in wanted]
    images = [store.sources[row] for row in rows]
    embedder = Embedder(load_model(model), config.device, config.precision)
    path = out / EMBEDDINGS_FILE
    if path.exists():
        kept = read_embeddings(path)
        if (kept.model_fingerprint, kept.images) == (
            embedder.model_fingerprint,
            images,
        ):
            return kept.embeddings, images
    embeddings = embed_rows(embedder, store, rows)
    content = EmbeddingsFile(embeddings, images, embedder.model_fingerprint)
    with whole_file(path) as temporary:
        write_embeddings(temporary, content)
    return embeddings, images
