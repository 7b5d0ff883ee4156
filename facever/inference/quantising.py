"""ONNX graphs in whole numbers of 8 bits, by onnxruntime's static quantisation.

Weights get a scale for each channel, what flows between the layers one for each tensor,
from what real crops give there. Scales that change with every image are several times
slower, so there are none.

References:
    Jacob et al., Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, 2018.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from jaxtyping import UInt8
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from facever.inference.formats.whole_graph import CROPS, is_ours
from facever.progress import Advance, ignore_progress

_BATCH = 16
_LAYERS = ("Conv", "Gemm", "MatMul")  # Those with weights.


@dataclass(frozen=True)
class Quantised:
    """A graph in whole numbers.

    Attributes:
        graph: Takes and gives what the graph in float32 does.
        kept_in_float: The layers that are not in whole numbers, by their names.
    """

    graph: ModelProto
    kept_in_float: list[str]


Measure = Callable[[ModelProto], float]
"""The lowest cosine of a graph's features to those in float32."""


def quantise(
    graph: ModelProto,
    crops: UInt8[np.ndarray, "crops high wide 3"],
    measure: Measure,
    bound: float,
    advance: Advance = ignore_progress,
) -> Quantised:
    """Bring a graph to whole numbers, but for layers that would hurt.

    All layers are tried first. If the bound is missed, each is measured alone, and the
    worst are kept in float: one, two, four and so on, until the bound is met.

    Args:
        graph: From ``whole_graph``.
        crops: To see the range of what flows between the layers; not those that are
            measured on.
        measure: Measures a graph.
        bound: The lowest cosine that is wanted.
        advance: Told of each graph that has been tried.

    Returns:
        The first graph that meets the bound, or the one of the most layers in float.
    """
    graph = _prepared(graph)
    layers = weighted_layers(graph)
    ours = [node.name for node in graph.graph.node if is_ours(node.name)]
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "ranges.json"

        def attempt(kept: Sequence[str]) -> tuple[ModelProto, float]:
            tried = _quantised(graph, crops, [*ours, *kept], ranges)
            lowest = measure(tried)
            advance(1, f"lowest cosine {lowest:.4f}")
            return tried, lowest

        return _search(layers, attempt, bound)


def weighted_layers(graph: ModelProto) -> list[str]:
    """The names of the layers that have weights."""
    return [node.name for node in graph.graph.node if node.op_type in _LAYERS]


def _search(
    layers: Sequence[str],
    attempt: Callable[[Sequence[str]], tuple[ModelProto, float]],
    bound: float,
) -> Quantised:
    found, lowest = attempt([])
    kept: list[str] = []
    if lowest >= bound:
        return Quantised(found, kept)
    alone = {
        layer: attempt([each for each in layers if each != layer])[1]
        for layer in layers
    }
    worst = sorted(layers, key=lambda layer: alone[layer])
    count = 1
    while lowest < bound and count < len(layers):
        kept = worst[:count]
        found, lowest = attempt(kept)
        count *= 2
    return Quantised(found, kept)


def _prepared(graph: ModelProto) -> ModelProto:
    """With names for all nodes, and normalisations in the weights before them."""
    with TemporaryDirectory() as folder:
        given, out = Path(folder) / "given.onnx", Path(folder) / "prepared.onnx"
        onnx.save_model(graph, given)
        quant_pre_process(given, out, skip_symbolic_shape=True)
        prepared: ModelProto = onnx.load_model(out)
    for place, node in enumerate(prepared.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return prepared


def _quantised(
    graph: ModelProto,
    crops: UInt8[np.ndarray, "crops high wide 3"],
    excluded: Sequence[str],
    ranges: Path,
) -> ModelProto:
    """Quantise; what flows between the layers is measured once and kept in a file."""
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # It logs advice on the root logger.
    try:
        with TemporaryDirectory() as folder:
            given, out = Path(folder) / "given.onnx", Path(folder) / "quantised.onnx"
            # As a file: a graph in memory would be changed.
            onnx.save_model(graph, given)
            quantize_static(
                given,
                out,
                _Reader(crops),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(excluded),
                calibration_cache_path=ranges,
            )
            quantised: ModelProto = onnx.load_model(out)
    finally:
        log.setLevel(level)
    return quantised


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, crops: UInt8[np.ndarray, "crops high wide 3"]) -> None:
        self._batches: Iterator[dict[str, Any]] = iter(
            {CROPS: np.asarray(crops[start : start + _BATCH])}
            for start in range(0, len(crops), _BATCH)
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)
