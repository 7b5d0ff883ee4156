"""ONNX graphs that take crops as they are stored, and merge mirror images themselves.

References:
    Open Neural Network Exchange, operators Cast, Sub, Div, Gather, Transpose, Slice,
    Concat, Reshape, ReduceSum.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float32
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    compose,
    helper,
    numpy_helper,
    version_converter,
)

from facever.choices import ChannelOrder, Mirror
from facever.errors import ModelFileError
from facever.inference.formats.ports import ImageInput

CROPS, FEATURES = "crops", "features"

# What the operators used here are written for.
_LOWEST_OPSET = 13
_PREFIX = "facever"
_INNER = "network_"


def whole_graph(
    model: ModelProto,
    image: ImageInput,
    output: str,
    *,
    size: tuple[int, int],
    dim: int,
    mean: float | list[float] | Float32[np.ndarray, "high wide 3"],
    scale: float | list[float],
    channel_order: ChannelOrder,
    mirror: Mirror = "none",
) -> ModelProto:
    """A copy that takes uint8 RGB ``crops`` ``[batch, high, wide, 3]``.

    Args:
        model: A network from images to features.
        image: Its input.
        output: Name of its output.
        size: Height and width of a crop.
        dim: Numbers that the network gives for an image.
        mean: Subtracted from the pixels, as in a model file's header.
        scale: Divides them after that.
        channel_order: The order of the colours in the network's input.
        mirror: How it merges the features of a crop and of its mirror image.

    Returns:
        It gives ``features`` ``[batch, dim]`` for any number of crops, if the network
        itself can compute any number.

    Raises:
        ModelFileError: If the network's operators are of a version that cannot be
            brought up to date.
    """
    whole, given, gives = _renamed(_up_to_date(model), image.name, output)
    graph = whole.graph
    nodes = _Nodes(graph)
    views = CROPS
    if mirror != "none":
        flipped = nodes.add(
            "Slice",
            CROPS,
            nodes.whole("start", [-1]),
            nodes.whole("end", [np.iinfo(np.int64).min]),
            nodes.whole("axis", [2]),
            nodes.whole("step", [-1]),
        )
        views = nodes.add("Concat", CROPS, flipped, axis=0)
    pixels = nodes.add("Cast", views, to=TensorProto.FLOAT)
    if not _is(mean, 0.0):
        pixels = nodes.add("Sub", pixels, nodes.constant("mean", mean))
    if not _is(scale, 1.0):
        pixels = nodes.add("Div", pixels, nodes.constant("scale", scale))
    if channel_order == "BGR":
        pixels = nodes.add("Gather", pixels, nodes.whole("bgr", [2, 1, 0]), axis=3)
    if not image.channels_last:
        pixels = nodes.add("Transpose", pixels, perm=[0, 3, 1, 2])
    number = helper.np_dtype_to_tensor_dtype(image.numbers)
    nodes.add("Cast", pixels, to=number, gives=given)
    before = nodes.taken()
    features = nodes.add("Flatten", gives, axis=1)
    features = nodes.add("Cast", features, to=TensorProto.FLOAT)
    if mirror != "none":
        shape = nodes.whole("both", [2, -1, dim])
        both = nodes.add("Reshape", features, shape)
        if mirror == "sum":
            which = nodes.whole("views", [0])
            features = nodes.add("ReduceSum", both, which, keepdims=0)
        else:
            by_crop = nodes.add("Transpose", both, perm=[1, 0, 2])
            features = nodes.add("Flatten", by_crop, axis=1)
            dim *= 2
    nodes.add("Identity", features, gives=FEATURES)
    body = [*before, *graph.node, *nodes.taken()]
    del graph.node[:]
    graph.node.extend(body)
    # They name the shapes of before, for a fixed number of images perhaps.
    del graph.value_info[:]
    del graph.input[:]
    del graph.output[:]
    graph.input.append(
        helper.make_tensor_value_info(CROPS, TensorProto.UINT8, ["batch", *size, 3])
    )
    graph.output.append(
        helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", dim])
    )
    return whole


def is_ours(node: str) -> bool:
    """Whether a node of this name was put around a network."""
    return node.startswith(f"{_PREFIX}_")


class _Nodes:
    """Nodes and constants under names of their own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._added: list[NodeProto] = []
        self._count = 0

    def add(
        self, kind: str, *inputs: str, gives: str | None = None, **facts: Any
    ) -> str:
        self._count += 1
        name = f"{_PREFIX}_{kind.lower()}_{self._count}"
        self._added.append(
            helper.make_node(kind, inputs, [gives or name], name=name, **facts)
        )
        return gives or name

    def constant(self, name: str, value: object) -> str:
        return self._store(name, np.asarray(value, np.float32))

    def whole(self, name: str, value: Sequence[int]) -> str:
        return self._store(name, np.asarray(value, np.int64))

    def taken(self) -> list[NodeProto]:
        """The nodes since this was asked last."""
        added, self._added = self._added, []
        return added

    def _store(self, name: str, value: np.ndarray) -> str:
        name = f"{_PREFIX}_{name}"
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _up_to_date(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    [opset] = [each.version for each in model.opset_import if not each.domain]
    if opset >= _LOWEST_OPSET:
        return copy
    try:
        converted: ModelProto = version_converter.convert_version(copy, _LOWEST_OPSET)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"the network is written in version {opset} of ONNX's operators, and "
            f"cannot be brought to {_LOWEST_OPSET} ({reason}); --raw leaves it as it is"
        ) from None
    return converted


def _renamed(model: ModelProto, given: str, gives: str) -> tuple[ModelProto, str, str]:
    """With other names, and its input's and its output's, where ours are in use."""
    graph = model.graph
    names = {each.name for each in (*graph.input, *graph.output, *graph.initializer)}
    names |= {name for node in graph.node for name in (*node.output, node.name)}
    if not any(name in (CROPS, FEATURES) or is_ours(name) for name in names):
        return model, given, gives
    return compose.add_prefix(model, _INNER), _INNER + given, _INNER + gives


def _is(value: object, number: float) -> bool:
    return isinstance(value, int | float) and value == number
