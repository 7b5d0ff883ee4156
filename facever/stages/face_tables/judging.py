"""What the models of a table of faces are judged on: LFW's pairs, and YTF's."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facever.choices import Precision
from facever.data.sources.frame_rule import parse_frame_rule
from facever.data.store.crop_store import CropStore
from facever.errors import FaceverError, ParameterError
from facever.files import whole_file
from facever.inference.embeddings_file import (
    EmbeddingsFile,
    read_embeddings,
    write_embeddings,
)
from facever.inference.model_file import load_model
from facever.stages.evaluation.features import (
    Features,
    Inputs,
    crop_finder,
    find_features,
    sha256,
)
from facever.stages.evaluation.judging import Judging
from facever.verification.evaluation import Evaluation
from facever.verification.pair_scores import MEASURES
from facever.verification.protocols import (
    PairList,
    choose_frames,
    mean_by_name,
    read_lfw_pairs,
    read_ytf_splits,
)
from facever.verification.reporting.sections.worst_errors import CropOf


@dataclass(frozen=True)
class PairTest:
    """Pairs in folds that models are judged on, and the crops of their faces.

    Attributes:
        name: ``lfw`` or ``ytf``.
        title: The name for people.
        crops: A crop store of the photos or frames.
        pairs_file: The official list of the pairs.
    """

    name: str
    title: str
    crops: Path
    pairs_file: Path

    @property
    def is_of_videos(self) -> bool:
        """Whether the pairs are of videos, whose frames the crops are."""
        return self.name == "ytf"

    @cached_property
    def pairs(self) -> PairList:
        """The pairs."""
        read = read_ytf_splits if self.is_of_videos else read_lfw_pairs
        return read(self.pairs_file)

    @cached_property
    def store(self) -> CropStore:
        """The store of the crops."""
        return CropStore.open(self.crops)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the pairs and of the crops."""
        content = f"{sha256(self.pairs_file)} {self.store.fingerprint}"
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def crop_of(self) -> CropOf:
        """Gives the picture of a photo, or the first frame of a video."""
        if not self.is_of_videos:
            return crop_finder(self.store, self.pairs.sources)
        rows: dict[str, int] = {}
        for row, source in enumerate(self.store.sources):
            rows.setdefault(source.rpartition("/")[0], row)

        def crop_of(video: str) -> UInt8[np.ndarray, "height width 3"] | None:
            return np.asarray(self.store.crops[rows[video]]) if video in rows else None

        return crop_of

    def embed(
        self, model: Path, out: Path, device: str, precision: Precision
    ) -> Features:
        """Embeddings of the photos, or of the videos as the means of their frames.

        They are kept as ``out/lfw.npz`` or ``out/ytf.npz``, and taken from there where
        they are of this model and of these crops.

        Args:
            model: The model file.
            out: The folder of the run.
            device: Where the network runs.
            precision: The numbers it computes with.

        Raises:
            FaceverError: If model and crops do not fit.
        """
        path = out / f"{self.name}.npz"
        made_by = f"{load_model(model).fingerprint} {self.fingerprint}"
        try:
            is_kept = read_embeddings(path).model_fingerprint == made_by
        except FaceverError:  # There is none yet, or it is damaged.
            is_kept = False
        if not is_kept:
            inputs = Inputs(
                model=model, crops=self.crops, device=device, precision=precision
            )
            found = self._embed(inputs)
            content = EmbeddingsFile(
                found.embeddings.astype(np.float32), found.images, made_by
            )
            with whole_file(path) as temporary:
                write_embeddings(temporary, content)
        return self.read(out)

    def read(self, out: Path) -> Features:
        """The embeddings that ``embed`` kept."""
        file = read_embeddings(out / f"{self.name}.npz")
        return Features(file.embeddings, file.images, {}, {}, None)

    def _embed(self, inputs: Inputs) -> Features:
        if not self.is_of_videos:
            return find_features(inputs, self.pairs.sources, self.crops, face="center")
        frames = [*self.store.sources, *self.store.failures]
        chosen = choose_frames(frames, self.pairs.sources, parse_frame_rule("all"))
        found = find_features(inputs, chosen.frames, self.crops, face="center")
        rows, video, _ = chosen.match(found.images)
        means, named = mean_by_name(found.embeddings[rows], video, chosen.videos)
        return replace(found, embeddings=means, images=named)


def make_tests(
    lfw_crops: Path | None,
    pairs: Path | None,
    ytf_crops: Path | None = None,
    ytf_splits: Path | None = None,
) -> tuple[PairTest, ...]:
    """The tests that a user names; without any, models are judged on held-out people.

    Raises:
        ParameterError: If crops are given without their list of pairs, or the other way
            round.
        FaceverError: If a file is missing or damaged.
    """
    tests = []
    for name, title, crops, listed, options in (
        ("lfw", "LFW", lfw_crops, pairs, "--lfw-crops and --pairs"),
        ("ytf", "YouTube Faces", ytf_crops, ytf_splits, "--ytf-crops and --ytf-splits"),
    ):
        if crops is None and listed is None:
            continue
        if crops is None or listed is None:
            raise ParameterError(
                f"{options} must be given together, got {crops or listed} alone"
            )
        test = PairTest(name, title, crops, listed)
        # Both are read before the hours of work.
        _ = test.pairs, test.fingerprint
        tests.append(test)
    return tuple(tests)


def judge_pairs(test: PairTest, features: Features, pca: int) -> dict[str, Any]:
    """All numbers of a test, as ``FaceRun`` calls them.

    Args:
        test: The test.
        features: The embeddings that ``PairTest.embed`` gave.
        pca: Number of dimensions that the PCA keeps.

    Raises:
        FaceverError: If there are too few images or dimensions for this PCA.
    """
    try:
        evaluations = [
            evaluation
            for measure in MEASURES
            for evaluation in Judging(pca_components=pca, measure=measure)
            .evaluate(features, test.pairs)
            .evaluations.values()
        ]
    except ParameterError as error:
        # No matter of a value, which would be a row of the table.
        reason = f"{error}: set pca_components to a smaller number"
        raise FaceverError(reason) from None
    cosine, no_pca, euclidean, _ = evaluations
    return {
        test.name: cosine.accuracy,
        f"{test.name}_euclidean": euclidean.accuracy,
        f"{test.name}_no_pca": no_pca.accuracy,
        f"{test.name}_auc": cosine.auc,
        f"{test.name}_missing_pairs": cosine.num_missing_pairs,
    }


def evaluate_again(test: PairTest, out: Path, pca: int) -> Evaluation:
    """The evaluation by cosine after the PCA, of the embeddings that a run kept."""
    judged = Judging(pca_components=pca).evaluate(test.read(out), test.pairs)
    return next(iter(judged.evaluations.values()))
