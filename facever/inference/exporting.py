"""A network of facever's own as an ONNX graph."""

import io
import logging
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor, nn

from facever.choices import Backend, Mirror, Precision
from facever.errors import ModelFileError
from facever.hardware import has_bf16_units
from facever.inference.backends.torch_network import TorchNetwork, fold_batch_norms
from facever.inference.formats.onnx_file import graph_network
from facever.inference.header import ModelHeader
from facever.inference.network import StartedNetwork
from facever.inference.parity import drawn_crops, features_of, measure_parity
from facever.inference.preprocessing import Preprocessing

DEFAULT_OPSET = 20
INPUT, OUTPUT = "crops", "features"

_CROPS_COMPARED = 8


class _Whole(nn.Module):
    """From uint8 RGB crops ``[B, high, wide, 3]`` to features ``[B, D]``."""

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, mirror: Mirror
    ) -> None:
        super().__init__()
        self._network = network
        self._preprocessing = preprocessing
        self._mirror = mirror

    def forward(self, crops: Tensor) -> Tensor:
        views = crops
        if self._mirror != "none":
            views = torch.cat([crops, crops.flip(2)])
        features: Tensor = self._network(self._preprocessing(views))
        if self._mirror == "none":
            return features
        both = features.reshape(2, -1, features.shape[1])
        if self._mirror == "sum":
            return both.sum(0)
        return both.transpose(0, 1).flatten(1)


def export_graph(
    network: TorchNetwork,
    header: ModelHeader,
    *,
    raw: bool = False,
    mirror: Mirror = "none",
    opset: int = DEFAULT_OPSET,
) -> ModelProto:
    """The graph of a network, for any number of crops at a time.

    Args:
        network: Whose batch normalisation is folded into its weights.
        header: Says which crops it takes.
        raw: Whether the graph takes normalised float32 images ``[B, 3, high, wide]`` as
            ``images``, in place of uint8 RGB ``crops`` ``[B, high, wide, 3]``.
        mirror: A rule by which the graph itself merges the features of a crop and of
            its mirror image; not with ``raw``.
        opset: The version of ONNX's operators.

    Returns:
        A graph that gives ``features`` float32 ``[B, D]``.

    Raises:
        ModelFileError: If a package is missing, or the opset cannot be written.
    """
    folded = fold_batch_norms(network.module)
    size = header.crop_height, header.crop_width
    whole: nn.Module
    if raw:
        whole, given = folded, torch.zeros(2, 3, *size)
    else:
        whole = _Whole(folded, network.preprocessing, mirror)
        given = torch.zeros(2, *size, 3, dtype=torch.uint8)
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            # Of parts of torch and onnxscript that are going to change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole.eval(),
                (given,),
                dynamo=True,
                opset_version=opset,
                input_names=["images" if raw else INPUT],
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
    network: TorchNetwork,
    header: ModelHeader,
    device: str,
    precision: Precision,
    backend: Backend,
) -> StartedNetwork:
    """Start a network of facever's own on another backend than torch.

    It is converted in memory, and compared with torch on drawn crops.

    Args:
        network: The network.
        header: Of its file.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``: bf16 where there are units for it and where it holds.
        backend: ``onnxruntime`` or ``openvino``.

    Raises:
        ModelFileError: If a package is missing, or the features are not the same.
    """
    template = header.find_template()
    assert template is not None
    crops = drawn_crops(template, _CROPS_COMPARED)
    expected = features_of(network.start(header, "cpu", "fp32", "torch"), crops)
    graph = graph_network(Path(header.network), export_graph(network, header))
    wanted: list[Precision] = [precision]
    if precision == "auto":
        tries_bf16 = backend == "openvino" and has_bf16_units("cpu")
        wanted = ["bf16", "fp32"] if tries_bf16 else ["fp32"]
    for numbers in wanted:
        started = graph.start(plain_header(header), device, numbers, backend)
        [parity] = measure_parity(started, crops, expected, [len(crops)])
        if parity.holds:
            return started
    raise ModelFileError(
        f"backend {backend} gives other features than torch for {header.network}: the "
        f"lowest cosine is {parity.lowest_cosine:.6f}; take --backend torch"
    )
