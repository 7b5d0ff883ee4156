"""A network of facever's own as an ONNX graph."""

import io
import logging
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from onnx import ModelProto
from onnx.defs import onnx_opset_version
from torch import nn

from facever.choices import Backend, Mirror, Precision
from facever.errors import ModelFileError, ParameterError
from facever.hardware import has_bf16_units
from facever.inference.backends.runtime_network import RuntimeNetwork
from facever.inference.backends.torch_network import TorchNetwork, fold_batch_norms
from facever.inference.formats.onnx_file import graph_network
from facever.inference.formats.onnx_graph import graph_inputs
from facever.inference.formats.ports import ImageInput, find_image_input
from facever.inference.formats.whole_graph import whole_graph
from facever.inference.header import PARITY_BOUNDS, ModelHeader, Numbers
from facever.inference.model import LoadedModel
from facever.inference.network import StartedNetwork
from facever.inference.parity import cosines, drawn_crops, features_of

DEFAULT_OPSET = 20
_LOWEST_OPSET = 18  # That torch writes.
INPUT, OUTPUT = "images", "features_of_images"

_CROPS_COMPARED = 8


def network_graph(
    model: LoadedModel, opset: int | None = None
) -> tuple[ModelProto, ImageInput, str]:
    """The graph of a model's network, from images to features.

    Args:
        model: One of facever's own, whose batch normalisation is folded into its
            weights; or one that was read from an ONNX file.
        opset: The version of ONNX's operators, for a network of facever's own.

    Returns:
        The graph, its input, and the name of its output.

    Raises:
        ModelFileError: If a package is missing, or there is no ONNX graph of it.
        ParameterError: If another version is asked for of a graph that is written.
    """
    network, header = model.network, model.header
    if isinstance(network, TorchNetwork):
        size = header.crop_height, header.crop_width
        graph = _write_graph(network.module, size, opset or DEFAULT_OPSET)
        return graph, find_image_input(Path(OUTPUT), graph_inputs(graph)), OUTPUT
    assert isinstance(network, RuntimeNetwork)
    if network.read_graph is None:
        raise ModelFileError(
            f"{network.path} is OpenVINO's; export its .onnx or .safetensors"
        )
    if opset is not None:
        raise ParameterError(
            "opset is for networks of facever's own; an ONNX file keeps its version"
        )
    return network.read_graph(), network.image, network.output.name


def export_graph(
    model: LoadedModel, *, mirror: Mirror = "none", opset: int | None = None
) -> ModelProto:
    """The graph of a model from uint8 RGB crops to features.

    Args:
        model: The model.
        mirror: A rule by which the graph itself merges the features of a crop and of
            its mirror image.
        opset: As for ``network_graph``.

    Raises:
        ModelFileError: As for ``network_graph``.
        ParameterError: As for ``network_graph``.
    """
    graph, image, output = network_graph(model, opset)
    header = model.header
    mean: Any = header.mean
    if isinstance(model.network, TorchNetwork) and mean == "image":
        mean = np.asarray(model.network.preprocessing.mean, np.float32)
    return whole_graph(
        graph,
        image,
        output,
        size=(header.crop_height, header.crop_width),
        dim=header.embedding_size,
        mean=mean,
        scale=header.scale,
        channel_order=header.channel_order,
        mirror=mirror,
    )


def _write_graph(module: nn.Module, size: tuple[int, int], opset: int) -> ModelProto:
    if not _LOWEST_OPSET <= opset <= onnx_opset_version():
        raise ParameterError(
            f"opset must be in [{_LOWEST_OPSET}, {onnx_opset_version()}], got {opset}"
        )
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            # Of parts of torch and onnxscript that are going to change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                fold_batch_norms(module).eval(),
                (torch.zeros(2, 3, *size),),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"to write ONNX needs the package {error.name}: pip install '.[export]' in "
            "a checkout of facever"
        ) from None
    finally:
        log.setLevel(level)
    assert program is not None
    model: ModelProto = program.model_proto
    _strip(model)
    return model


def _strip(model: ModelProto) -> None:
    """Take away what says on whose machine and by which lines the graph was made."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def plain_header(header: ModelHeader) -> ModelHeader:
    """The header of a graph that prepares its crops itself."""
    return replace(header, mean=0.0, scale=1.0, channel_order="RGB", parity=[])


def start_elsewhere(
    model: LoadedModel, device: str, precision: Precision, backend: Backend
) -> StartedNetwork:
    """Start a network of facever's own on another backend than torch.

    It is converted in memory, and compared with torch on drawn crops.

    Args:
        model: The model.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``: bf16 where there are units for it and where it holds.
        backend: ``onnxruntime`` or ``openvino``.

    Raises:
        ModelFileError: If a package is missing, or the features are not the same.
    """
    crops = drawn_crops(model.template, _CROPS_COMPARED)
    source = model.network.start(model.header, "cpu", "fp32", "torch")
    expected = features_of(source, crops)
    graph = graph_network(Path(model.header.network), export_graph(model))
    wanted: list[Precision] = [precision]
    if precision == "auto":
        tries_bf16 = backend == "openvino" and has_bf16_units("cpu")
        wanted = ["bf16", "fp32"] if tries_bf16 else ["fp32"]
    for numbers in wanted:
        started = graph.start(plain_header(model.header), device, numbers, backend)
        lowest = float(cosines(features_of(started, crops), expected).min())
        if lowest >= PARITY_BOUNDS[cast(Numbers, started.precision)]:
            return started
    raise ModelFileError(
        f"backend {backend} gives other features than torch for "
        f"{model.header.network}: the lowest cosine is {lowest:.6f}; "
        "take --backend torch"
    )
