"""The networks of MTCNN in OpenVINO, on the CPU, without torch."""

from collections.abc import Callable
from threading import Lock
from typing import Any, assert_never

import numpy as np
import openvino
from jaxtyping import Float32
from openvino import opset8

from facever.faces.mtcnn_networks import (
    CascadeNetwork,
    Convolution,
    Dense,
    Layer,
    Pool,
    Prelu,
)
from facever.runtimes import num_threads, openvino_core

_ANY = -1


def start(
    network: CascadeNetwork, device: str
) -> Callable[
    [Float32[np.ndarray, "images 3 height width"]], Float32[np.ndarray, "images ..."]
]:
    """See ``facever.faces.mtcnn_backends``."""
    side, batch = network.side or _ANY, network.batch or _ANY
    images = opset8.parameter([batch, 3, side, side], np.float32)
    values = images
    for layer in network.layers:
        values = _add(layer, values)
    model = openvino.Model([opset8.result(values)], [images], "mtcnn")
    settings = {
        # Left to itself it takes bfloat16 where there are units for it.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": num_threads(),
    }
    compiled = openvino_core().compile_model(model, "CPU", settings)
    request, one_at_a_time = compiled.create_infer_request(), Lock()

    def run(
        images: Float32[np.ndarray, "images 3 height width"],
    ) -> Float32[np.ndarray, "images ..."]:
        num_images = len(images)
        if network.batch is not None and num_images < network.batch:
            # A batch of one size is a tenth faster than one of any.
            padded = np.zeros((network.batch, *images.shape[1:]), np.float32)
            padded[:num_images] = images
            images = padded
        with one_at_a_time:
            request.infer({0: openvino.Tensor(images, shared_memory=True)})
            found: np.ndarray = request.get_output_tensor().data[:num_images].copy()
        return found

    return run


def _add(layer: Layer, values: Any) -> Any:
    match layer:
        case Convolution(weight, bias):
            values = opset8.convolution(
                values, opset8.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1]
            )
            return opset8.add(values, opset8.constant(bias[:, None, None]))
        case Prelu(slope):
            return opset8.prelu(values, opset8.constant(slope))
        case Pool(side):
            pool = opset8.max_pool(
                values, [2, 2], [1, 1], [0, 0], [0, 0], [side, side], "ceil"
            )
            return pool.output(0)
        case Dense(weight, bias):
            flat = opset8.reshape(values, opset8.constant([0, _ANY]), True)
            product = opset8.matmul(flat, opset8.constant(weight), False, True)
            return opset8.add(product, opset8.constant(bias))
        case _:
            assert_never(layer)
