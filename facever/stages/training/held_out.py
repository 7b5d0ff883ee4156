"""The people whom a training run holds out: how well it tells them apart."""

import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from facever import build
from facever.config.training import TrainConfig
from facever.faces.templates import TEMPLATES
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.embedder import Embedder
from facever.inference.header import MeasuredOn, ModelHeader, crop_fields
from facever.inference.model import LoadedModel
from facever.models.base import EmbeddingNetwork
from facever.progress import Advance, ignore_progress
from facever.stages.training.setup import THRESHOLD_FAR, PreparedRun
from facever.verification.model_threshold import ModelThreshold, choose_model_threshold
from facever.verification.threshold_errors import describe_errors, threshold_errors
from facever.version import __version__


@dataclass(frozen=True)
class HeldOut:
    """What the held-out people say of a network.

    Attributes:
        found: How well it tells them apart, and the threshold that follows.
        set_on: What the threshold rests on, with intervals; None where there is none.
    """

    found: ModelThreshold
    set_on: MeasuredOn | None


def model_header(config: TrainConfig, run: PreparedRun) -> ModelHeader:
    """What the model file of a run says of itself, but for the threshold."""
    mean = run.preprocessing.mean
    return ModelHeader(
        network=config.network.name,
        network_options=build.network_options(config.network),
        embedding_size=run.network.embedding_size,
        mean="image" if isinstance(mean, Tensor) else mean,
        mirror=config.mirror,
        training_data=_training_data(config, run),
        licence=config.data.licence,
        facever_version=__version__,
        **crop_fields(TEMPLATES[run.network.template]),
    )


def _training_data(config: TrainConfig, run: PreparedRun) -> str:
    """The name of the data, and whose embeddings it was taught to give."""
    if run.teacher is None:
        return config.data.name
    return f"{config.data.name}, taught by {run.teacher.origin}"


def network_to_keep(run: PreparedRun) -> EmbeddingNetwork:
    """A copy of the network, with the averaged weights where there is an average.

    It is in evaluation mode and of no consequence to the run.
    """
    network = copy.deepcopy(run.network)
    if run.state.average is not None:
        network.load_state_dict(run.state.average.weights)
    return network.eval()


def measure_held_out(
    config: TrainConfig,
    run: PreparedRun,
    network: EmbeddingNetwork,
    advance: Advance = ignore_progress,
) -> HeldOut:
    """What all pairs of the held-out crops say of a network.

    Args:
        config: The run's config.
        run: The run as it was set up, with at least one person held out.
        network: The network to measure, in evaluation mode.
        advance: Function that is told the progress, one unit for each crop.
    """
    embeddings = _embed(config, run, network, advance)
    labels = run.store.labels[run.split.held_out]
    found = choose_model_threshold(embeddings, labels, THRESHOLD_FAR)
    if found.threshold is None:
        return HeldOut(found, None)
    errors = threshold_errors(embeddings, labels, found.threshold)
    crops = f"{run.store.folder.resolve().name} held out of training"
    return HeldOut(found, describe_errors(errors, crops, run.store.fingerprint))


def measure_during_run(config: TrainConfig, run: PreparedRun) -> dict[str, float]:
    """Measures of the held-out people in the midst of a run, for its log."""
    embeddings = _embed(config, run, network_to_keep(run), ignore_progress)
    labels = run.store.labels[run.split.held_out]
    found = choose_model_threshold(embeddings, labels, THRESHOLD_FAR)
    measures = {"held_out_auc": found.auc}
    if found.tar is not None:
        measures["held_out_tar"] = found.tar
    return measures


def _embed(
    config: TrainConfig, run: PreparedRun, network: EmbeddingNetwork, advance: Advance
) -> Float32[np.ndarray, "crops dim"]:
    model = LoadedModel(
        TorchNetwork(network, run.preprocessing),
        model_header(config, run),
        fingerprint="",
    )
    embedder = Embedder(model, config.device, config.precision)
    return embedder.embed_crops(run.crops[run.split.held_out], advance=advance)
