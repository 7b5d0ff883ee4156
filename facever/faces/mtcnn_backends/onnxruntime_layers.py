"""The networks of MTCNN in onnxruntime, on the CPU, without torch."""

from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
import onnxruntime
from jaxtyping import Float32
from onnx import NodeProto, TensorProto, helper, numpy_helper

from facever.faces.mtcnn_networks import (
    CascadeNetwork,
    Convolution,
    Dense,
    Pool,
    Prelu,
)
from facever.runtimes import num_threads

_OPSET, _IR_VERSION = 17, 8  # Of onnxruntime 1.12: later ones read them, too.


def start(
    network: CascadeNetwork, device: str
) -> Callable[
    [Float32[np.ndarray, "images 3 height width"]], Float32[np.ndarray, "images ..."]
]:
    """See ``facever.faces.mtcnn_backends``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    # Threads that wait by counting take the processor from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _graph(network), options, providers=["CPUExecutionProvider"]
    )

    def run(
        images: Float32[np.ndarray, "images 3 height width"],
    ) -> Float32[np.ndarray, "images ..."]:
        (values,) = session.run(None, {"images": images})
        found: np.ndarray = values
        return found

    return run


def _graph(network: CascadeNetwork) -> bytes:
    """The network as the bytes of an ONNX file."""
    graph = _Graph()
    values, is_flat = "images", False
    for layer in network.layers:
        match layer:
            case Convolution(weight, bias):
                values = graph.add("Conv", values, weight, bias)
            case Pool(side):
                values = graph.add(
                    "MaxPool",
                    values,
                    kernel_shape=[side, side],
                    strides=[2, 2],
                    ceil_mode=1,
                )
            case Dense(weight, bias):
                values = values if is_flat else graph.add("Flatten", values)
                values = graph.add("Gemm", values, weight, bias, transB=1)
                is_flat = True
            case Prelu(slope) if is_flat:
                values = graph.add("PRelu", values, slope)
            case Prelu(slope):
                # slope * x + (1 - slope) * relu(x). onnxruntime's own PRelu takes
                # most of the time of these networks, and breaks up the layout in which
                # it convolves.
                each = slope.reshape(-1, 1, 1, 1)
                line = graph.add("Conv", values, each, group=len(slope))
                positive = graph.add("Relu", values)
                bend = graph.add("Conv", positive, 1 - each, group=len(slope))
                values = graph.add("Add", line, bend)
            case _:
                assert_never(layer)
    high, wide = network.side or "height", network.side or "width"
    shape: list[str | int | None] = ["images", 3, high, wide]
    made = helper.make_graph(
        graph.nodes,
        "mtcnn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(values, TensorProto.FLOAT, None)],
        graph.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants, with a name for each."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(
        self, kind: str, values: str, *others: str | np.ndarray, **options: Any
    ) -> str:
        """Add a node.

        Args:
            kind: ONNX's name of what it does.
            values: What it reads.
            others: What else: names, or arrays.
            options: Its attributes.

        Returns:
            The name of what it gives.
        """
        names = [
            other if isinstance(other, str) else self._keep(other) for other in others
        ]
        output = f"values_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [values, *names], [output], **options))
        return output

    def _keep(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name
